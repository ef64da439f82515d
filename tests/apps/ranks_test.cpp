// Runs of several processes, as a user starts them.

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <vector>

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
using testing::AllOf;
using testing::HasSubstr;

class RanksTest : public testing::Test {
 protected:
  struct Ended {
    int exit_code = 0;
    std::string output;  ///< and errors
  };

  /// A command of the program, with these variables.
  Ended shell(const std::string& words, const std::string& variables = "") {
    const fs::path out = folder_.path() / ("output" + std::to_string(commands_++));
    const int status = std::system(
        (variables + " " + kProgram + " " + words + " > " + out.string() + " 2>&1").c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, contents(out)};
  }

  /// digits_multi_worker.toml, into the folder `name`, with these settings.
  Ended run(const std::string& name, const std::vector<std::string>& settings,
            const std::string& variables = "") {
    std::string words =
        "run " + config_file("digits_multi_worker.toml") + " --dir " + dir(name).string();
    for (const std::string& setting : settings) words += " --set \"" + setting + "\"";
    return shell(words, variables);
  }

  [[nodiscard]] fs::path dir(const std::string& name) const { return folder_.path() / name; }

  static std::string contents(const fs::path& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  [[nodiscard]] Json result(const fs::path& name) const {
    return Json::parse(contents(folder_.path() / name / "result.json"));
  }
  [[nodiscard]] std::vector<Json> steps(const fs::path& name) const {
    std::vector<Json> out;
    std::ifstream lines(folder_.path() / name / "steps.jsonl");
    for (std::string line; std::getline(lines, line);) out.push_back(Json::parse(line));
    return out;
  }
  /// What must be the same in two runs of the same training.
  [[nodiscard]] std::vector<std::string> losses_and_data(const fs::path& name) const {
    std::vector<std::string> out;
    for (const Json& step : steps(name)) {
      out.push_back(step["loss"].dump() + " " + step["order"].dump() + " " + step["pixels"].dump());
    }
    return out;
  }

  testing_support::TemporaryFolder folder_;
  int commands_ = 0;
};

TEST_F(RanksTest, TheProgramStartsEachRankAndTheFirstTellsWhatAllDid) {
  const Ended ended = run("two", {"run.epochs=2", "run.warmup_steps=2"});
  ASSERT_EQ(ended.exit_code, 0) << ended.output;
  const Json all = result("two");
  EXPECT_EQ(all["status"], "complete");
  EXPECT_EQ(all["rank"], 0);
  ASSERT_EQ(all["ranks"].size(), 2);
  const auto images = all["throughput"]["measured_images"].get<int>();
  EXPECT_EQ(all["ranks"][0]["images"].get<int>() + all["ranks"][1]["images"].get<int>(), images);
  EXPECT_EQ(all["ranks"][0]["images"], all["ranks"][1]["images"]);
  for (const Json& step : steps("two")) EXPECT_EQ(step["images"], 32) << "of both ranks";
  EXPECT_EQ(all["data"]["samples"], 32 * all["steps"].get<int>());
  EXPECT_EQ(all["evaluations"].size(), 2);
  EXPECT_EQ(all["evaluations"][1]["images"], 1000) << "each held-out sample once";
  EXPECT_GT(all["evaluations"][1]["accuracy"], 0.8);

  const Json& times = all["throughput"];
  const auto longest_input_wait_s = times["longest_input_wait_s"].get<double>();
  EXPECT_GE(longest_input_wait_s, times["input_wait_s"]) << "that of this rank is one of them";
  EXPECT_LE(longest_input_wait_s,
            1e-9 + times["input_wait_s"].get<double>() + times["rank_wait_s"].get<double>());
  EXPECT_DOUBLE_EQ(times["input_bound_percent"],
                   100 * longest_input_wait_s / times["wall_s"].get<double>());

  const Json second = result("two/rank-1");
  EXPECT_EQ(second["rank"], 1);
  EXPECT_EQ(second["last_epoch"], all["last_epoch"]) << "sums are the same at every rank";
  EXPECT_EQ(second["evaluations"][1]["loss"], all["evaluations"][1]["loss"]);
  EXPECT_EQ(losses_and_data("two/rank-1"), losses_and_data("two"));
  EXPECT_FALSE(fs::exists(dir("two/rank-0")));

  // Only one of them speaks.
  const std::size_t first = ended.output.find("verdict");
  EXPECT_NE(first, std::string::npos);
  EXPECT_EQ(ended.output.find("verdict", first + 1), std::string::npos) << ended.output;
}

TEST_F(RanksTest, TogetherRanksReadWhatOneProcessReadsInAnotherOrder) {
  const std::vector<std::string> settings = {"run.epochs=1", "input.drop_remainder=false",
                                             "eval.every_epochs=0", "run.warmup_steps=0"};
  ASSERT_EQ(run("two", settings).exit_code, 0);
  std::vector<std::string> alone = settings;
  alone.emplace_back("strategy={plugin='one_device'}");
  ASSERT_EQ(run("one", alone).exit_code, 0);
  EXPECT_EQ(result("two")["data"]["samples"], result("one")["data"]["samples"]);
  EXPECT_NE(result("two")["data"]["order"], result("one")["data"]["order"]);
}

TEST_F(RanksTest, AnInterruptedRunGoesOnAsIfNothingHadBeen) {
  const std::vector<std::string> settings = {"checkpoint={}", "eval.every_epochs=0",
                                             "input.batch_size=16", "source.shuffle_buffer=100"};
  EndlessRun endless("digits_multi_worker.toml", dir("stopped"), settings);
  ASSERT_TRUE(endless.wait_for("step 40")) << endless.output();
  endless.signal(SIGTERM);
  EXPECT_EQ(endless.end(), 75);
  EXPECT_THAT(endless.output(), HasSubstr("slackline run --resume " + dir("stopped").string()));
  const auto before = result("stopped")["steps"].get<int>();
  EXPECT_EQ(result("stopped/rank-1")["steps"], before) << "all stop behind the same step";

  const std::string enough =
      " --set run.epochs=1000000 --set run.steps=" + std::to_string(before + 30);
  const Ended resumed = shell("run --resume " + dir("stopped").string() + enough);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  std::vector<std::string> whole = settings;
  whole.insert(whole.end(), {"run.epochs=1000000", "run.steps=" + std::to_string(before + 30)});
  ASSERT_EQ(run("whole", whole).exit_code, 0);
  EXPECT_EQ(losses_and_data("stopped"), losses_and_data("whole")) << "interrupted after " << before;

  const Ended alone = shell("run --resume " + dir("stopped").string() +
                            " --set \"strategy={plugin='one_device'}\"" + enough);
  EXPECT_EQ(alone.exit_code, 78);
  EXPECT_THAT(alone.output, HasSubstr("is of a run of 2 processes, each with its part of the data, "
                                      "and this one has 1: must be as many"));
  const Ended more =
      shell("run --resume " + dir("stopped").string() + " --set strategy.processes=4" + enough);
  EXPECT_EQ(more.exit_code, 78) << more.output;
  EXPECT_THAT(more.output, HasSubstr("and this one has 4: must be as many"));
}

/// The process of one rank of a run, once it has one.
pid_t process_of_rank(pid_t launcher, const std::string& rank) {
  const std::string wanted = "SLACKLINE_RANK=" + rank;
  for (;;) {
    std::ifstream children("/proc/" + std::to_string(launcher) + "/task/" +
                           std::to_string(launcher) + "/children");
    for (pid_t child = 0; children >> child;) {
      std::ifstream environment("/proc/" + std::to_string(child) + "/environ");
      for (std::string variable; std::getline(environment, variable, '\0');) {
        if (variable == wanted) return child;
      }
    }
    std::this_thread::yield();
  }
}

TEST_F(RanksTest, ASignalToAllProcessesAtOnceStopsTheRunAsOneDoes) {
  EndlessRun endless("digits_multi_worker.toml", dir("job"),
                     {"checkpoint={}", "eval.every_epochs=0", "source.shuffle_buffer=100"});
  ASSERT_TRUE(endless.wait_for("step 20")) << endless.output();
  const pid_t first = process_of_rank(endless.process(), "0");
  const pid_t second = process_of_rank(endless.process(), "1");
  // Another number than the launcher's, which passes it on: two of the same could become one.
  for (const pid_t rank : {first, second}) ::kill(rank, SIGINT);
  endless.signal(SIGTERM);
  EXPECT_EQ(endless.end(), 75) << endless.output();
  EXPECT_EQ(result("job")["status"], "interrupted");
  EXPECT_THAT(endless.output(), HasSubstr("slackline run --resume " + dir("job").string()));
}

TEST_F(RanksTest, AProcessThatCannotStopIsEndedByALaterSignal) {
  // It waits for the other rank, whatever it is asked.
  ::setenv("SLACKLINE_RANK", "0", 1);
  ::setenv("SLACKLINE_SIZE", "2", 1);
  ::setenv("SLACKLINE_RENDEZVOUS", ("file:" + dir("meet").string()).c_str(), 1);
  EndlessRun waiting("digits_multi_worker.toml", dir("waiting"), {});
  for (const char* const name : {"SLACKLINE_RANK", "SLACKLINE_SIZE", "SLACKLINE_RENDEZVOUS"}) {
    ::unsetenv(name);
  }
  while (!fs::exists(dir("meet"))) std::this_thread::yield();
  for (siginfo_t ended{}; ended.si_pid == 0;) {
    waiting.signal(SIGINT);
    ASSERT_EQ(
        ::waitid(P_PID, static_cast<id_t>(waiting.process()), &ended, WEXITED | WNOHANG | WNOWAIT),
        0);
    std::this_thread::yield();
  }
  EXPECT_EQ(waiting.end(), 128 + SIGINT);
}

TEST_F(RanksTest, ARankThatIsKilledEndsTheOthersWhichNameIt) {
  for (const char* const rank : {"0", "1"}) {
    const fs::path errors = dir(std::string("errors") + rank);
    EndlessRun endless("digits_multi_worker.toml", dir(std::string("killed") + rank),
                       {"eval.every_epochs=0", "source.shuffle_buffer=100"}, errors);
    ASSERT_TRUE(endless.wait_for("step 20")) << endless.output();
    ::kill(process_of_rank(endless.process(), rank), SIGKILL);
    EXPECT_EQ(endless.end(), 128 + SIGKILL) << "as its shell would say";
    EXPECT_THAT(contents(errors), HasSubstr(std::string("rank ") + rank));
    EXPECT_THAT(contents(errors), HasSubstr("was killed by signal 9"));
  }
  EXPECT_EQ(result("killed1")["status"], "failed");
  EXPECT_THAT(std::string(result("killed1")["error"]), HasSubstr("rank 1"));
}

TEST_F(RanksTest, ARankThatIsStoppedIsNamedAndDoesNotKeepTheCommand) {
  const auto before = std::chrono::steady_clock::now();
  EndlessRun endless("digits_multi_worker.toml", dir("hung"),
                     {"eval.every_epochs=0", "strategy.deadline_s=1"}, dir("errors"));
  ASSERT_TRUE(endless.wait_for("step 20")) << endless.output();
  ::kill(process_of_rank(endless.process(), "1"), SIGSTOP);
  EXPECT_EQ(endless.end(), 70);
  EXPECT_THAT(contents(dir("errors")),
              HasSubstr("slackline: rank 1 of 2 did not end and had to be killed; before, rank 0 "
                        "of 2 failed with exit code 70"));
  EXPECT_THAT(std::string(result("hung")["error"]), HasSubstr("rank 1"));
  // 10 s for those that live to find out, and one more for the one that is asked and does not hear.
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(20));
}

