// Ranks that are lost, stop, abort or end, while others go on.

#include <slackline/random.h>

#include <chrono>
#include <csignal>
#include <string>
#include <thread>

#include "rank_process.h"

namespace slackline {
namespace {

using std::chrono_literals::operator""ms;
using testing_support::Words;
using FailureTest = testing_support::GroupTest;
class KillTest : public testing_support::GroupTest, public testing::WithParamInterface<int> {};

std::string named(int rank, const std::string& what) {
  return "rank " + std::to_string(rank) + " (host" + std::to_string(rank) + ") " + what;
}

/// Within that time: no test depends on how far the others are by then.
template <class Action>
void at_random_moment(int round, std::chrono::microseconds most, Action action) {
  Philox words({static_cast<std::uint32_t>(round), 1}, {});
  std::this_thread::sleep_for(most * (words() % 1000) / 1000);
  action();
}

TEST_P(KillTest, InTheMidstOfSumsIsSeenAtOnceAndAllNameTheSame) {
  start_all(4, {}, {GetParam() % 2 == 0 ? "sums=100003" : "sums=5"});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(rank(i).wait_for("summing")) << rank(i).output();
  const int victim = GetParam() % 4;
  at_random_moment(GetParam(), 20ms, [&] { rank(victim).signal(SIGKILL); });
  expect_all_to_blame(victim, named(victim, "is lost: its connection ended without a goodbye"));
}

TEST_P(KillTest, InTheMidstOfMessagesIsSeenAtOnceAndAllNameTheSame) {
  start_all(4, {}, {GetParam() % 2 == 0 ? "gathers=100003" : "gathers=256"});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(rank(i).wait_for("gathering")) << rank(i).output();
  const int victim = GetParam() % 4;
  at_random_moment(GetParam(), 20ms, [&] { rank(victim).signal(SIGKILL); });
  expect_all_to_blame(victim, named(victim, "is lost: its connection ended without a goodbye"));
}

TEST_P(KillTest, BetweenCallsIsFoundByTheNext) {
  const int victim = GetParam() % 3;
  for (int i = 0; i < 3; ++i)
    start(i, 3, {}, i == victim ? Words{"read"} : Words{"read", "gather=8"});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(rank(i).wait_for("joined")) << rank(i).output();
  rank(victim).signal(SIGKILL);
  EXPECT_EQ(rank(victim).end(), -SIGKILL);
  for (int i = 0; i < 3; ++i) {
    if (i != victim) rank(i).write_line();
  }
  expect_all_to_blame(victim, named(victim, "is lost: its connection ended without a goodbye"));
}

TEST_P(KillTest, WhileOthersStillComeLeavesNobodyWaiting) {
  const int victim = GetParam() % 3;  // rank 3 never comes
  for (int i = 0; i < 3; ++i) start(i, 4, {"come_ms=1000", "deadline_ms=1000", "say=coming"});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(rank(i).wait_for("coming"));
  at_random_moment(GetParam(), 60ms, [&] { rank(victim).signal(SIGKILL); });
  // Whether it had come yet or not.
  expect_all_to_blame(victim, "rendezvous: ");
}

TEST_P(KillTest, WhileAllConnectLeavesNobodyWaiting) {
  const int victim = GetParam() % 4;
  start_all(4, {"come_ms=1000", "deadline_ms=1000", "say=coming"}, {"sums=5"});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(rank(i).wait_for("coming"));
  at_random_moment(GetParam(), 60ms, [&] { rank(victim).signal(SIGKILL); });
  for (int i = 0; i < 4; ++i) {
    if (i == victim) continue;
    EXPECT_EQ(rank(i).end(), 3) << "rank " << i << ": " << rank(i).output();
  }
}

INSTANTIATE_TEST_SUITE_P(Round, KillTest, testing::Range(0, 6));

TEST_F(FailureTest, AStoppedRankIsLostAfterTheDeadline) {
  for (const int victim : {0, 2}) {
    ranks_.clear();
    start_all(4, {"deadline_ms=3000"}, {"sums=1009"});
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(rank(i).wait_for("summing")) << rank(i).output();
    rank(victim).signal(SIGSTOP);
    expect_all_to_blame(victim, named(victim, "is lost: no sign of life for 2.4 s"));
  }
}

TEST_F(FailureTest, OneVerdictEndsSumsAndMessages) {
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {}, i == 1 ? Words{"read"} : Words{"sum_beside=1009", "say=telling", "gather=8"});
  }
  ASSERT_TRUE(rank(1).wait_for("joined"));
  for (const int i : {0, 2}) ASSERT_TRUE(rank(i).wait_for("telling")) << rank(i).output();
  rank(1).signal(SIGKILL);
  expect_all_to_blame(1, "all-gather: " + named(1, "is lost"));
  for (const int i : {0, 2}) {
    EXPECT_NE(rank(i).output().find("beside: all-reduce: " + named(1, "is lost")),
              std::string::npos)
        << rank(i).output();
  }
}

