// Every schedule against numbers of its source, computed with those formulas in Python.

#include "learning_rate.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slackline {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::int64_t kImageNet = 1'281'167;

/// Upstream's: 0.1 for 256 samples, all else as the defaults.
OptimizerOptions imagenet(ScheduleMode mode) {
  OptimizerOptions options;
  options.learning_rate = 0.1;
  options.learning_rate_batch = 256;
  options.schedule = Schedule::kStep;
  options.schedule_mode = mode;
  options.images_per_epoch = kImageNet;
  return options;
}

class ScheduleTest : public testing::Test {
 protected:
  [[nodiscard]] float at_step(std::uint64_t step) const {
    return LearningRate(optimizer, run, input).at({.step = step, .epoch = 0, .batch_in_epoch = 0});
  }
  [[nodiscard]] float at_epoch(std::uint32_t epoch, std::uint64_t batch) const {
    return LearningRate(optimizer, run, input)
        .at({.step = 0, .epoch = epoch, .batch_in_epoch = batch});
  }
  [[nodiscard]] std::vector<float> table() const { return rate_table(optimizer, run, input); }
  /// Also behind its end, where its last rate stays.
  void expect_the_table_has_all_rates() const {
    const std::vector<float> rates = table();
    ASSERT_FALSE(rates.empty());
    for (std::uint64_t step = 0; step < 2 * rates.size() + 1000; ++step) {
      ASSERT_EQ(rates[std::min<std::size_t>(step, rates.size() - 1)], at_step(step)) << step;
    }
  }
  /// "key: message" of each.
  [[nodiscard]] std::vector<std::string> problems() const {
    std::vector<std::string> out;
    for (const ConfigError& error : schedule_problems(optimizer, run, input)) {
      out.push_back(error.option() + ": " + error.what());
    }
    return out;
  }

  OptimizerOptions optimizer;
  RunOptions run;
  InputOptions input;
};

TEST_F(ScheduleTest, AConstantRateIsTheSameInEveryStep) {
  optimizer.learning_rate = 0.3;
  EXPECT_EQ(at_step(0), 0.3f);
  EXPECT_EQ(at_step(1'000'000), 0.3f);
  EXPECT_EQ(at_epoch(99, 3), 0.3f);
  EXPECT_TRUE(LearningRate(optimizer, run, input).is_constant());
  EXPECT_THAT(problems(), IsEmpty()) << "it needs to know nothing";
}

TEST_F(ScheduleTest, TheRateGrowsWithTheBatchIfItIsForAnother) {
  optimizer.learning_rate = 0.1;
  input.batch_size = 2048;
  EXPECT_EQ(at_step(0), 0.1f) << "0 means for any batch";
  optimizer.learning_rate_batch = 256;
  EXPECT_EQ(at_step(0), 0.8f);
  input.batch_size = 32;
  EXPECT_EQ(at_step(0), 0.0125f);
}

TEST_F(ScheduleTest, TheCallbackCountsInFractionsOfEpochs) {
  struct Expected {
    std::int32_t batch_size;
    std::uint32_t epoch;
    std::uint64_t batch;
    double rate;
  };
  optimizer = imagenet(ScheduleMode::kCallback);
  for (const Expected& expected : std::initializer_list<Expected>{
           {256, 0, 0, 0.0},
           {256, 0, 1, 3.9963564468956824e-06},
           {256, 2, 100, 0.040399635644689576},
           {256, 4, 624, 0.08249372642286291},
           {256, 5, 0, 0.1},
           {1024, 0, 1, 6.394170315033092e-05},
           {1024, 2, 100, 0.16639417031503312},
           {1024, 4, 624, 0.3598996227658065},
           {1024, 5, 0, 0.4},
           {1024, 29, 1250, 0.4},
           {1024, 30, 0, 0.04000000000000001},
           {2048, 0, 0, 0.0},
           {2048, 0, 1, 0.0002557668126013237},
           {2048, 4, 624, 0.7995984910632259},
           {2048, 5, 0, 0.8},
           {2048, 29, 624, 0.8},
           {2048, 30, 0, 0.08000000000000002},
           {2048, 59, 624, 0.08000000000000002},
           {2048, 60, 0, 0.008},
           {2048, 79, 624, 0.008},
           {2048, 80, 0, 0.0008},
           {2048, 89, 624, 0.0008},
       }) {
    input.batch_size = expected.batch_size;
    EXPECT_EQ(at_epoch(expected.epoch, expected.batch), static_cast<float>(expected.rate))
        << "batch " << expected.batch << " of epoch " << expected.epoch << ", "
        << expected.batch_size << " samples";
  }
}

