#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/simulated_clock.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "emulated/device.h"
#include "test_host.h"

namespace slackline {
namespace {

using namespace std::chrono_literals;
using emulated::EmulatedDevice;
using testing_support::make_plugin;
using testing_support::OptionArguments;
using testing_support::TestHost;

constexpr std::int64_t kMs = 1'000'000;  ///< ns

/// What a step has to do with nothing else, so that only its time on the device is left.
const OptionArguments kOnlyCompute = {
    {"step_time", 100 * kMs}, {"launch_time", 0}, {"start_uploads", 0}};

OptionArguments with(OptionArguments options, const OptionArguments& more) {
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

class EmulatedModelTest : public testing::Test {
 protected:
  static constexpr std::int32_t kFull = 60;

  std::unique_ptr<Model> build(const OptionArguments& options, std::uint64_t seed = 1) {
    auto model = make_plugin<Model>("emulated", options, host_);
    model->build({.image = {100, 100, 1},
                  .max_batch_size = kFull,
                  .num_classes = 10,
                  .seed = seed,
                  .device = {.kind = DeviceKind::kEmulated, .index = 0, .stream = &device_}});
    return model;
  }
  static Batch batch(std::int32_t size, std::uint64_t index = 0) {
    Batch batch;
    batch.size = size;
    batch.index = index;
    return batch;
  }
  /// How much longer the device is busy for this.
  std::int64_t train_us(Model& model, const Batch& batch) {
    const auto before = device_.totals().compute_busy;
    model.forward_backward(batch, batch.size, sums_);
    return (device_.totals().compute_busy - before) / 1us;
  }
  std::vector<std::int64_t> train_hundred_us(Model& model) {
    std::vector<std::int64_t> times;
    for (std::uint64_t i = 0; i < 100; ++i) times.push_back(train_us(model, batch(kFull, i)));
    return times;
  }

  SimulatedClock clock_{2};
  TestHost host_{clock_};
  EmulatedDevice device_{{.images_per_s = 1200, .upload_bytes_per_s = 1e9}, host_};
  StepSums sums_;
};

TEST_F(EmulatedModelTest, NeedsTheDeviceOfItsStrategy) {
  const auto model = make_plugin<Model>("emulated", {}, host_);
  try {
    model->build(
        {.image = {100, 100, 1}, .max_batch_size = 1, .num_classes = 1, .seed = 1, .device = {}});
    FAIL() << "computes on the CPU";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.option(), "plugin");
    EXPECT_STREQ(error.what(),
                 "model emulated computes nothing: it needs [strategy] plugin = \"emulated\", "
                 "which has the device");
  }
}

TEST_F(EmulatedModelTest, TakesTheTimeThatItIsGiven) {
  EXPECT_EQ(train_us(*build(kOnlyCompute), batch(kFull)), 100'000);
  EXPECT_EQ(host_.reports.at("step_time"), 100);
}

TEST_F(EmulatedModelTest, TakesItsTimeFromTheDevicesImagesPerSecond) {
  EXPECT_EQ(train_us(*build({}), batch(kFull)), 50'000);
  EXPECT_EQ(host_.reports.at("step_time"), 50);
}

TEST_F(EmulatedModelTest, WithoutATimeOrASpeedItSaysWhatIsMissing) {
  EmulatedDevice unknown({.upload_bytes_per_s = 1e9}, host_);
  const auto model = make_plugin<Model>("emulated", {}, host_);
  try {
    model->build({.image = {100, 100, 1},
                  .max_batch_size = 1,
                  .num_classes = 1,
                  .seed = 1,
                  .device = {.kind = DeviceKind::kEmulated, .index = 0, .stream = &unknown}});
    FAIL() << "built without a speed";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.option(), "step_time");
    EXPECT_STREQ(error.what(),
                 "model emulated: step_time is 0 and [strategy] profile is \"none\", so there are "
                 "no images/s to take it from; set one of them");
  }
}

TEST_F(EmulatedModelTest, ASmallerBatchTakesItsShare) {
  EXPECT_EQ(train_us(*build(kOnlyCompute), batch(kFull / 4)), 25'000);
}

TEST_F(EmulatedModelTest, LaunchingAndUploadsAreThoseOfTheOptions) {
  const auto model = build({{"step_time", 100 * kMs},
                            {"launch_time", 6 * kMs},
                            {"launches", 3},
                            {"start_uploads", 2},
                            {"start_upload_bytes", 1000}});
  model->forward_backward(batch(kFull), kFull, sums_);
  EXPECT_EQ(clock_.now().time_since_epoch(), 6ms);
  EXPECT_EQ(clock_.cpu_time(), 6ms);
  EXPECT_EQ(device_.totals().copy_busy, 2us);
  EXPECT_EQ(device_.idle_at().time_since_epoch(), 2ms + 2us + 100ms);
}

TEST_F(EmulatedModelTest, AnEvaluationIsAThirdOfAStep) {
  const auto model = build({{"step_time", 90 * kMs}, {"launch_time", 6 * kMs}});
  model->evaluate(batch(kFull), sums_);
  EXPECT_EQ(device_.totals().compute_busy, 30ms);
  EXPECT_EQ(clock_.cpu_time(), 2ms);
  EXPECT_EQ(sums_.samples, kFull);
}

TEST_F(EmulatedModelTest, CountsSamplesAndHasNeitherLossNorParameters) {
  const auto model = build(kOnlyCompute);
  sums_ = {1, 2, 3};
  model->forward_backward(batch(7), 7, sums_);
  EXPECT_EQ(sums_.loss, 0);
  EXPECT_EQ(sums_.correct, 0);
  EXPECT_EQ(sums_.samples, 7);
  EXPECT_TRUE(model->gradients().empty());
}

TEST_F(EmulatedModelTest, WithoutJitterAllStepsAreEqual) {
  EXPECT_EQ(train_hundred_us(*build(kOnlyCompute)), std::vector<std::int64_t>(100, 100'000));
}

TEST_F(EmulatedModelTest, JitterDependsOnTheSeedAndTheBatchAlone) {
  const auto options = with(kOnlyCompute, {{"jitter", 0.05}});
  const auto times = train_hundred_us(*build(options));
  EXPECT_EQ(train_hundred_us(*build(options)), times);
  EXPECT_NE(train_hundred_us(*build(options, 2)), times);
  EXPECT_EQ(train_us(*build(options), batch(kFull, 42)), times[42]);
}

TEST_F(EmulatedModelTest, JitterHasTheDeviationThatWasAskedFor) {
  const auto model = build(with(kOnlyCompute, {{"jitter", 0.05}}));
  double sum = 0, squares = 0;
  constexpr int kSteps = 10'000;
  for (int i = 0; i < kSteps; ++i) {
    const double share =
        static_cast<double>(train_us(*model, batch(kFull, static_cast<std::uint64_t>(i)))) / 1e5;
    sum += share;
    squares += (share - 1) * (share - 1);
  }
  EXPECT_NEAR(sum / kSteps, 1, 0.002);                     // four standard errors
  EXPECT_NEAR(std::sqrt(squares / kSteps), 0.05, 0.0015);  // four standard errors
}

TEST_F(EmulatedModelTest, NoJitterMakesAStepEndBeforeItBegins) {
  const auto model = build(with(kOnlyCompute, {{"jitter", 1.0}}));
  bool has_zero = false;
  for (const std::int64_t time : train_hundred_us(*model)) {
    EXPECT_GE(time, 0);
    has_zero = has_zero || time == 0;
  }
  EXPECT_TRUE(has_zero);
}

}  // namespace
}  // namespace slackline
