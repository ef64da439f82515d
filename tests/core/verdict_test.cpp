// What the last line of a run says, from numbers that were measured.

#include <chrono>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "results.h"

namespace slackline {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

/// A run of 1,000 images in 10 s, of which the device waited `input_wait_s` for input.
RunMeasurements measured(double input_wait_s) {
  RunMeasurements out;
  out.throughput.steps = 10;
  out.throughput.samples = 1000;
  out.throughput.wall_s = 10;
  out.throughput.input_wait_s = input_wait_s;
  out.throughput.longest_input_wait_s = input_wait_s;
  out.throughput.images_per_s = 100;
  out.throughput.headspace_images_per_s = 1000 / (10 - input_wait_s);
  out.throughput.input_bound_percent = 10 * input_wait_s;
  out.transform_names = {"transform/decode", "transform/augment"};
  out.workers = 2;
  out.input.samples = 1000;
  out.input.transforms = {1s, 1s};
  return out;
}

TEST(VerdictTest, TheBusiestTransformLimitsAnInputBoundRun) {
  RunMeasurements run = measured(8);
  run.input.transforms = {2s, 16s};
  run.input.read = 2s;
  const Verdict verdict = verdict_of(run);
  EXPECT_TRUE(verdict.is_input_bound);
  EXPECT_EQ(verdict.limiting_stage, "transform/augment");
  EXPECT_EQ(verdict.text,
            "input-bound: for 80 % of the measured time the device waited for input; without that "
            "wait it would train 500 images/s instead of 100 images/s. The stage that limits is "
            "transform/augment, 80 % of the time of 2 workers (16.000 ms an image)");
}

TEST(VerdictTest, ReadingLimitsWhereItTakesMost) {
  RunMeasurements run = measured(5);
  run.input.read = 9s;
  EXPECT_EQ(verdict_of(run).limiting_stage, "read");
}

TEST(VerdictTest, IdleWorkersBeforeAWaitingDevicePointAtTheDelivery) {
  RunMeasurements run = measured(5);
  run.input.idle = 17s;
  const Verdict verdict = verdict_of(run);
  EXPECT_EQ(verdict.limiting_stage, "delivery");
  EXPECT_THAT(verdict.text, HasSubstr("the prefetcher or the upload limits"));
}

TEST(VerdictTest, FivePercentOfWaitingAreAllowed) {
  EXPECT_FALSE(verdict_of(measured(0.5)).is_input_bound);
  EXPECT_TRUE(verdict_of(measured(0.51)).is_input_bound);
  EXPECT_EQ(verdict_of(measured(0.5)).limiting_stage, "");
  EXPECT_THAT(verdict_of(measured(0.5)).text,
              StartsWith("not input-bound: the device waited for input for 5.0 %"));
}

TEST(VerdictTest, TheRankThatWaitedLongestIsWhatTheOthersWaitedFor) {
  RunMeasurements run = measured(5);
  run.throughput.input_wait_s = 0;
  run.input.samples = 500;
  run.ranks = {{.input_wait_s = 0}, {.input_wait_s = 5}, {.input_wait_s = 2}};
  const Verdict verdict = verdict_of(run);
  EXPECT_TRUE(verdict.is_input_bound) << "though this rank never waited for its own";
  EXPECT_EQ(verdict.limiting_stage, "rank 1");
  EXPECT_EQ(verdict.text,
            "input-bound: for 50 % of the measured time the device waited for input; without that "
            "wait it would train 200 images/s instead of 100 images/s. Of the ranks, rank 1 waited "
            "longest for its own input, for 50 %: rank-1/result.json has its stages");
  run.rank = 1;
  EXPECT_EQ(verdict_of(run).limiting_stage, "transform/decode") << "as that rank itself says";
  EXPECT_THAT(verdict_of(run).text, HasSubstr("input, for 50 %. The stage that limits is "));
  run.ranks[0].input_wait_s = 5.1;
  EXPECT_THAT(verdict_of(run).text,
              HasSubstr("rank 0 waited longest for its own input, for 51 %: its result.json has"));
}

TEST(VerdictTest, RanksThatAreLateInDifferentStepsBindTheRunTogether) {
  RunMeasurements run = measured(3.2);
  run.throughput.input_wait_s = 0.4;
  run.ranks = std::vector<RankSummary>(8, {.input_wait_s = 0.4});
  run.ranks[3].input_wait_s = 0.42;
  const Verdict verdict = verdict_of(run);
  EXPECT_TRUE(verdict.is_input_bound);
  EXPECT_THAT(verdict.text, StartsWith("input-bound: for 32 % of the measured time the device "));
  EXPECT_THAT(verdict.text, HasSubstr("would train 147 images/s instead of 100 images/s. Of the "
                                      "ranks, rank 3 waited longest for its own input, for 4 %: "));
}

TEST(SummaryTest, RanksTellWhatTheyLost) {
  RunMeasurements run = measured(0);
  run.throughput.input_wait_s = 2;
  run.throughput.device_wait_s = 5;
  run.throughput.rank_wait_s = 1;
  run.ranks = {{.left_out = 1234}, {.bad_samples = 3}};
  const std::string text =
      summary_text(run, BadSampleAccount(BadSamplePolicy::kSkip, 10), Notes(), "result.json");
  EXPECT_THAT(
      text,
      HasSubstr(
          "input wait 20.0 %, submit 0.0 %, device wait 50.0 %, of which 10.0 % for other ranks;"));
  EXPECT_THAT(text, HasSubstr("bad samples of rank 1: 3, told in rank-1/result.json\n"));
  EXPECT_THAT(text, HasSubstr("left out    by rank 0: 1,234 samples, as other ranks had no more"));
}

TEST(VerdictTest, ARunWithinItsWarmUpHasNoVerdict) {
  RunMeasurements run;
  run.warmup_steps = 10;
  EXPECT_EQ(verdict_of(run).text,
            "nothing was measured: the run ended within its warm-up of 10 steps");
}

}  // namespace
}  // namespace slackline