TEST_F(RanksTest, ABadSampleOfOneRankIsToldByAll) {
  fs::create_directory(dir("data"));
  const fs::path digits = fs::path(SLACKLINE_TEST_SOURCE_DIR) / "tests/data/digits";
  fs::copy(digits / "train-00000-of-00004.gz", dir("data/a.gz"));
  fs::copy(digits / "train-00001-of-00004.gz", dir("data/b.gz"));
  fs::resize_file(dir("data/b.gz"), fs::file_size(dir("data/b.gz")) - 4000);
  const Ended ended =
      run("bad", {"source.files=['" + dir("data").string() + "/*.gz']", "source.shuffle_buffer=0"});
  EXPECT_EQ(ended.exit_code, 65) << "of the rank itself, not of those that it told";
  EXPECT_THAT(std::string(result("bad")["error"]),
              AllOf(HasSubstr("rank 1"), HasSubstr("data/b.gz")))
      << ended.output;
  EXPECT_THAT(std::string(result("bad/rank-1")["error"]), HasSubstr("data/b.gz"));
}

TEST_F(RanksTest, BadSamplesThatAreSkippedAreCountedByRank) {
  fs::create_directory(dir("data"));
  const fs::path digits = fs::path(SLACKLINE_TEST_SOURCE_DIR) / "tests/data/digits";
  fs::copy(digits / "train-00000-of-00004.gz", dir("data/a.gz"));
  fs::copy(digits / "train-00001-of-00004.gz", dir("data/b.gz"));
  fs::resize_file(dir("data/b.gz"), fs::file_size(dir("data/b.gz")) - 4000);
  const Ended ended = run(
      "skipped", {"source.files=['" + dir("data").string() + "/*.gz']", "source.shuffle_buffer=0",
                  "run.epochs=1", "input.on_bad_sample='skip'", "input.max_bad_samples=10"});
  ASSERT_EQ(ended.exit_code, 0) << ended.output;
  EXPECT_EQ(result("skipped")["ranks"][0]["bad_samples"], 0);
  EXPECT_EQ(result("skipped")["ranks"][1]["bad_samples"], 1);
  EXPECT_GT(result("skipped")["ranks"][0]["left_out"], 0) << "as the other shard is shorter";
  EXPECT_THAT(ended.output, AllOf(HasSubstr("bad samples of rank 1: 1"), HasSubstr("by rank 0: ")));
}

