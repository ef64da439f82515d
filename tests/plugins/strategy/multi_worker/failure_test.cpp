// Processes of which one fails, is lost or is slow.

#include <csignal>
#include <string>

#include "made_up_run.h"
#include "workers_test.h"

namespace slackline {
namespace {

using testing_support::Words;

class FailureTest : public testing_support::WorkersTest {
 protected:
  void start_training(int size, const Words& before) {
    start_all(size, before, {"endless"});
    for (int i = 0; i < size; ++i) ASSERT_TRUE(rank(i).wait_for("training")) << rank(i).output();
  }
};

TEST_F(FailureTest, AnErrorInARanksStepEndsAllWithItsReason) {
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {}, i == 1 ? Words{"steps=1", "bad", "submit", "finish"} : Words{"steps=20"});
  }
  EXPECT_EQ(rank(1).end(), 5) << rank(1).output();
  const std::string reason = rank(1).last_line().substr(std::string("data: ").size());
  EXPECT_NE(reason.find("label 99 is not in 0..4"), std::string::npos) << reason;
  for (const int i : {0, 2}) expect_blame(i, 1, "aborted: " + reason);
}

TEST_F(FailureTest, AnErrorInAnEvaluationEndsAllToo) {
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {}, i == 2 ? Words{"steps=3", "bad", "submit", "finish"} : Words{"steps=20"});
  }
  EXPECT_EQ(rank(2).end(), 5) << rank(2).output();
  for (const int i : {0, 1}) expect_blame(i, 2, "aborted: ");
}

TEST_F(FailureTest, OneThatEndsInTheMidstOfAStepIsNotWaitedFor) {
  for (int i = 0; i < 2; ++i) start(i, 2, {}, i == 1 ? Words{"submit"} : Words{"steps=2"});
  EXPECT_EQ(rank(1).end(), 0) << rank(1).output();
  expect_blame(0, 1, "aborted: it ended in the midst of a step");
}

TEST_F(FailureTest, AKilledRankIsNamedByAll) {
  for (const int victim : {0, 1}) {
    ranks_.clear();
    start_training(3, {});
    rank(victim).signal(SIGKILL);
    for (int i = 0; i < 3; ++i) {
      if (i != victim) expect_blame(i, victim, "is lost: its connection ended without a goodbye");
    }
  }
}

TEST_F(FailureTest, AStoppedRankIsNamedByAllAfterTwoFifthsOfTheDeadline) {
  for (const int victim : {0, 2}) {
    ranks_.clear();
    start_training(3, {"deadline_s=8"});
    rank(victim).signal(SIGSTOP);
    for (int i = 0; i < 3; ++i) {
      if (i != victim) expect_blame(i, victim, "is lost: no sign of life for 3.2 s");
    }
  }
}

TEST_F(FailureTest, IfRankZeroFallsSilentTooItIsNamed) {
  start_training(4, {"deadline_s=8"});
  rank(2).signal(SIGSTOP);
  rank(0).signal(SIGSTOP);
  for (const int i : {1, 3}) expect_blame(i, 0, "is lost: no sign of life for 3.2 s");
}

TEST_F(FailureTest, ASlowRankIsWaitedForAndHarmsNothing) {
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {"deadline_s=4"},
          i == 1 ? Words{"steps=2", "say=slow", "read", "steps=3", "state"}
                 : Words{"steps=2", "steps=3", "state"});
  }
  ASSERT_TRUE(rank(1).wait_for("slow")) << rank(1).output();
  // So that time passes: another run, with a longer deadline, loses a rank to silence.
  rendezvous_ += "_of_others";
  for (int i = 0; i < 2; ++i) start(i, 2, {"deadline_s=8"}, {"endless"});
  ASSERT_TRUE(rank(4).wait_for("training")) << rank(4).output();
  rank(4).signal(SIGSTOP);
  EXPECT_EQ(rank(3).end(), 3) << rank(3).output();
  rank(1).write_line();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rank(i).end(), 0) << rank(i).output();
  EXPECT_EQ(rank(2).output(), rank(0).output());
}

TEST_F(FailureTest, AnotherConfigurationIsRefusedByAll) {
  for (int i = 0; i < 2; ++i) start_rank(i, 2, {i == 1 ? "connect=this" : "connect=that"});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(rank(i).end(), 4) << rank(i).output();
    EXPECT_NE(rank(i).last_line().find("rank 1 ("), std::string::npos) << rank(i).output();
  }
}

}  // namespace
}  // namespace slackline
