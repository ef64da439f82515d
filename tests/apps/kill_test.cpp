// A run that is killed at any moment, again and again, ends as one that never was.
//
// SLACKLINE_TEST_KILLS sets how often (25 if it is not set).

#include <slackline/checkpoint.h>
#include <slackline/error.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "temporary_folder.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

const std::string kProgram = fs::path(SLACKLINE_TEST_BINARY_DIR) / "bin/slackline";

int kills_wanted() {
  const char* const text = std::getenv("SLACKLINE_TEST_KILLS");
  return text != nullptr ? std::atoi(text) : 25;
}

/// What matters of each step: number, bits of the loss, data.
std::vector<std::string> steps_of(const fs::path& dir) {
  std::vector<std::string> out;
  std::ifstream lines(dir / "steps.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const Json step = Json::parse(line);
    out.push_back(text(step["step"].dump(), " ", step["loss"].dump(), " ",
                       std::string(step["order"]), " ", std::string(step["pixels"])));
  }
  return out;
}

class KillTest : public testing::Test {
 protected:
  /// The digits, with a checkpoint at every step.
  static std::vector<std::string> fresh(const fs::path& dir, const std::string& steps) {
    std::vector<std::string> words = {
        kProgram, "run", fs::path(SLACKLINE_TEST_SOURCE_DIR) / "configs/digits_linear.toml",
        "--dir", dir.string()};
    for (const std::string& setting :
         {"run.steps=" + steps, std::string("run.epochs=1000000"),
          std::string("input.batch_size=8"), std::string("run.log_steps=1"),
          std::string("eval.every_epochs=0"), std::string("source.shuffle_buffer=50"),
          std::string("source.files=['") + SLACKLINE_TEST_SOURCE_DIR +
              "/tests/data/digits/validation-*']",
          std::string("transform=[{plugin='imagenet_turbojpeg',mode='train'}]"),
          std::string("checkpoint.every_steps=1")}) {
      words.insert(words.end(), {"--set", setting});
    }
    return words;
  }
  static std::vector<std::string> resumed(const fs::path& dir, const std::string& steps) {
    return {kProgram, "run", "--resume", dir.string(), "--set", "run.steps=" + steps};
  }

  /// Starts it, with its output in a new file of the test's folder.
  [[nodiscard]] pid_t start(const std::vector<std::string>& words) const {
    const std::string output = folder_.path() / "output";
    fs::remove(output);  // of the process before
    const pid_t process = ::fork();
    if (process != 0) return process;
    const int file = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(file, STDOUT_FILENO);
    ::dup2(file, STDERR_FILENO);
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execv(kProgram.c_str(), argv.data());
    ::_exit(127);
  }

