// The analysis of `slackline doctor`, on measurements that are made up.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "doctor/diagnosis.h"

namespace slackline::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A run of 10 images a step on 2 workers and 2 CPUs, whose device takes 20 ms a step and whose
/// input does next to nothing. Tests make one thing of it large.
Measured healthy() {
  Measured out;
  out.device = {.input_wait_ms = 0.0, .submit_ms = 1, .device_wait_ms = 19};
  out.full = out.device;
  out.images_per_step = 10;
  out.workers = 2;
  out.cpus = 2;
  out.image = {.read_ms = 0.1,
               .checksum_ms = 0.05,
               .transforms_ms = {0.3, 0.1},
               .parse_ms = 0.05,
               .batching_ms = 0.05,
               .cpu_ms = 0.55};
  out.upload_ms = 0.5;
  out.straggler_ms = 0;
  return out;
}

/// The same, where the device waits for input so that a step takes so long.
Measured waiting(double step_ms) {
  Measured out = healthy();
  out.full = {.input_wait_ms = step_ms - 2, .submit_ms = 1, .device_wait_ms = 1};
  return out;
}

TEST(DiagnosisTest, WhereTheDeviceIsBusyAllTheTimeNothingIsToBeRemoved) {
  const Diagnosis found = diagnose(healthy());
  EXPECT_EQ(found.limiting.stage, Stage::kDevice);
  EXPECT_DOUBLE_EQ(found.without_ms, 20);
  EXPECT_DOUBLE_EQ(found.predicted_ms, 20);
  EXPECT_TRUE(found.is_trusted);
  EXPECT_THAT(found.doubts, IsEmpty());
}

TEST(DiagnosisTest, TheLossIsTheGrowthOfTheLapsWithoutAGap) {
  Measured measured = healthy();
  measured.device = {.input_wait_ms = 0.5, .submit_ms = 1, .device_wait_ms = 18.5};
  measured.full = {.input_wait_ms = 13, .submit_ms = 3, .device_wait_ms = 17};
  const Diagnosis found = diagnose(measured);
  EXPECT_DOUBLE_EQ(found.loss_ms, 13);
  EXPECT_DOUBLE_EQ(found.input_wait_ms, 12.5);
  EXPECT_DOUBLE_EQ(found.launch_ms, 0.5);
  EXPECT_DOUBLE_EQ(found.input_wait_ms + found.launch_ms, found.loss_ms);
}

TEST(DiagnosisTest, ASlowDecodeIsNamedAndTheDeviceIsNext) {
  // 10 images · (0.2 + 9.8 + 0.1 + 0.05 + 0.05 …) ms / 2 workers
  Measured measured = waiting(51.25);
  measured.image.transforms_ms = {10, 0.1};
  measured.image.cpu_ms = 10;
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kDecode);
  EXPECT_DOUBLE_EQ(found.limiting.image_ms.value(), 9.95) << "without the parse";
  EXPECT_DOUBLE_EQ(found.limiting.step_ms, 49.75);
  EXPECT_DOUBLE_EQ(found.predicted_ms, 51.25);
  EXPECT_DOUBLE_EQ(found.without_ms, 20);
  EXPECT_EQ(found.next, Resource::kDevice);
  EXPECT_EQ(found.cpus_to_feed, 5) << "10 images of 10 ms in 20 ms";
  EXPECT_TRUE(found.is_trusted);
}

TEST(DiagnosisTest, WhatIsLeftOfTheWorkersBoundsWhatRemovalGives) {
  Measured measured = waiting(80.75);
  measured.image.transforms_ms = {10, 6};
  measured.image.cpu_ms = 16;
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kDecode);
  EXPECT_DOUBLE_EQ(found.without_ms, 10 * (0.1 + 0.05 + 6 + 0.05) / 2);
  EXPECT_EQ(found.next, Resource::kWorkers);
}

TEST(DiagnosisTest, ASlowAugmentationIsNamed) {
  Measured measured = waiting(52);
  measured.image.transforms_ms = {0.3, 4, 6};
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kAugment);
  EXPECT_DOUBLE_EQ(found.limiting.image_ms.value(), 10) << "all that stand behind the decoder";
}

TEST(DiagnosisTest, SlowBatchingIsNamed) {
  Measured measured = waiting(52);
  measured.image.batching_ms = 10;
  EXPECT_EQ(diagnose(measured).limiting.stage, Stage::kBatch);
}