TEST_F(ScheduleTest, TheTensorCountsWholeStepsAndKeepsTheOldRateAtABoundary) {
  struct Expected {
    std::int32_t batch_size;
    double rate;
    std::uint64_t warmup;
    std::vector<std::uint64_t> boundaries;
  };
  optimizer = imagenet(ScheduleMode::kTensor);
  for (const Expected& expected : std::initializer_list<Expected>{
           {1024, 0.4, 6'255, {37'530, 75'060, 100'080}},
           {2048, 0.8, 3'125, {18'750, 37'500, 50'000}},
       }) {
    input.batch_size = expected.batch_size;
    EXPECT_EQ(at_step(0), 0.0f) << "the first step learns nothing";
    EXPECT_EQ(at_step(1), static_cast<float>(expected.rate * 1 / double(expected.warmup)));
    EXPECT_EQ(
        at_step(expected.warmup - 1),
        static_cast<float>(expected.rate * double(expected.warmup - 1) / double(expected.warmup)));
    EXPECT_LT(at_step(expected.warmup - 1), static_cast<float>(expected.rate));
    EXPECT_EQ(at_step(expected.warmup), static_cast<float>(expected.rate));
    double factor = 1;
    for (const std::uint64_t boundary : expected.boundaries) {
      EXPECT_FLOAT_EQ(at_step(boundary), float(expected.rate * factor)) << boundary;
      factor /= 10;
      EXPECT_FLOAT_EQ(at_step(boundary + 1), float(expected.rate * factor)) << boundary + 1;
    }
  }
}

TEST_F(ScheduleTest, TheModesPartAtABoundaryByOneStep) {
  input.batch_size = 1024;
  optimizer = imagenet(ScheduleMode::kCallback);
  EXPECT_EQ(at_epoch(30, 0), 0.04f);
  optimizer = imagenet(ScheduleMode::kTensor);
  EXPECT_EQ(at_step(std::uint64_t{30} * 1251), 0.4f);
}

TEST_F(ScheduleTest, Cifar10sScheduleHasNoWarmUp) {
  optimizer.schedule = Schedule::kStep;
  optimizer.learning_rate = 0.1;
  optimizer.learning_rate_batch = 128;
  optimizer.images_per_epoch = 50'000;
  optimizer.warmup_epochs = 0;
  optimizer.boundaries = {91, 136, 182};
  input.batch_size = 128;
  EXPECT_EQ(at_epoch(0, 0), 0.1f);
  EXPECT_EQ(at_epoch(90, 389), 0.1f);
  EXPECT_EQ(at_epoch(91, 0), 0.01f);
  EXPECT_EQ(at_epoch(135, 389), 0.01f);
  EXPECT_EQ(at_epoch(136, 0), 0.001f);
  EXPECT_EQ(at_epoch(182, 0), 0.0001f);
  optimizer.schedule_mode = ScheduleMode::kTensor;
  EXPECT_EQ(at_step(0), 0.1f);
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ScheduleTest, TheCosineGoesFromTheRateToItsEndAndStaysThere) {
  optimizer.schedule = Schedule::kCosine;
  optimizer.learning_rate = 2;
  optimizer.images_per_epoch = 330;  // 10 steps of 32, and a rest that does not count
  optimizer.warmup_epochs = 1.5;
  optimizer.final_factor = 0.25;
  run.epochs = 10;
  EXPECT_EQ(at_step(0), 0.0f);
  EXPECT_EQ(at_step(5), static_cast<float>(2.0 / 3));
  EXPECT_EQ(at_step(15), 2.0f);
  // A third of the way down: cos(pi / 3) is 1/2.
  run.steps = 15 + 3 * 20;
  EXPECT_NEAR(at_step(35), 0.5 + 1.5 * 0.75, 1e-6);
  EXPECT_NEAR(at_step(55), 0.5 + 1.5 * 0.25, 1e-6);
  EXPECT_EQ(at_step(75), 0.5f);
  EXPECT_EQ(at_step(1000), 0.5f);
}

