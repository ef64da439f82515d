// Ranks that this process starts.

#include "process_group/launcher.h"

#include <slackline/error.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include "cpu_shares.h"
#include "temporary_folder.h"

namespace slackline::group {
namespace {

using std::chrono_literals::operator""ms;

// Lines of a shell: one rank tells its process, and the others wait for what becomes of it. It has
// been waited for when it is no process any more.
const std::string kTellPid = "{ echo $$ > pid.tmp; mv pid.tmp pid; }; ";
const std::string kUntilItIsGone =
    "while [ ! -e pid ]; do :; done; while [ -e /proc/$(cat pid) ]; do :; done; ";
const std::string kUntilItIsStopped =
    "while [ ! -e pid ]; do :; done; "
    "until grep -q '^State:.*stopped' /proc/$(cat pid)/status; do :; done; ";

class LauncherTest : public testing::Test {
 protected:
  /// Runs a shell's script as each rank, in the test's folder.
  LaunchEnd run(int ranks, const std::string& script,
                std::chrono::milliseconds deadline = 60'000ms) {
    return launch({{"sh", "-c", "cd " + folder_.path().string() + "; " + script}, ranks, deadline});
  }
  [[nodiscard]] std::string file(const std::string& name) const {
    std::ifstream stream(folder_.path() / name);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  testing_support::TemporaryFolder folder_;
};

TEST_F(LauncherTest, TheRanksFindEachOther) {
  const LaunchEnd end = launch({{SLACKLINE_TEST_RANK_PROGRAM, "join", "sum=1009"}, 3});
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_EQ(end.message, "");
}

TEST_F(LauncherTest, EachRankHasVariablesOfItsOwnAndNoOtherLaunchers) {
  ::setenv("OMPI_COMM_WORLD_RANK", "7", 1);
  const LaunchEnd end =
      run(2,
          "echo $SLACKLINE_RANK $SLACKLINE_SIZE $SLACKLINE_LOCAL_RANK $OMPI_COMM_WORLD_RANK "
          "${SLACKLINE_RENDEZVOUS%%:*} > of_$SLACKLINE_RANK");
  ::unsetenv("OMPI_COMM_WORLD_RANK");
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_EQ(file("of_0"), "0 2 0 local\n");
  EXPECT_EQ(file("of_1"), "1 2 1 local\n");
}

TEST(CpuSharesTest, AreContiguousAndDifferByOneAtMost) {
  using Shares = std::vector<std::vector<int>>;
  EXPECT_EQ(cpu_shares({0, 1, 2, 3}, 1), (Shares{{0, 1, 2, 3}}));
  EXPECT_EQ(cpu_shares({0, 1, 4, 5, 8}, 2), (Shares{{0, 1}, {4, 5, 8}}));
  EXPECT_EQ(cpu_shares({2, 3, 4}, 3), (Shares{{2}, {3}, {4}}));
}

TEST(CpuSharesTest, OfTooFewCpusAreTakenInTurns) {
  EXPECT_EQ(cpu_shares({3, 7}, 5), (std::vector<std::vector<int>>{{3}, {7}, {3}, {7}, {3}}));
}

TEST_F(LauncherTest, EachRankRunsOnItsShareOfTheCpus) {
  const std::vector<int> cpus = own_cpus();
  ASSERT_FALSE(cpus.empty());
  const auto count = static_cast<int>(cpus.size());
  const std::string tell = "grep Cpus_allowed_list /proc/self/status > cpus_$SLACKLINE_RANK";
  EXPECT_EQ(run(count + 1, tell).exit_code, 0);
  for (int i = 0; i <= count; ++i) {
    EXPECT_EQ(file(text("cpus_", i)),
              text("Cpus_allowed_list:\t", cpus[static_cast<std::size_t>(i % count)], "\n"));
  }
}

TEST(CpuSharesTest, KeepHyperthreadsOfACoreTogether) {
  const testing_support::TemporaryFolder folder;
  const auto tell = [&](int cpu, const char* siblings) {
    const auto topology = folder.path() / text("cpu", cpu) / "topology";
    std::filesystem::create_directories(topology);
    std::ofstream(topology / "thread_siblings_list") << siblings << "\n";
  };
  for (const int cpu : {0, 2}) tell(cpu, "0,2");
  for (const int cpu : {1, 3}) tell(cpu, "1,3");
  for (const int cpu : {6, 7}) tell(cpu, "6-7");
  EXPECT_EQ(ordered_by_core({0, 1, 2, 3, 4, 6, 7}, folder.path()),
            (std::vector<int>{0, 2, 1, 3, 4, 6, 7}));
}

TEST(CpuSharesTest, OfAQuotaEachGetsItsPart) {
  EXPECT_EQ(cpu_budget(32, 64, 64), 32u) << "there is no quota";
  EXPECT_EQ(cpu_budget(32, 4, 64), 2u);
  EXPECT_EQ(cpu_budget(16, 3, 64), 1u);
  EXPECT_EQ(cpu_budget(1, 2, 2), 1u);
}

TEST_F(LauncherTest, AQuotaSaysHowManyCpusARankUsesNotWhich) {
  // A launcher's own counts as a quota does.
  ::setenv("SLACKLINE_CPUS", "1", 1);
  const LaunchEnd end = run(
      1, "env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc > count; echo $SLACKLINE_CPUS > budget");
  ::unsetenv("SLACKLINE_CPUS");
  EXPECT_EQ(end.exit_code, 0) << end.message;
  EXPECT_EQ(file("budget"), "1\n");
  cpu_set_t all;
  ASSERT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
  EXPECT_EQ(file("count"), text(CPU_COUNT(&all), "\n"));
}

TEST_F(LauncherTest, OnlyCpusThatTheLauncherMayUseAreShared) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  const int last = own_cpus().back();
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(last), &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  const LaunchEnd end = run(2, "grep Cpus_allowed_list /proc/self/status > cpus_$SLACKLINE_RANK");
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(end.exit_code, 0) << end.message;
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(file(text("cpus_", i)), text("Cpus_allowed_list:\t", last, "\n"));
  }
}

TEST_F(LauncherTest, TheFirstFailureIsNamedAndTheOthersAreStopped) {
  const LaunchEnd end = run(3, "[ $SLACKLINE_RANK = 1 ] && exit 9; exec sleep 600", 50ms);
  EXPECT_EQ(end.exit_code, 9);
  EXPECT_EQ(end.message, "rank 1 of 3 failed with exit code 9");
}

TEST_F(LauncherTest, WhoDoesNotStopWhenAskedIsKilled) {
  const LaunchEnd end =
      run(2, "trap '' TERM; [ $SLACKLINE_RANK = 1 ] && kill -SEGV $$; while :; do sleep 600; done",
          50ms);
  EXPECT_EQ(end.exit_code, 128 + SIGSEGV);
  EXPECT_EQ(end.message, "rank 1 of 2 was killed by signal 11 (Segmentation fault)");
}

TEST_F(LauncherTest, TheFirstToDieIsNamedNotThoseThatMissIt) {
  const LaunchEnd end =
      launch({{"sh", "-c",
               std::string("[ $SLACKLINE_RANK = 2 ] && last=die || last=gather=8; exec '") +
                   SLACKLINE_TEST_RANK_PROGRAM + "' join gather=8 $last"},
              4});
  EXPECT_EQ(end.message, "rank 2 of 4 was killed by signal 9 (Killed)");
  EXPECT_EQ(end.exit_code, 128 + SIGKILL);
}

TEST_F(LauncherTest, WhoWasKilledIsNamedEvenIfAnotherThatFailedIsFoundEarlier) {
  const LaunchEnd end = run(2, "if [ $SLACKLINE_RANK = 0 ]; then " + kTellPid + "exit 3; fi; " +
                                   kUntilItIsGone + "kill -KILL $$");
  EXPECT_EQ(end.message, "rank 1 of 2 was killed by signal 9 (Killed)");
  EXPECT_EQ(end.exit_code, 128 + SIGKILL);
}

TEST_F(LauncherTest, AReasonOfItsOwnIsNamedEvenIfAnotherThatMissesTheRankIsFoundEarlier) {
  const LaunchEnd end = run(2, "if [ $SLACKLINE_RANK = 0 ]; then " + kTellPid + "exit 70; fi; " +
                                   kUntilItIsGone + "exit 65");
  EXPECT_EQ(end.message, "rank 1 of 2 failed with exit code 65");
  EXPECT_EQ(end.exit_code, 65);
}

TEST_F(LauncherTest, WhoHadToBeKilledIsNamedIfTheOthersOnlyMissedIt) {
  const LaunchEnd end =
      run(3,
          "[ $SLACKLINE_RANK = 1 ] && " + kTellPid + "[ $SLACKLINE_RANK = 1 ] && kill -STOP $$; " +
              kUntilItIsStopped + "exit 70",
          50ms);
  EXPECT_THAT(end.message,
              testing::MatchesRegex("rank 1 of 3 did not end and had to be killed; before, "
                                    "rank [02] of 3 failed with exit code 70"));
  EXPECT_EQ(end.exit_code, 70);
}

TEST_F(LauncherTest, WhoStoppedAsItWasAskedDoesNotHurryTheOthers) {
  const LaunchEnd end =
      run(2,
          "trap 'exit 9' TERM; if [ $SLACKLINE_RANK = 1 ]; then " + kTellPid + "exit 75; fi; " +
              kUntilItIsGone + "sleep 0.2; echo yes > saved; exit 75",
          0ms);
  EXPECT_EQ(end.exit_code, 75) << end.message;
  EXPECT_EQ(file("saved"), "yes\n");
}

TEST_F(LauncherTest, AFailureOfWhatStoppedLastIsTold) {
  const LaunchEnd end = run(2, "if [ $SLACKLINE_RANK = 1 ]; then " + kTellPid + "exit 75; fi; " +
                                   kUntilItIsGone + "exit 74");
  EXPECT_EQ(end.message, "rank 0 of 2 failed with exit code 74");
  EXPECT_EQ(end.exit_code, 74);
}

TEST_F(LauncherTest, SignalsArePassedOn) {
  // Rank 0 sends its parent one; all shall get it.
  for (const std::string signal : {"INT", "USR1"}) {
    const LaunchEnd end =
        run(2, "signal=" + signal +
                   "; trap 'echo got > got_${signal}_$SLACKLINE_RANK; exit 0' $signal; "
                   "touch ready_${signal}_$SLACKLINE_RANK; "
                   "while [ ! -e ready_${signal}_0 -o ! -e ready_${signal}_1 ]; "
                   "do sleep 0.01; done; "
                   "[ $SLACKLINE_RANK = 0 ] && kill -$signal $PPID; "
                   "while :; do sleep 0.01; done");
    EXPECT_EQ(end.exit_code, 0) << end.message;
    EXPECT_EQ(file("got_" + signal + "_0"), "got\n");
    EXPECT_EQ(file("got_" + signal + "_1"), "got\n");
  }
}

TEST_F(LauncherTest, ACommandThatIsNotThereIsRefused) {
  try {
    [[maybe_unused]] const LaunchEnd end = launch({{"/no/such/program"}, 2});
    FAIL() << "nothing was refused";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "cannot execute '/no/such/program': No such file or directory");
  }
}

}  // namespace
}  // namespace slackline::group