TEST(DiagnosisTest, ASlowParseIsNamedApartFromTheDecode) {
  Measured measured = waiting(53);
  measured.image.transforms_ms = {10, 0.1};
  measured.image.parse_ms = 8;
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kChecksumAndParse);
  EXPECT_DOUBLE_EQ(found.limiting.image_ms.value(), 8.05);
}

TEST(DiagnosisTest, ASlowSourceCostsItsWholeTimeAsWorkersTakeTurns) {
  Measured measured = waiting(50);
  measured.image.read_ms = 5;
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kFetch);
  EXPECT_EQ(found.bounds.front().resource, Resource::kSource);
  EXPECT_DOUBLE_EQ(found.limiting.image_ms.value(), 4.95) << "without the checksum";
  EXPECT_DOUBLE_EQ(found.limiting.step_ms, 49.5) << "and not half of it";
  EXPECT_DOUBLE_EQ(found.predicted_ms, 50);
}

TEST(DiagnosisTest, ASlowChecksumIsNamedApartFromTheFetch) {
  Measured measured = waiting(50);
  measured.image.read_ms = 5;
  measured.image.checksum_ms = 4;
  EXPECT_EQ(diagnose(measured).limiting.stage, Stage::kChecksumAndParse);
}

TEST(DiagnosisTest, ASlowUploadIsNamed) {
  Measured measured = waiting(40);
  measured.upload_ms = 40;
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kUpload);
  EXPECT_DOUBLE_EQ(found.limiting.step_ms, 40);
  EXPECT_DOUBLE_EQ(found.without_ms, 20);
}

TEST(DiagnosisTest, ADeviceThatTakesLongerWhileInputIsLiveIsLaunchContention) {
  Measured measured = healthy();
  measured.full = {.input_wait_ms = 0, .submit_ms = 13, .device_wait_ms = 19};
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kLaunchContention);
  EXPECT_DOUBLE_EQ(found.limiting.step_ms, 12);
  EXPECT_DOUBLE_EQ(found.without_ms, 20);
}

TEST(DiagnosisTest, ContentionThatHidesBehindSlowInputDoesNotLimit) {
  Measured measured = healthy();
  measured.image.transforms_ms = {12, 0};
  measured.full = {.input_wait_ms = 31, .submit_ms = 11, .device_wait_ms = 19};
  EXPECT_EQ(diagnose(measured).limiting.stage, Stage::kDecode);
}

TEST(DiagnosisTest, AStragglerIsNamedByWhatTheOthersWaitForIt) {
  Measured measured = healthy();
  measured.straggler_ms = 8;
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kStraggler);
  EXPECT_DOUBLE_EQ(found.limiting.step_ms, 8);
  EXPECT_DOUBLE_EQ(found.without_ms, 12);
  EXPECT_EQ(found.next, Resource::kDevice);
}

TEST(DiagnosisTest, AStragglerThatInputWouldHideIsOnlyWorthTheRest) {
  Measured measured = healthy();
  measured.straggler_ms = 8;
  measured.upload_ms = 15;
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kStraggler);
  EXPECT_DOUBLE_EQ(found.limiting.step_ms, 5);
  EXPECT_DOUBLE_EQ(found.without_ms, 15) << "never better than what the uploads allow";
  EXPECT_EQ(found.next, Resource::kUpload);
}

TEST(DiagnosisTest, AWaitThatNoResourceExplainsIsDeliverysAndTheModelSaysSo) {
  const Diagnosis found = diagnose(waiting(31));  // nothing is busy for more than 20 ms
  EXPECT_EQ(found.limiting.stage, Stage::kDelivery);
  EXPECT_DOUBLE_EQ(found.limiting.step_ms, 11);
  EXPECT_DOUBLE_EQ(found.without_ms, 20);
  EXPECT_FALSE(found.is_trusted) << "20 ms are not 31";
}

TEST(DiagnosisTest, TheModelIsTrustedUpToFifteenPercent) {
  Measured measured = waiting(50 / 0.86);
  measured.image.read_ms = 5;
  EXPECT_TRUE(diagnose(measured).is_trusted);
  measured.full = waiting(50 / 0.84).full;
  EXPECT_FALSE(diagnose(measured).is_trusted);
  measured.full = waiting(50 / 1.16).full;
  EXPECT_FALSE(diagnose(measured).is_trusted) << "it may be too slow as well";
}

