#pragma once

// The program, started and watched while it runs.

#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace slackline {

inline const std::string kProgram =
    std::filesystem::path(SLACKLINE_TEST_BINARY_DIR) / "bin/slackline";

inline std::string config_file(const std::string& name) {
  return std::filesystem::path(SLACKLINE_TEST_SOURCE_DIR) / "configs" / name;
}

/// A run of the program without an end, whose output can be read while it goes on.
class EndlessRun {
 public:
  EndlessRun(const std::string& config, const std::filesystem::path& dir,
             const std::vector<std::string>& settings, const std::filesystem::path& errors = {}) {
    std::vector<std::string> words = {kProgram, "run", config_file(config), "--dir", dir.string()};
    for (const char* setting : {"run.epochs=1000000", "run.steps=0", "run.log_steps=1"}) {
      words.insert(words.end(), {"--set", setting});
    }
    for (const std::string& setting : settings) words.insert(words.end(), {"--set", setting});
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) return;
    process_ = ::fork();
    if (process_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      if (!errors.empty()) ::dup2(::open(errors.c_str(), O_WRONLY | O_CREAT, 0644), STDERR_FILENO);
      std::vector<char*> argv;
      for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
      argv.push_back(nullptr);
      ::execv(kProgram.c_str(), argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    output_ = ::fdopen(ends[0], "r");
  }
  ~EndlessRun() {
    if (output_ != nullptr) std::fclose(output_);
    if (process_ > 0) ::kill(process_, SIGKILL);
  }

  /// Reads on until a line holds `words`; false if the output ends before.
  bool wait_for(const std::string& words) {
    std::array<char, 4096> line{};
    while (std::fgets(line.data(), line.size(), output_) != nullptr) {
      all_ += line.data();
      if (std::string(line.data()).find(words) != std::string::npos) return true;
    }
    return false;
  }

  [[nodiscard]] pid_t process() const { return process_; }
  void signal(int number) const { ::kill(process_, number); }

  /// Its exit code, after all of its output.
  int end() {
    wait_for("there is no such line");
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  [[nodiscard]] const std::string& output() const { return all_; }

 private:
  pid_t process_ = -1;
  std::FILE* output_ = nullptr;
  std::string all_;
};

}  // namespace slackline