  [[nodiscard]] std::string output() const {
    std::ifstream in(folder_.path() / "output");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static int status_of(pid_t process) {
    int status = 0;
    ::waitpid(process, &status, 0);
    return status;
  }
  int exit_code(const std::vector<std::string>& words) {
    const int status = status_of(start(words));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  static bool has_half_written(const fs::path& dir) {
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(dir / "checkpoints", failed)) {
      if (entry.path().extension() == ".tmp") return true;
    }
    return false;
  }

  /// Stops the process, if need be again and again, until it stands in the middle of a save.
  static void stop_in_a_save(pid_t process, const fs::path& dir, Clock::time_point deadline) {
    while (Clock::now() < deadline) {
      if (!has_half_written(dir)) continue;
      ::kill(process, SIGSTOP);
      int status = 0;
      ::waitpid(process, &status, WUNTRACED);
      if (!WIFSTOPPED(status) || has_half_written(dir)) return;
      ::kill(process, SIGCONT);
    }
  }

  testing_support::TemporaryFolder folder_;
};

TEST_F(KillTest, ARunKilledAtAnyMomentGoesOnToTheBit) {
  const fs::path dir = folder_.path() / "killed";
  std::mt19937 random(11);
  const int kills = kills_wanted();
  int in_save = 0, between_rename_and_removal = 0, before_the_first = 0;
  std::uint64_t newest = 0;
  for (int kill = 0; kill < kills; ++kill) {
    if (checkpoint_files(dir).empty()) fs::remove_all(dir);
    const bool is_new = !fs::exists(dir);
    const pid_t process = start(is_new ? fresh(dir, "0") : resumed(dir, "0"));
    // Two of four when it is training and saving, one when it is starting, one within a save.
    const auto deadline = Clock::now() + std::chrono::seconds(60);
    const bool is_starting = kill % 4 == 3;
    if (!is_starting) {
      const std::uint64_t wanted = newest + 1 + random() % 10;
      while (Clock::now() < deadline) {
        const auto files = checkpoint_files(dir);
        if (!files.empty() &&
            files.front().filename().string() >=
                text("step-", std::string(9 - std::to_string(wanted).size(), '0'), wanted)) {
          break;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
    std::this_thread::sleep_for(
        std::chrono::microseconds(random() % (is_starting ? 150'000 : 5'000)));
    if (kill % 4 == 1) stop_in_a_save(process, dir, deadline);
    ::kill(process, SIGKILL);
    const int status = status_of(process);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << output();

    if (has_half_written(dir)) ++in_save;
    if (checkpoint_files(dir).size() > 2) ++between_rename_and_removal;
    if (checkpoint_files(dir).empty()) {
      ++before_the_first;
      ASSERT_EQ(newest, 0u) << "a checkpoint was lost";
      continue;
    }
    const FoundCheckpoint found = newest_checkpoint(dir);
    ASSERT_TRUE(found.checkpoint.has_value());
    EXPECT_TRUE(found.damaged.empty()) << found.damaged.front().reason;
    EXPECT_GE(found.checkpoint->info().training.steps, newest) << "a checkpoint was lost";
    newest = found.checkpoint->info().training.steps;
  }
  std::cout << kills << " kills: " << in_save << " while a checkpoint was half written, "
            << between_rename_and_removal << " before an old one was removed, " << before_the_first
            << " before there was one; " << newest << " steps\n";
  EXPECT_GE(in_save, (kills + 2) / 4) << "kills that were to fall into a save did not";
  ASSERT_GT(newest, 0u) << "no run came to its first checkpoint";

  const std::string steps = std::to_string(newest + 10);
  ASSERT_EQ(exit_code(resumed(dir, steps)), 0) << output();
  const fs::path whole = folder_.path() / "whole";
  ASSERT_EQ(exit_code(fresh(whole, steps)), 0) << output();
  EXPECT_EQ(steps_of(whole).size(), newest + 10);
  EXPECT_EQ(steps_of(dir), steps_of(whole));
  EXPECT_FALSE(has_half_written(dir));
}

TEST_F(KillTest, ATerminatedRunGoesOnToTheBit) {
  const fs::path dir = folder_.path() / "terminated";
  std::mt19937 random(12);
  std::vector<std::string> words = fresh(dir, "0");
  words.insert(words.end(), {"--set", "checkpoint.every_steps=0"});
  for (int round = 0; round < 4; ++round) {
    const pid_t process = start(words);
    while (output().find("step ") == std::string::npos) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    ::kill(process, SIGTERM);
    const int status = status_of(process);
    ASSERT_TRUE(WIFEXITED(status));
    ASSERT_EQ(WEXITSTATUS(status), 75) << output();
    const FoundCheckpoint found = newest_checkpoint(dir);
    ASSERT_TRUE(found.checkpoint.has_value());
    EXPECT_EQ(found.checkpoint->info().training.steps, steps_of(dir).size()) << "no step is lost";
    EXPECT_THAT(output(), testing::HasSubstr("to go on: slackline run --resume " + dir.string()));
    words = resumed(dir, "0");
  }
  const std::string steps = std::to_string(steps_of(dir).size() + 5);
  ASSERT_EQ(exit_code(resumed(dir, steps)), 0) << output();
  const fs::path whole = folder_.path() / "whole";
  ASSERT_EQ(exit_code(fresh(whole, steps)), 0) << output();
  EXPECT_EQ(steps_of(dir), steps_of(whole));
}

}  // namespace
}  // namespace slackline
