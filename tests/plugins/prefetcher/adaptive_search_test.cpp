#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "sleep_search.h"

namespace slackline {
namespace {

using std::chrono::nanoseconds;

nanoseconds from_ms(double ms) { return nanoseconds(std::llround(ms * 1e6)); }
double to_ms(nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); }

/// A step on a made-up device with one copy engine: what starts it is enqueued after `burst_ms`,
/// and waits for a refill that began before and is not through.
struct MadeUpStep {
  double burst_ms = 0.5;
  double refill_ms = 10;
  double compute_ms = 200;

  struct Times {
    double period_ms, idle_ms;
  };
  [[nodiscard]] Times with(double sleep_ms) const {
    const double ready_ms = sleep_ms + refill_ms;
    const bool is_in_the_way = sleep_ms < burst_ms && ready_ms > burst_ms;
    const double done_ms = (is_in_the_way ? ready_ms : burst_ms) + compute_ms;
    return {std::max(done_ms, ready_ms), std::max(done_ms - ready_ms, 0.0)};
  }
  [[nodiscard]] double shortest_ms() const {
    return std::max(burst_ms + compute_ms, burst_ms + refill_ms);
  }
};

class SleepSearchTest : public testing::Test {
 protected:
  /// Runs so many steps and returns their mean time.
  double run(const MadeUpStep& made_up, int steps) {
    double sum_ms = 0;
    for (int i = 0; i < steps; ++i) {
      const auto [period_ms, idle_ms] = made_up.with(to_ms(search_.sleep()));
      search_.step(from_ms(period_ms), from_ms(idle_ms));
      sum_ms += period_ms;
    }
    return sum_ms / steps;
  }

  SleepSearch search_{nanoseconds(0)};
};

TEST_F(SleepSearchTest, BeginsWithoutASleep) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(search_.sleep(), nanoseconds(0)) << "step " << i;
    run({}, 1);
  }
  EXPECT_GT(search_.sleep(), nanoseconds(0));
}

TEST_F(SleepSearchTest, FindsASleepBehindTheBurst) {
  const MadeUpStep made_up;
  run(made_up, 60);
  EXPECT_DOUBLE_EQ(run(made_up, 100), made_up.shortest_ms());
}

TEST_F(SleepSearchTest, FindsItInANarrowWindow) {
  const MadeUpStep made_up{.burst_ms = 3, .refill_ms = 26, .compute_ms = 30};  // 3..7 ms is good
  run(made_up, 150);
  EXPECT_NEAR(run(made_up, 200), made_up.shortest_ms(), 0.002 * made_up.shortest_ms());
}

TEST_F(SleepSearchTest, FindsTheShortestSleepThatIsLongEnoughWhereTheUploadIsTheLimit) {
  const MadeUpStep made_up{.burst_ms = 0.5, .refill_ms = 30, .compute_ms = 25};
  EXPECT_DOUBLE_EQ(made_up.with(0).period_ms, 55);
  run(made_up, 300);
  EXPECT_NEAR(run(made_up, 500), made_up.shortest_ms(), 0.005 * made_up.shortest_ms());
}

TEST_F(SleepSearchTest, NeverSleepsWhereBatchesAreNeverEarly) {
  for (int i = 0; i < 2000; ++i) {
    search_.step(from_ms(30), nanoseconds(0));
    ASSERT_EQ(search_.sleep(), nanoseconds(0));
  }
  EXPECT_EQ(search_.counts().trials, 0u);
}

TEST_F(SleepSearchTest, GivesUpASleepThatMakesStepsLonger) {
  double sum_ms = 0;
  for (int i = 0; i < 600; ++i) {
    const double period_ms = 100 + to_ms(search_.sleep());  // each ms of sleep costs one
    search_.step(from_ms(period_ms), from_ms(50));
    if (i >= 300) sum_ms += period_ms;
  }
  EXPECT_EQ(search_.kept().sleep, 0);
  EXPECT_LT(sum_ms / 300, 101);  // what the trials cost
}

TEST_F(SleepSearchTest, FollowsWhenStepsGetShorter) {
  run({}, 500);
  const MadeUpStep now{.burst_ms = 0.5, .refill_ms = 20, .compute_ms = 40};
  run(now, 150);
  EXPECT_NEAR(run(now, 200), now.shortest_ms(), 0.002 * now.shortest_ms());
}

TEST_F(SleepSearchTest, FollowsWhenUploadsGetLonger) {
  run({}, 500);
  const MadeUpStep now{.burst_ms = 0.5, .refill_ms = 150, .compute_ms = 200};
  run(now, 250);
  EXPECT_NEAR(run(now, 200), now.shortest_ms(), 0.002 * now.shortest_ms());
}

