#pragma once

// Ranks of a group, each a process of its own.

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "temporary_folder.h"

namespace slackline::testing_support {

using Words = std::vector<std::string>;

/// A process whose output can be waited for. It is killed with its object.
class Process {
 public:
  Process(const Words& command, const Words& variables) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    // A socket, as writing to one that ended must not kill the test.
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in.data()) != 0 ||
        ::pipe2(out.data(), O_CLOEXEC) != 0)
      std::abort();
    std::vector<char*> argv;
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    std::vector<char*> environment;
    for (char** at = environ; *at != nullptr; ++at) environment.push_back(*at);
    for (const std::string& each : variables)
      environment.push_back(const_cast<char*>(each.c_str()));
    environment.push_back(nullptr);
    process_ = ::fork();
    if (process_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::execvpe(argv[0], argv.data(), environment.data());
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    input_ = in[1];
    output_ = out[0];
  }
  ~Process() {
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
    ::close(input_);
    ::close(output_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Reads on until the output has `words`; false if it ends before, or after a minute.
  bool wait_for(const std::string& words) {
    while (all_.find(words) == std::string::npos) {
      pollfd entry{output_, POLLIN, 0};
      if (::poll(&entry, 1, 60'000) == 0) return false;
      std::array<char, 4096> bytes{};
      const ssize_t got = ::read(output_, bytes.data(), bytes.size());
      if (got == 0 || (got < 0 && errno != EINTR)) return false;
      if (got > 0) all_.append(bytes.data(), static_cast<std::size_t>(got));
    }
    return true;
  }
  void write_line() const { EXPECT_EQ(::send(input_, "\n", 1, MSG_NOSIGNAL), 1); }
  void signal(int number) const { ::kill(process_, number); }

  /// Its exit code (negative: the signal that killed it), after all of its output.
  int end() {
    EXPECT_FALSE(wait_for("there is no such line"));
    pollfd entry{output_, POLLIN, 0};
    if (::poll(&entry, 1, 0) == 0) return -1000;  // a minute has passed, and it still runs
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  /// The last line of the output, if it has ended.
  [[nodiscard]] std::string last_line() const {
    const std::string lines = all_.substr(0, all_.find_last_not_of('\n') + 1);
    return lines.substr(lines.find_last_of('\n') + 1);
  }
  [[nodiscard]] const std::string& output() const { return all_; }

 private:
  pid_t process_ = -1;
  int input_ = -1;
  int output_ = -1;
  std::string all_;
};

/// The ranks of one run, that meet in a folder of the test's, if nowhere else: processes of the
/// program SLACKLINE_TEST_RANK_PROGRAM.
class RanksTest : public testing::Test {
 protected:
  RanksTest() { rendezvous_ = "file:" + (folder_.path() / "rank_0").string(); }

  /// `prefix` comes before the program.
  Process& start_rank(int rank, int size, const Words& words, const Words& prefix = {},
                      const Words& variables = {}) {
    Words command = prefix;
    command.push_back(SLACKLINE_TEST_RANK_PROGRAM);
    command.insert(command.end(), words.begin(), words.end());
    Words all = {"SLACKLINE_RANK=" + std::to_string(rank), "SLACKLINE_SIZE=" + std::to_string(size),
                 "SLACKLINE_RENDEZVOUS=" + rendezvous_};
    all.insert(all.end(), variables.begin(), variables.end());
    ranks_.push_back(std::make_unique<Process>(command, all));
    return *ranks_.back();
  }
  Process& rank(int number) { return *ranks_[static_cast<std::size_t>(number)]; }

  /// Every rank but `but` ends with 3, for that reason.
  void expect_all_to_blame(int but, const std::string& reason) {
    for (int i = 0; i < static_cast<int>(ranks_.size()); ++i) {
      if (i == but) continue;
      EXPECT_EQ(rank(i).end(), 3) << "rank " << i << ": " << rank(i).output();
      EXPECT_NE(rank(i).last_line().find(reason), std::string::npos)
          << "rank " << i << ": " << rank(i).output();
    }
  }
  void expect_all_done() {
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      EXPECT_EQ(ranks_[i]->end(), 0) << "rank " << i << ": " << ranks_[i]->output();
    }
  }

  TemporaryFolder folder_;
  std::string rendezvous_;
  std::vector<std::unique_ptr<Process>> ranks_;
};

/// Ranks of a group.
class GroupTest : public RanksTest {
 protected:
  /// Starts a rank; "join" is not among its words.
  Process& start(int rank, int size, const Words& before_join, const Words& after_join = {},
                 const Words& prefix = {}, const Words& variables = {}) {
    // A long deadline, so that only what is seen at once is seen in time; tests of silence say
    // less.
    Words words = {"host=host" + std::to_string(rank), "deadline_ms=3600000"};
    words.insert(words.end(), before_join.begin(), before_join.end());
    words.emplace_back("join");
    words.insert(words.end(), after_join.begin(), after_join.end());
    return start_rank(rank, size, words, prefix, variables);
  }
  void start_all(int size, const Words& before_join, const Words& after_join = {}) {
    for (int rank = 0; rank < size; ++rank) start(rank, size, before_join, after_join);
  }
};

}  // namespace slackline::testing_support