TEST_F(FailureTest, ARankThatWasLostIsToldSoWhenItGoesOn) {
  start_all(3, {"deadline_ms=3000"}, {"sums=1009"});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(rank(i).wait_for("summing")) << rank(i).output();
  rank(1).signal(SIGSTOP);
  expect_all_to_blame(1, named(1, "is lost: no sign of life"));
  rank(1).signal(SIGCONT);
  EXPECT_EQ(rank(1).end(), 3);
  EXPECT_NE(rank(1).last_line().find(named(1, "is lost: no sign of life")), std::string::npos)
      << rank(1).output();
}

TEST_F(FailureTest, ASlowRankIsWaitedForBeyondTheDeadline) {
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {"deadline_ms=1500"},
          i == 1 ? Words{"say=slow", "read", "sum=1009"} : Words{"say=fast", "sum=1009"});
  }
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(rank(i).wait_for(i == 1 ? "slow" : "fast"));
  // So the deadline passes: another group of the same one loses a rank to silence.
  rendezvous_ += "_of_others";
  start(0, 2, {"deadline_ms=3000"}, {"sums=5"});
  start(1, 2, {"deadline_ms=3000"}, {"sums=5"});
  ASSERT_TRUE(rank(4).wait_for("summing")) << rank(4).output();
  rank(4).signal(SIGSTOP);
  EXPECT_EQ(rank(3).end(), 3) << rank(3).output();
  rank(1).write_line();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rank(i).end(), 0) << rank(i).output();
}

TEST_F(FailureTest, AGroupThatIsStoppedAsAWholeGoesOn) {
  start_all(3, {"deadline_ms=1500"}, {"read", "sum=1009"});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(rank(i).wait_for("joined"));
  for (int i = 0; i < 3; ++i) rank(i).signal(SIGSTOP);
  // As above.
  rendezvous_ += "_of_others";
  start(0, 2, {"deadline_ms=3000"}, {"sums=5"});
  start(1, 2, {"deadline_ms=3000"}, {"sums=5"});
  ASSERT_TRUE(rank(4).wait_for("summing")) << rank(4).output();
  rank(4).signal(SIGSTOP);
  EXPECT_EQ(rank(3).end(), 3) << rank(3).output();
  for (int i = 0; i < 3; ++i) rank(i).signal(SIGCONT);
  for (int i = 0; i < 3; ++i) rank(i).write_line();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rank(i).end(), 0) << rank(i).output();
}

TEST_F(FailureTest, AnAbortTellsAllTheReason) {
  for (int i = 0; i < 4; ++i) {
    start(i, 4, {}, i == 2 ? Words{"abort=the_disk_is_full", "gather=8"} : Words{"gather=8"});
  }
  expect_all_to_blame(-1, "all-gather: " + named(2, "aborted: the_disk_is_full"));
}

TEST_F(FailureTest, AGoodbyeIsNoLossUntilSomebodyNeedsTheRank) {
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {}, i == 1 ? Words{"gather=8"} : Words{"gather=8", "read"});
  }
  EXPECT_EQ(rank(1).end(), 0) << rank(1).output();
  rank(0).write_line();
  EXPECT_EQ(rank(0).end(), 0) << rank(0).output();
  rank(2).write_line();
  EXPECT_EQ(rank(2).end(), 0) << rank(2).output();
}

TEST_F(FailureTest, WhoNeedsARankThatHasEndedIsToldThatItHas) {
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {}, i == 1 ? Words{"gather=8"} : Words{"gather=8", "gather=8"});
  }
  expect_all_to_blame(1, named(1, "has ended, and said goodbye, while rank "));
}

TEST_F(FailureTest, AnEndWithoutAGoodbyeIsALoss) {
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {}, i == 1 ? Words{"gather=8", "exit=0"} : Words{"gather=8", "gather=8"});
  }
  expect_all_to_blame(1, named(1, "is lost: its connection ended without a goodbye"));
}

}  // namespace
}  // namespace slackline