TEST_F(SleepSearchTest, FollowsWhenTheBurstComesLater) {
  run({}, 500);
  const MadeUpStep now{.burst_ms = 110, .refill_ms = 10, .compute_ms = 200};
  run(now, 400);
  EXPECT_NEAR(run(now, 200), now.shortest_ms(), 0.002 * now.shortest_ms());
}

TEST_F(SleepSearchTest, APauseIsNoStep) {
  run({}, 100);
  const double sleep = search_.kept().sleep;
  for (int i = 0; i < 20; ++i) {
    search_.step(std::chrono::seconds(30), nanoseconds(0));  // an evaluation
    run({}, 50);
  }
  EXPECT_EQ(search_.counts().pauses, 20u);
  EXPECT_EQ(search_.counts().restarts, 0u);
  EXPECT_EQ(search_.kept().sleep, sleep);
}

TEST_F(SleepSearchTest, ManyPausesInARowAreLongerSteps) {
  run({}, 500);
  const MadeUpStep now{.burst_ms = 0.5, .refill_ms = 100, .compute_ms = 2000};
  run(now, 150);
  EXPECT_EQ(search_.counts().restarts, 1u);
  EXPECT_DOUBLE_EQ(run(now, 100), now.shortest_ms());
}

TEST_F(SleepSearchTest, TheSleepHasABoundIfOneIsSet) {
  SleepSearch search(std::chrono::milliseconds(30));
  for (int i = 0; i < 500; ++i) {
    const auto [period_ms, idle_ms] = MadeUpStep{}.with(to_ms(search.sleep()));
    search.step(from_ms(period_ms), from_ms(idle_ms));
    ASSERT_LE(search.sleep(), std::chrono::milliseconds(30));
  }
  EXPECT_GT(search.sleep(), nanoseconds(0));
}

TEST_F(SleepSearchTest, KeepsAwayFromWhereBatchesComeLateIfStepsVary) {
  // 60 ms with a standard deviation of 9, as a sum of twelve uniform numbers; uploads take half.
  std::mt19937 random(1);
  const auto compute_ms = [&random] {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random()) / 4294967296.0;
    return 60 + 9 * sum;
  };
  double sum_ms = 0, shortest_ms = 0;
  for (int i = 0; i < 1500; ++i) {
    const MadeUpStep made_up{.burst_ms = 0.5, .refill_ms = 30, .compute_ms = compute_ms()};
    const auto [period_ms, idle_ms] = made_up.with(to_ms(search_.sleep()));
    search_.step(from_ms(period_ms), from_ms(idle_ms));
    if (i < 500) continue;
    sum_ms += period_ms;
    shortest_ms += made_up.shortest_ms();
  }
  EXPECT_LT(sum_ms, 1.005 * shortest_ms);
  EXPECT_EQ(search_.counts().restarts, 0u);
}

TEST_F(SleepSearchTest, NoiseIsNoReasonToChange) {
  // Steps of 80 to 120 ms, whatever the sleep is, and batches that are always early.
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    search_.step(from_ms(80 + 40 * static_cast<double>(random()) / 4294967296.0), from_ms(40));
  }
  EXPECT_GT(search_.counts().trials, 10u);
  EXPECT_EQ(search_.counts().changes, 1u);  // the first, which need not be better
}

TEST(MeasuredStepsTest, MeanSpreadAndLateSteps) {
  MeasuredSteps steps;
  for (const double period : {10e6, 12e6, 14e6}) steps.add(period, period == 12e6 ? 0 : 5e6);
  EXPECT_DOUBLE_EQ(steps.period(), 12e6);
  EXPECT_DOUBLE_EQ(steps.variance_of_period(), 4e12 / 3);
  EXPECT_DOUBLE_EQ(steps.late_share(), 1.0 / 3);
  EXPECT_EQ(steps.idle_quantile(0), 0);
  EXPECT_EQ(steps.idle_quantile(1), 5e6);
}

TEST(MeasuredStepsTest, AppendedIsAsIfAdded) {
  MeasuredSteps all, first, second;
  for (int i = 0; i < 50; ++i) {
    const double period = 1e6 * (10 + i % 7), idle = 1e5 * i;
    all.add(period, idle);
    (i < 20 ? first : second).add(period, idle);
  }
  first.append(second);
  EXPECT_EQ(first.count(), all.count());
  EXPECT_DOUBLE_EQ(first.period(), all.period());
  EXPECT_NEAR(first.variance_of_period(), all.variance_of_period(),
              1e-9 * all.variance_of_period());
  EXPECT_EQ(first.late_share(), all.late_share());
  EXPECT_EQ(first.idle_quantile(0.5), all.idle_quantile(0.5));
}

}  // namespace
}  // namespace slackline