TEST(DiagnosisTest, RemovalIsTakenOffWhatWasMeasured) {
  Measured measured = waiting(55);  // and the model says 51.25
  measured.image.checksum_ms = measured.image.parse_ms = std::nullopt;
  measured.image.read_ms = measured.image.batching_ms = 0;
  measured.image.transforms_ms = {5.25, 5};
  const Diagnosis found = diagnose(measured);
  EXPECT_DOUBLE_EQ(found.predicted_ms, 51.25);
  EXPECT_DOUBLE_EQ(found.without_ms, 55 - (51.25 - 25));
}

TEST(DiagnosisTest, RemovalNeverGivesMoreThanWhatIsNextAllows) {
  Measured measured = waiting(45);  // and the model says 51.25, of which the decode is 49.75
  measured.image.transforms_ms = {10, 0.1};
  const Diagnosis found = diagnose(measured);
  EXPECT_DOUBLE_EQ(found.predicted_ms, 51.25);
  EXPECT_DOUBLE_EQ(found.without_ms, 20) << "the device's, and not 45 - (51.25 - 20)";
}

TEST(DiagnosisTest, ALossBelowFivePercentIsNoStall) {
  EXPECT_EQ(diagnose(waiting(20.9)).limiting.stage, Stage::kDevice);
  EXPECT_EQ(diagnose(waiting(21.3)).limiting.stage, Stage::kDelivery);
}

TEST(DiagnosisTest, MoreWorkersThanCpusAreBoundByTheCpus) {
  Measured measured = waiting(50);
  measured.workers = 8;
  measured.image.transforms_ms = {10, 0};
  measured.image.cpu_ms = 10;
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.bounds.front().resource, Resource::kCpus);
  EXPECT_DOUBLE_EQ(found.predicted_ms, 50);
  EXPECT_EQ(found.limiting.stage, Stage::kDecode);
}

TEST(DiagnosisTest, WorkersThatSleepAreBoundByTheirTimeOnTheClock) {
  Measured measured = waiting(52);
  measured.image.transforms_ms = {10, 0};
  measured.image.cpu_ms = 0.5;
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.bounds.front().resource, Resource::kWorkers);
  EXPECT_EQ(found.cpus_to_feed, 1);
}

TEST(DiagnosisTest, MissingPartsAreLeftOutAndCountedToTheWhole) {
  Measured measured = waiting(52);
  measured.image.transforms_ms = {10};
  measured.image.checksum_ms = measured.image.parse_ms = std::nullopt;
  measured.upload_ms = measured.straggler_ms = std::nullopt;
  const Diagnosis found = diagnose(measured);
  std::vector<Stage> stages;
  for (const StageSize& stage : found.stages) stages.push_back(stage.stage);
  EXPECT_THAT(stages, ElementsAre(Stage::kFetch, Stage::kDecode, Stage::kAugment, Stage::kBatch,
                                  Stage::kLaunchContention));
  EXPECT_DOUBLE_EQ(found.limiting.image_ms.value(), 10);
  EXPECT_THAT(found.doubts, IsEmpty());
}

TEST(DiagnosisTest, APartThatIsLargerThanItsWholeIsCutAndToldOf) {
  Measured measured = waiting(52);
  measured.image.transforms_ms = {10, 0};
  measured.image.checksum_ms = 3;
  const Diagnosis found = diagnose(measured);
  EXPECT_DOUBLE_EQ(found.stages.front().image_ms.value(), 0) << "nothing is left for the fetch";
  EXPECT_THAT(found.doubts, ElementsAre(HasSubstr("the checksum is said to take 3 ms an image, and "
                                                  "reading, which it is a part of, took 0.1")));
}

TEST(DiagnosisTest, AStragglerLongerThanTheStepIsCutAndToldOf) {
  Measured measured = healthy();
  measured.straggler_ms = 30;
  const Diagnosis found = diagnose(measured);
  EXPECT_DOUBLE_EQ(found.stages.back().step_ms, 20) << "all of it";
  EXPECT_DOUBLE_EQ(found.predicted_ms, 20);
  EXPECT_THAT(found.doubts, ElementsAre(HasSubstr("wait 30 ms a step for the slowest device")));
}

TEST(DiagnosisTest, FullInputThatIsFasterThanNoneIsToldOf) {
  Measured measured = healthy();
  measured.full = {.input_wait_ms = 0, .submit_ms = 1, .device_wait_ms = 14};
  const Diagnosis found = diagnose(measured);
  EXPECT_EQ(found.limiting.stage, Stage::kDevice);
  EXPECT_DOUBLE_EQ(found.without_ms, 15);
  EXPECT_THAT(found.doubts, ElementsAre(HasSubstr("the machine was not the same for both")));
}

}  // namespace
}  // namespace slackline::app