TEST_F(ScheduleTest, ThePolynomialIsThatOfMlperf) {
  optimizer.kind = OptimizerKind::kLars;
  optimizer.schedule = Schedule::kPolynomial;
  optimizer.learning_rate = 10;
  optimizer.images_per_epoch = kImageNet;
  optimizer.final_factor = 1e-5;
  input.batch_size = 4096;  // 312 steps
  run.epochs = 40;
  const std::vector<std::pair<std::uint64_t, double>> expected = {
      {0, 0.0},
      {1, 0.00641025641025641},
      {1559, 9.993589743589743},
      {1560, 10.0},
      {1561, 9.998168768030208},
      {6240, 3.265821970292997},
      {12479, 0.00010033537511465443},
      {12480, 0.00010008384377866361},
      {12481, 0.0001},
      {15600, 0.0001},
  };
  for (const auto& [step, rate] : expected) EXPECT_FLOAT_EQ(at_step(step), float(rate)) << step;

  optimizer.power = 1;
  EXPECT_FLOAT_EQ(at_step(1560 + 5460), float(5 + 5e-5 + (10 - 1e-4) / 2 / 10921)) << "a line";
  optimizer.warmup_epochs = 0;
  EXPECT_EQ(at_step(0), 10.0f);
}

TEST_F(ScheduleTest, ItsLengthIsThatOfTheRunUnlessSaidOtherwise) {
  optimizer.schedule = Schedule::kCosine;
  optimizer.learning_rate = 1;
  optimizer.images_per_epoch = 320;
  optimizer.warmup_epochs = 0;
  run.epochs = 4;
  EXPECT_NEAR(at_step(20), 0.5, 1e-6) << "half of 4 epochs of 10 steps";
  run.steps = 100;
  EXPECT_NEAR(at_step(50), 0.5, 1e-6);
  EXPECT_TRUE(depends_on_run_length(optimizer));
  optimizer.schedule_steps = 1000;
  EXPECT_NEAR(at_step(500), 0.5, 1e-6);
  EXPECT_FALSE(depends_on_run_length(optimizer));
  optimizer.schedule_steps = 0;
  optimizer.schedule = Schedule::kStep;
  EXPECT_FALSE(depends_on_run_length(optimizer));
}

TEST_F(ScheduleTest, AWarmUpLongerThanTheRunIsAllThereIs) {
  for (const Schedule schedule : {Schedule::kCosine, Schedule::kPolynomial}) {
    optimizer.schedule = schedule;
    optimizer.learning_rate = 1;
    optimizer.images_per_epoch = 3200;
    run.steps = 100;  // of a warm-up of 500
    EXPECT_EQ(at_step(99), 0.198f);
    EXPECT_EQ(at_step(499), 0.998f);
    EXPECT_EQ(at_step(600), 0.0f);
  }
}

TEST_F(ScheduleTest, ATableHasTheBitsOfAllRatesUpToTheOneThatStays) {
  optimizer.schedule_mode = ScheduleMode::kTensor;
  optimizer.learning_rate = 0.3;
  EXPECT_THAT(table(), ElementsAre(0.3f));
  optimizer.images_per_epoch = 1000;  // of 31 steps
  for (const double warmup : {0.0, 0.7, 5.0, 300.0}) {
    optimizer.warmup_epochs = warmup;
    for (const Schedule schedule : {Schedule::kStep, Schedule::kCosine, Schedule::kPolynomial}) {
      SCOPED_TRACE(warmup);
      optimizer.schedule = schedule;
      run.epochs = 9;
      optimizer.boundaries = {1.3, 7.77};
      optimizer.factors = {0.5, 0.1};
      expect_the_table_has_all_rates();
      EXPECT_LT(table().size(), std::max(9.0, warmup) * 31 + 5);
    }
  }
  optimizer.schedule = Schedule::kStep;
  optimizer.warmup_epochs = 0;
  optimizer.boundaries = optimizer.factors = {};
  expect_the_table_has_all_rates();
}

