// A run that is told to stop.

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "endless_run.h"
#include "temporary_folder.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class RunFolder : public testing::Test {
 protected:
  /// The exit code of a command.
  static int shell(const std::string& command) {
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static std::vector<double> losses(const fs::path& dir) {
    std::vector<double> out;
    std::ifstream lines(dir / "steps.jsonl");
    for (std::string line; std::getline(lines, line);) out.push_back(Json::parse(line)["loss"]);
    return out;
  }

  testing_support::TemporaryFolder folder_;
};

using ResumeTest = RunFolder;
class SignalTest : public RunFolder, public testing::WithParamInterface<int> {};

TEST_P(SignalTest, TheStepIsEndedResultsAreWrittenAndTheExitCodeSaysSo) {
  const fs::path dir = folder_.path() / "run";
  EndlessRun run("synthetic.toml", dir, {"input.batch_size=4"});
  ASSERT_TRUE(run.wait_for("step 3")) << run.output();
  run.signal(GetParam());
  EXPECT_EQ(run.end(), 75);
  EXPECT_THAT(run.output(), testing::HasSubstr("interrupted after"));
  EXPECT_THAT(run.output(),
              testing::HasSubstr("it cannot go on: its configuration has no table [checkpoint]"));
  EXPECT_THAT(run.output(), testing::HasSubstr("verdict"));

  std::ifstream result(dir / "result.json");
  const Json json = Json::parse(result);
  EXPECT_EQ(json["status"], "interrupted");
  std::ifstream lines(dir / "steps.jsonl");
  int steps = 0;
  for (std::string line; std::getline(lines, line); ++steps) {
    EXPECT_EQ(Json::parse(line)["step"], steps) << "a step was lost or torn";
  }
  EXPECT_EQ(json["steps"], steps) << "every trained step has its line";
}

TEST_F(ResumeTest, SignalsThatComeTogetherAreOneRequest) {
  const fs::path dir = folder_.path() / "run";
  EndlessRun run("digits_linear.toml", dir, {"checkpoint={}", "eval.every_epochs=0"});
  ASSERT_TRUE(run.wait_for("step 40")) << run.output();
  run.signal(SIGTERM);
  run.signal(SIGINT);  // another number: two of the same could become one before they are taken
  EXPECT_EQ(run.end(), 75) << run.output();
  EXPECT_THAT(run.output(), testing::HasSubstr("slackline run --resume " + dir.string()));
}

TEST_F(ResumeTest, AnInterruptedRunGoesOnAsIfNothingHadBeen) {
  const fs::path stopped = folder_.path() / "stopped";
  const fs::path whole = folder_.path() / "whole";
  const std::vector<std::string> settings = {
      "checkpoint={}",
      "input.batch_size=16",
      "eval.every_epochs=0",
      "source.shuffle_buffer=100",
      "transform=[{plugin='imagenet_turbojpeg', mode='train'}]",
      "input.workers=3"};
  EndlessRun run("digits_linear.toml", stopped, settings);
  ASSERT_TRUE(run.wait_for("step 40")) << run.output();
  run.signal(SIGTERM);
  EXPECT_EQ(run.end(), 75);
  EXPECT_THAT(run.output(), testing::HasSubstr("slackline run --resume " + stopped.string()));
  std::ifstream result(stopped / "result.json");
  const auto steps_before = Json::parse(result)["steps"].get<int>();

  const std::string enough =
      " --set run.epochs=1000000 --set run.steps=" + std::to_string(steps_before + 30) +
      " > /dev/null";
  ASSERT_EQ(
      shell(kProgram + " run --resume " + stopped.string() + " --set input.workers=1" + enough), 0);
  std::string again =
      kProgram + " run " + config_file("digits_linear.toml") + " --dir " + whole.string();
  for (const std::string& setting : settings) again += " --set \"" + setting + "\"";
  ASSERT_EQ(shell(again + enough), 0);
  EXPECT_EQ(losses(stopped), losses(whole)) << "interrupted after " << steps_before << " steps";
  EXPECT_EQ(shell(kProgram + " verify " + stopped.string() + " " + whole.string()), 0)
      << "interrupted after " << steps_before << " steps";
}

INSTANTIATE_TEST_SUITE_P(OfTheKeyboardTheSystemAndASchedulerAhead, SignalTest,
                         testing::Values(SIGINT, SIGTERM, SIGUSR1));

}  // namespace
}  // namespace slackline