TEST_F(RanksTest, RanksWithOtherConfigurationsAreRefused) {
  const std::string meet = "SLACKLINE_SIZE=2 SLACKLINE_RENDEZVOUS=file:" + dir("meet").string();
  Ended second;
  std::thread other([&] {
    const std::string words = "run " + config_file("digits_multi_worker.toml") +
                              " --set run.seed=2 --dir " + dir("other").string();
    const fs::path out = dir("other_output");
    const int status = std::system(
        (meet + " SLACKLINE_RANK=1 " + kProgram + " " + words + " > " + out.string() + " 2>&1")
            .c_str());
    second = {WEXITSTATUS(status), contents(out)};
  });
  const Ended first = run("first", {"run.seed=1"}, meet + " SLACKLINE_RANK=0");
  other.join();
  EXPECT_EQ(first.exit_code, 78) << first.output;
  EXPECT_EQ(second.exit_code, 78) << second.output;
  EXPECT_THAT(first.output, HasSubstr("configuration"));
}

TEST_F(RanksTest, WhatFailsAtTheFirstRankBeforeTheTrainingIsToldByTheOther) {
  const std::vector<std::string> settings = {"run.steps=3", "run.warmup_steps=0",
                                             "eval.every_epochs=0"};
  ASSERT_EQ(run("once", settings).exit_code, 0);
  const Ended again = run("once", settings);
  EXPECT_EQ(again.exit_code, 78);
  const std::string reason = "holds the results of a run already";
  const std::size_t first = again.output.find(reason);
  ASSERT_NE(first, std::string::npos) << again.output;
  EXPECT_NE(again.output.find(reason, first + 1), std::string::npos) << again.output;
  EXPECT_THAT(again.output, HasSubstr("aborted: "));
}