TEST_F(ScheduleTest, UpstreamsTableEndsBehindItsLastBoundary) {
  optimizer = imagenet(ScheduleMode::kTensor);
  input.batch_size = 1024;
  EXPECT_EQ(table().size(), 100'080 + 2);
  EXPECT_EQ(table()[100'080], static_cast<float>(0.4 * 0.01));
  EXPECT_EQ(table()[100'081], static_cast<float>(0.4 * 0.001));
}

TEST_F(ScheduleTest, ATableEndsWithTheRun) {
  optimizer = imagenet(ScheduleMode::kTensor);
  run.steps = 100;
  ASSERT_EQ(table().size(), 100u);
  EXPECT_EQ(table().back(), at_step(99));
}

TEST_F(ScheduleTest, RatesThatComeWithTheStepsHaveNoTable) {
  for (const Schedule schedule : {Schedule::kConstant, Schedule::kStep, Schedule::kCosine}) {
    optimizer = imagenet(ScheduleMode::kCallback);
    optimizer.schedule = schedule;
    EXPECT_THAT(table(), IsEmpty());
  }
}

TEST_F(ScheduleTest, ATableThatNoMemoryHoldsIsRefused) {
  optimizer = imagenet(ScheduleMode::kTensor);
  optimizer.images_per_epoch = 1'000'000'000'000;
  EXPECT_THAT(problems(),
              ElementsAre("schedule_mode: \"tensor\" makes a table of the rates until they stay or "
                          "the run ends, and it would have 2.5e+12 of them, above 67108864: use "
                          "\"callback\""));
  EXPECT_THAT(table(), IsEmpty());
  optimizer.schedule_mode = ScheduleMode::kCallback;
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ScheduleTest, WhatCountsInEpochsMustKnowHowLongOneIs) {
  optimizer.schedule = Schedule::kStep;
  EXPECT_THAT(problems(), ElementsAre("schedule: this schedule needs images_per_epoch, the "
                                      "training images of an epoch: its boundaries and warm-up "
                                      "are in epochs"));
  optimizer.schedule = Schedule::kCosine;
  run.steps = 100;
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("its warm-up, warmup_epochs = 5, is in epochs")));
  optimizer.warmup_epochs = 0;
  EXPECT_THAT(problems(), IsEmpty()) << "the run's steps say enough";
  run.steps = 0;
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("neither schedule_steps nor [run] steps is set")));
  optimizer.schedule_steps = 100;
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ScheduleTest, AnEpochWithoutAWholeStepIsRefusedWhereThoseAreCounted) {
  optimizer.schedule = Schedule::kStep;
  optimizer.images_per_epoch = 31;
  EXPECT_THAT(problems(), IsEmpty()) << "the callback divides as the reals do";
  optimizer.schedule_mode = ScheduleMode::kTensor;
  EXPECT_THAT(problems(), ElementsAre("images_per_epoch: an epoch of 31 images has no whole step "
                                      "of [input] batch_size 32, and this schedule counts those"));
  optimizer.images_per_epoch = 32;
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ScheduleTest, BoundariesMustIncreaseAndHaveOneFactorEach) {
  optimizer.schedule = Schedule::kStep;
  optimizer.images_per_epoch = 320;
  optimizer.boundaries = {30, 60, 60};
  optimizer.factors = {0.1};
  EXPECT_THAT(problems(),
              ElementsAre("factors: there are 1 factors and 3 boundaries: each boundary needs one "
                          "factor",
                          "boundaries: boundary 60 comes behind 60: they must increase"));
  optimizer.schedule = Schedule::kConstant;
  EXPECT_THAT(problems(), IsEmpty()) << "it does not use them";
}

}  // namespace
}  // namespace slackline
