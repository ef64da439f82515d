#include <slackline/metrics.h>

#include <chrono>
#include <vector>

#include <gtest/gtest.h>

namespace slackline {
namespace {

using namespace std::chrono_literals;

TEST(DistributionTest, PercentilesInterpolateBetweenNeighbours) {
  std::vector<double> values;
  for (int i = 100; i >= 0; --i) values.push_back(i);
  const Distribution d = distribution_of(values);
  EXPECT_DOUBLE_EQ(d.median, 50);
  EXPECT_DOUBLE_EQ(d.p10, 10);
  EXPECT_DOUBLE_EQ(d.p90, 90);
  EXPECT_DOUBLE_EQ(d.p99, 99);
  EXPECT_DOUBLE_EQ(distribution_of({1, 2}).median, 1.5);
  EXPECT_DOUBLE_EQ(distribution_of({7}).p99, 7);
}

TEST(ThroughputTest, LapsTileTheWallTime) {
  const std::vector<StepTimes> steps = {
      {.input_wait = 10ms, .submit = 1ms, .device_wait = 9ms, .longest_input_wait = 10ms},
      {.input_wait = 30ms, .submit = 1ms, .device_wait = 9ms, .longest_input_wait = 30ms}};
  const std::vector<std::int32_t> samples = {8, 8};
  const Throughput t = throughput_of(steps, samples);
  EXPECT_DOUBLE_EQ(t.wall_s, 0.060);
  EXPECT_DOUBLE_EQ(t.input_wait_s + t.submit_s + t.device_wait_s, t.wall_s);
  EXPECT_DOUBLE_EQ(t.images_per_s, 16 / 0.060);
  EXPECT_DOUBLE_EQ(t.headspace_images_per_s, 16 / 0.020);
  EXPECT_DOUBLE_EQ(t.input_bound_percent, 100 * 40.0 / 60.0);
  EXPECT_DOUBLE_EQ(t.step_ms.median, 30);
}

TEST(ThroughputTest, InputBoundIsTheTimeInWhichAnyRankWaited) {
  const std::vector<StepTimes> steps = {
      {.input_wait = 4ms, .device_wait = 6ms, .longest_input_wait = 4ms},
      {.device_wait = 10ms, .rank_wait = 5ms, .longest_input_wait = 5ms}};
  const std::vector<std::int32_t> samples = {8, 8};
  const Throughput t = throughput_of(steps, samples);
  EXPECT_DOUBLE_EQ(t.input_wait_s, 0.004);
  EXPECT_DOUBLE_EQ(t.longest_input_wait_s, 0.009);
  EXPECT_DOUBLE_EQ(t.input_bound_percent, 45);
  EXPECT_DOUBLE_EQ(t.headspace_images_per_s, 16 / 0.011);
}

TEST(ThroughputTest, NothingMeasuredIsZeroNotNan) {
  const Throughput t = throughput_of({}, {});
  EXPECT_EQ(t.steps, 0u);
  EXPECT_EQ(t.images_per_s, 0);
  EXPECT_EQ(t.input_bound_percent, 0);
}

/// Runs `steps` batches of one second each through a history that logs every `log_steps`.
TimeHistory history_of(int steps, int log_steps) {
  TimeHistory history(256, log_steps);
  for (int b = 0; b < steps; ++b) {
    history.batch_begin(b, b);
    history.batch_end(b, b + 1);
  }
  return history;
}

TEST(TimeHistoryTest, HundredTenStepsLoggedEveryTenLeaveElevenStamps) {
  const TimeHistory history = history_of(110, 10);
  ASSERT_EQ(history.stamps().size(), 11u);
  EXPECT_EQ(history.stamps().front().batch, 0);
  EXPECT_EQ(history.stamps().front().time_s, 0);
  EXPECT_EQ(history.stamps().back().batch, 100);
  // Batches 11..100 in 90 s; and 0..100, of which 100 are credited, in 101 s.
  EXPECT_DOUBLE_EQ(*history.examples_per_s(), 256.0 * 90 / 90);
  EXPECT_DOUBLE_EQ(*history.average_examples_per_s(), 256.0 * 100 / 101);
}

TEST(TimeHistoryTest, SixHundredStepsLoggedEveryHundredLeaveSixStamps) {
  const TimeHistory history = history_of(600, 100);
  EXPECT_EQ(history.stamps().size(), 6u);
  EXPECT_DOUBLE_EQ(*history.examples_per_s(), 256.0 * 400 / 400);
}

TEST(TimeHistoryTest, TooFewStampsGiveNoRate) {
  EXPECT_FALSE(history_of(5, 10).average_examples_per_s().has_value());
  EXPECT_TRUE(history_of(11, 10).average_examples_per_s().has_value());
  EXPECT_FALSE(history_of(11, 10).examples_per_s().has_value());
}

TEST(TimeHistoryTest, ASecondEpochIsStampedAtItsFirstBatchOnlyIfTheClockIsArmed) {
  TimeHistory history(1, 10);
  double now = 0;
  const auto epoch = [&](int steps) {
    for (int b = 0; b < steps; ++b) {
      history.batch_begin(b, now);
      history.batch_end(b, now += 1);
    }
  };
  epoch(11);  // ends with batch 10, which arms the clock
  epoch(5);   // so batch 0 is stamped; its end arms it, batch 1 disarms it
  epoch(5);   // so this batch 0 is not stamped
  std::vector<std::int64_t> batches;
  for (const auto& stamp : history.stamps()) batches.push_back(stamp.batch);
  EXPECT_EQ(batches, (std::vector<std::int64_t>{0, 10, 0}));
}

TEST(SampleMeansTest, TheLossIsCrossEntropyAndPenaltyTogether) {
  const SampleMeans means =
      means_of({.loss = 12, .correct = 2, .samples = 8, .correct_top5 = 6, .penalty = 4});
  EXPECT_EQ(means.cross_entropy, 1.5);
  EXPECT_EQ(means.penalty, 0.5);
  EXPECT_EQ(means.loss, 2.0);
  EXPECT_EQ(means.accuracy, 0.25);
  EXPECT_EQ(means.accuracy_top_5, 0.75);
}

TEST(SampleMeansTest, OfNoSampleTheyAreZero) {
  EXPECT_EQ(means_of({}).loss, 0);
  EXPECT_EQ(means_of({}).accuracy_top_5, 0);
}

}  // namespace
}  // namespace slackline