TEST_F(RanksTest, WhatCannotWorkIsToldBeforeAnyRankIsStarted) {
  const std::string file = config_file("digits_multi_worker.toml");
  EXPECT_EQ(shell("check " + file).exit_code, 0);
  Ended ended = shell("check " + file + " --set input.batch_size=33");
  EXPECT_EQ(ended.exit_code, 78);
  EXPECT_THAT(ended.output, HasSubstr("33 samples cannot be divided evenly among 2 devices"));
  ended = shell("check " + file + " --set input.shard_count=2");
  EXPECT_EQ(ended.exit_code, 78);
  EXPECT_THAT(ended.output, HasSubstr("share the data out among themselves: must be 1"));
}

// Open MPI as it is installed; it is root's to run it in containers.
constexpr const char* kMpirun = "mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2";

TEST_F(RanksTest, MpirunStartsTheRanks) {
  if (std::system("mpirun --version 2> /dev/null | grep -q 'Open MPI'") != 0) {
    GTEST_SKIP() << "there is no mpirun of Open MPI";
  }
  const std::vector<std::string> settings = {"run.steps=5", "run.warmup_steps=0",
                                             "eval.every_epochs=0"};
  const Ended own = run("own", settings);
  ASSERT_EQ(own.exit_code, 0) << own.output;
  std::vector<std::string> as_many = settings;
  as_many.emplace_back("strategy.processes=0");
  for (const std::string& meet :
       {std::string(), "SLACKLINE_RENDEZVOUS=file:" + dir("meet").string() + " "}) {
    const std::string name = meet.empty() ? "unasked" : "told";
    const Ended mpi = run(name, as_many, meet + kMpirun);
    ASSERT_EQ(mpi.exit_code, 0) << mpi.output;
    EXPECT_EQ(result(name)["ranks"].size(), 2);
    EXPECT_EQ(losses_and_data(name), losses_and_data("own"));
  }
}

TEST_F(RanksTest, AStrategyOfOneProcessIsNotStartedSeveralTimes) {
  const std::string variables = "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4";
  const std::vector<std::string> settings = {"strategy={plugin='one_device'}", "run.steps=3",
                                             "run.warmup_steps=0", "eval.every_epochs=0"};
  const Ended ended = run("alone", settings, variables);
  EXPECT_EQ(ended.exit_code, 78) << ended.output;
  EXPECT_THAT(ended.output,
              HasSubstr("strategy/one_device trains in one process, but a launcher started 4 "
                        "(OMPI_COMM_WORLD_SIZE)"));
  EXPECT_FALSE(fs::exists(dir("alone")));
  EXPECT_EQ(run("alone", settings, "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1").exit_code, 0);
}

}  // namespace
}  // namespace slackline
