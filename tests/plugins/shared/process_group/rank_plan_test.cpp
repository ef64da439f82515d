// What strategies do alike whose replicas are the processes of a run; and that a loss can be asked
// for by who does not call.

#include "process_group/rank_plan.h"

#include <slackline/error.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_folder.h"

namespace slackline::group {
namespace {

using testing::HasSubstr;

RankOptions options(std::int32_t size) {
  return {.strategy = "mirrored_x", .size_option = "devices", .size = size};
}

Membership launched(std::int32_t rank, std::int32_t size) {
  Membership made;
  made.rank = rank;
  made.size = size;
  made.is_launched = true;
  return made;
}

GroupOptions on_host(const std::string& name) {
  GroupOptions made;
  made.host = name;
  made.deadline = std::chrono::hours(1);
  return made;
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
    return "nothing was thrown";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(RankPlanTest, WithoutALauncherTheProcessIsTheOnlyRankUnlessMoreAreWanted) {
  for (const std::int32_t size : {0, 1}) {
    const RankPlan plan = plan_ranks(options(size), {});
    EXPECT_EQ(plan.size, 1);
    EXPECT_TRUE(plan.is_launched);
  }
  const RankPlan plan = plan_ranks(options(4), {});
  EXPECT_EQ(plan.size, 4);
  EXPECT_FALSE(plan.is_launched);
}

TEST(RankPlanTest, ALauncherSaysWhichRankThisIs) {
  for (const std::int32_t size : {0, 8}) {
    const RankPlan plan = plan_ranks(options(size), launched(5, 8));
    EXPECT_EQ(plan.rank, 5);
    EXPECT_EQ(plan.size, 8);
    EXPECT_TRUE(plan.is_launched);
  }
}

TEST(RankPlanTest, ALauncherOfAnotherSizeIsRefusedWithBothNumbers) {
  EXPECT_EQ(error_of([] { (void)plan_ranks(options(4), launched(0, 1)); }),
            "strategy mirrored_x: devices is 4, but the launcher started 1 process; make them "
            "the same, or devices 0, which is as many as there are");
}

TEST(RankPlanTest, AProcessThatIsNoRankMeetsNobody) {
  EXPECT_EQ(error_of([] { (void)join_ranks(options(4), plan_ranks(options(4), {}), {}, "same"); }),
            "strategy mirrored_x: this process is none of the 4; `slackline run`, mpirun or srun "
            "must start them");
}

TEST(CheckTest, TellsOfALossToWhoDoesNotCall) {
  const testing_support::TemporaryFolder folder;
  const auto member = [&](std::int32_t rank) {
    Membership membership = launched(rank, 2);
    membership.rendezvous = "file:" + (folder.path() / "run").string();
    return join_group(membership, on_host(text("host", rank)));
  };
  std::unique_ptr<ProcessGroup> other;
  std::thread thread([&] { other = member(1); });
  const std::unique_ptr<ProcessGroup> own = member(0);
  thread.join();
  own->check("training");
  other->ranks().abort("out of memory");
  // Returns with the news.
  std::array<std::byte, 2> all{};
  EXPECT_THROW(own->ranks().all_gather(std::span(all).first(1), all), DeviceError);
  EXPECT_THAT(error_of([&] { own->check("training"); }),
              HasSubstr("training: rank 1 (host1) aborted: out of memory"));
  EXPECT_THAT(error_of([&] { other->check("training"); }), HasSubstr("rank 1 (host1) aborted"));
}

TEST(CheckTest, TellsOnesOwnAbortWhoIsAlone) {
  const std::unique_ptr<ProcessGroup> alone = join_group({}, on_host("node1"));
  alone->check("training");
  alone->abort();
  EXPECT_EQ(error_of([&] { alone->check("training"); }), "training: rank 0 (node1) aborted");
}

TEST(SumOverRanksTest, AddsWhatAllHave) {
  const std::unique_ptr<ProcessGroup> alone = join_group({}, {});
  std::array<StepSums, 1> scratch;
  const StepSums sums =
      sum_over_ranks(alone->ranks(), {.loss = 1.5, .correct = 2, .samples = 3}, scratch);
  EXPECT_EQ(sums.loss, 1.5);
  EXPECT_EQ(sums.samples, 3);
}

}  // namespace
}  // namespace slackline::group
