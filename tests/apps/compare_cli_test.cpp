// `slackline compare` as a user meets it: real processes, tiny runs. What the verdict is depends on
// the machine, so no test here asks for one.

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "temporary_folder.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

const fs::path kBinaries = SLACKLINE_TEST_BINARY_DIR;

struct Ended {
  int exit_code = -1;
  std::string out, err;
};

class CompareCliTest : public testing::Test {
 protected:
  CompareCliTest() {
    fs::create_directory(folder_.path() / "tmp");
    folder_.write("a.toml", config("plain", 8));
    folder_.write("b.toml", config("none", 8));
  }

  static std::string config(const std::string& prefetcher, int steps) {
    return "[run]\nsteps = " + std::to_string(steps) +
           "\nwarmup_steps = 2\n"
           "[input]\nbatch_size = 2\nimage_size = [8, 8]\nnum_classes = 4\nworkers = 1\n"
           "[source]\nplugin = \"synthetic\"\nimage_size = [8, 8]\nnum_classes = 4\n"
           "[[transform]]\nplugin = \"imagenet_turbojpeg\"\nmode = \"eval\"\n"
           "[prefetcher]\nplugin = \"" +
           prefetcher + "\"\n[model]\nplugin = \"trivial\"\n[strategy]\nplugin = \"one_device\"\n";
  }

  /// Runs `slackline compare <arguments>`, words of a shell, in the test's own folder.
  Ended compare(const std::string& arguments) {
    const std::string command = "cd '" + folder_.path().string() +
                                "' && HOME=/nonexistent TMPDIR=$PWD/tmp '" +
                                (kBinaries / "bin/slackline").string() + "' compare " + arguments +
                                " >out 2>err </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read("out"), read("err")};
  }

  [[nodiscard]] std::string read(const fs::path& name) const {
    std::ifstream in(folder_.path() / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  testing_support::TemporaryFolder folder_;
};

TEST_F(CompareCliTest, AComparisonPrintsATableAndAVerdictAndKeepsNothing) {
  const Ended ended = compare("a.toml b.toml --min-effect 100");
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, AllOf(HasSubstr("A  a.toml\nB  b.toml\n"),
                               HasSubstr("  prefetcher.plugin: \"plain\" -> \"none\"\n"),
                               HasSubstr("images/s"), HasSubstr("step time, p99, ms"),
                               HasSubstr("CPU time an image, ms"), HasSubstr("A against A"),
                               HasSubstr("10 blocks, 40 measured processes, after a warm-up"),
                               HasSubstr("UNCLEAR  everything else\n"), HasSubstr("\nB is ")));
  EXPECT_THAT(ended.err, AllOf(StartsWith("warm-up of each configuration, not counted: A B\n"),
                               HasSubstr("\nblock 10 of 10, images/s: B ")));
  EXPECT_TRUE(fs::is_empty(folder_.path() / "tmp"));
}

TEST_F(CompareCliTest, TheProcessesRanInTheOrderOfTheBlocks) {
  const Ended ended = compare("a.toml b.toml --dir runs --json result.json");
  ASSERT_THAT(ended.exit_code, testing::AnyOf(0, 1)) << ended.err;
  std::vector<std::pair<fs::file_time_type, std::string>> ends;
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path() / "runs")) {
    if (entry.path().filename() != "result.json") continue;
    ends.emplace_back(entry.last_write_time(), entry.path().parent_path().filename().string());
  }
  std::sort(ends.begin(), ends.end());
  std::string order;
  for (const auto& [time, name] : ends) order += name.back();
  std::string expected = "AB";  // the warm-ups
  for (int i = 0; i < 5; ++i) expected += "ABBABAAB";
  EXPECT_EQ(order, expected);
  EXPECT_TRUE(fs::exists(folder_.path() / "runs/block-10/1-B/stdout.txt"));
  EXPECT_EQ(json::parse(read("result.json"))["order"], expected.substr(2));
}

TEST_F(CompareCliTest, JsonOnStdoutIsAloneThere) {
  const Ended ended = compare("a.toml a.toml --fail-on different --set run.seed=7 --json -");
  const json result = json::parse(ended.out);
  EXPECT_EQ(ended.exit_code, result["comparisons"][0]["verdict"] == "SAME" ? 0 : 1);
  EXPECT_THAT(ended.err, HasSubstr("the resolved configurations are the same\n"));
  EXPECT_EQ(result["set"], json({"run.seed=7"}));
  EXPECT_THAT(result["configurations"][1]["resolved_toml"], HasSubstr("seed = 7\n"));
  EXPECT_EQ(result["runs"].size(), 40u);
  EXPECT_EQ(result["runs"][39]["result"]["throughput"]["measured_steps"], 6);
  EXPECT_GT(result["runs"][39]["result"]["throughput"]["images_per_s"], 0);
}

