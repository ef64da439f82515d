#include "progress.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slackline {
namespace {

using namespace std::chrono_literals;

constexpr StepTimes kStep{60ms, 10ms, 30ms};
constexpr StepSums kSums{.loss = 64, .correct = 3, .samples = 32};

TEST(ProgressTest, PlainLinesComeEveryLogStepsWithRateAndRemainingTime) {
  std::ostringstream out;
  Progress progress(out, false, 2);
  for (std::uint64_t step = 1; step <= 3; ++step)
    progress.step(step, 12, 0, kStep, kSums, std::nullopt);
  EXPECT_EQ(out.str(),
            "epoch 1  step 2/12  loss 2.0000  320 images/s  input wait 60 %  1.0 s left\n");
}

TEST(ProgressTest, WithoutAKnownEndNoTimeIsPromised) {
  std::ostringstream out;
  Progress progress(out, false, 1);
  progress.step(1234, std::nullopt, 4, kStep, kSums, std::nullopt);
  EXPECT_EQ(out.str(), "epoch 5  step 1,234  loss 2.0000  320 images/s  input wait 60 %\n");
}

TEST(ProgressTest, ARateThatChangesIsShown) {
  std::ostringstream out;
  Progress progress(out, false, 2);
  progress.step(1, 12, 0, kStep, kSums, 0.125f);
  progress.step(2, 12, 0, kStep, kSums, 0.0123456f);
  EXPECT_EQ(out.str(),
            "epoch 1  step 2/12  loss 2.0000  rate 0.01235  320 images/s  input wait 60 %  "
            "1.0 s left\n")
      << "the last step's";
}

TEST(ProgressTest, TheLossIsTheSumOfCrossEntropyAndPenalty) {
  std::ostringstream out;
  Progress progress(out, false, 2);
  StepSums sums = kSums;
  progress.step(1, 2, 0, kStep, sums, std::nullopt);
  sums.penalty = 16;  // 0.5 a sample, in one of two steps
  progress.step(2, 2, 0, kStep, sums, std::nullopt);
  EXPECT_THAT(out.str(), testing::HasSubstr("  loss 2.2500 (cross-entropy 2.0000)  320 images/s"));
}

TEST(ProgressTest, OnATerminalTheLineOverwritesItselfAndLeavesRoomForOthers) {
  std::ostringstream out;
  Progress progress(out, true, 1000);
  progress.step(1, 2, 0, kStep, kSums, std::nullopt);
  progress.line("done");
  EXPECT_THAT(out.str(), testing::StartsWith("\repoch 1  step 1/2"));
  EXPECT_THAT(out.str(), testing::EndsWith("\033[K\r\033[Kdone\n"));
}

TEST(ProgressTest, TimesAndNumbersReadAsPeopleWriteThem) {
  EXPECT_EQ(human_time(1.24), "1.2 s");
  EXPECT_EQ(human_time(59), "59 s");
  EXPECT_EQ(human_time(200), "3 min 20 s");
  EXPECT_EQ(human_time(7500), "2 h 5 min");
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1234567), "1,234,567");
}

}  // namespace
}  // namespace slackline