TEST_F(CompareCliTest, ThreeConfigurationsAreMeasuredInTurn) {
  const Ended ended = compare("a.toml b.toml a.toml --set run.log_steps=3 --json result.json");
  ASSERT_THAT(ended.exit_code, testing::AnyOf(0, 1)) << ended.err;
  const json result = json::parse(read("result.json"));
  EXPECT_THAT(result["order"].get<std::string>(), StartsWith("ABCCBABCAACBCABBAC"));
  EXPECT_EQ(result["comparisons"][1]["configuration"], "C");
}

TEST_F(CompareCliTest, ACommandLineThatMakesNoSenseIsAUsageError) {
  for (const char* arguments :
       {"", "a.toml", "a.toml b.toml --blocks 9", "a.toml b.toml --blocks x",
        "a.toml b.toml --fail-on no", "a.toml b.toml --min-effect 0"}) {
    EXPECT_EQ(compare(arguments).exit_code, 64) << arguments;
  }
  EXPECT_THAT(compare("a.toml b.toml --blocks 9").err, HasSubstr("with fewer than 10 blocks"));
}

TEST_F(CompareCliTest, HelpTellsTheRule) {
  EXPECT_THAT(compare("--help").out,
              AllOf(HasSubstr("\nSAME     the interval lies within 1/1.01 to 1.01\n"),
                    HasSubstr("Exit codes: 0 passed, 1 failed")));
}

TEST_F(CompareCliTest, AConfigurationThatDoesNotExistEndsItWithTheReasonOfTheRun) {
  const Ended ended = compare("a.toml none.toml");
  EXPECT_EQ(ended.exit_code, 74);
  EXPECT_EQ(ended.out, "");
  EXPECT_EQ(ended.err,
            "warm-up of each configuration, not counted: A B\n"
            "slackline: compare: warm-up, run of B (none.toml) ended with exit code 74:\n"
            "slackline: none.toml: cannot open: No such file or directory\n");
  EXPECT_TRUE(fs::is_empty(folder_.path() / "tmp"));
}

TEST_F(CompareCliTest, ARunThatFailsEndsItWithItsExitCode) {
  const Ended ended = compare("a.toml b.toml --set run.seeed=1");
  EXPECT_EQ(ended.exit_code, 78);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("compare: warm-up, run of A (a.toml) ended with exit "
                                         "code 78:\n"),
                               HasSubstr("[run] has no option 'seeed'")));
}

TEST_F(CompareCliTest, RunsThatEndInTheirWarmupMeasureNothing) {
  const Ended ended = compare("a.toml b.toml --set run.warmup_steps=8");
  EXPECT_EQ(ended.exit_code, 78);
  EXPECT_THAT(ended.err, HasSubstr("nothing was measured"));
}

TEST_F(CompareCliTest, ADirectoryThatHoldsSomethingIsRefused) {
  folder_.write("runs/old", "");
  const Ended ended = compare("a.toml b.toml --dir runs");
  EXPECT_EQ(ended.exit_code, 78);
  EXPECT_THAT(ended.err, StartsWith("slackline: runs: is not empty"));
}

TEST_F(CompareCliTest, AnInterruptEndsTheRunAndTheComparison) {
  const std::string program = kBinaries / "bin/slackline";
  const std::string file = folder_.write("endless.toml", config("plain", 0));
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const pid_t process = ::fork();
  ASSERT_GE(process, 0);
  if (process == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::execl(program.c_str(), "slackline", "compare", file.c_str(), file.c_str(), "--set",
            "run.epochs=1000000", nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  std::FILE* err = ::fdopen(ends[0], "r");
  // From its first word on, signals are taken care of.
  std::string said(1, static_cast<char>(std::fgetc(err)));
  ::kill(process, SIGINT);
  for (int c = 0; (c = std::fgetc(err)) != EOF;) said += static_cast<char>(c);
  std::fclose(err);
  int status = 0;
  ASSERT_EQ(::waitpid(process, &status, 0), process);
  ASSERT_TRUE(WIFEXITED(status)) << said;
  EXPECT_EQ(WEXITSTATUS(status), 75) << said;
  EXPECT_THAT(said,
              HasSubstr("slackline: compare: warm-up, run of A (" + file + ") was interrupted\n"));
}

}  // namespace
}  // namespace slackline
