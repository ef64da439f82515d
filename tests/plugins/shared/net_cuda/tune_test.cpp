// Which of cuDNN's plans is fastest, on a device whose work takes the time that a test says.

#include "net_cuda/tune.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../cudnn/absent_gpus.h"
#include "cuda/handles.h"
#include "fake_cuda.h"
#include "net/resnet.h"
#include "net_cuda/executor.h"

namespace slackline::net::cuda {
namespace {

using slackline::cuda::FakeRuntime;
using slackline::cuda::Stream;
using slackline::cuda::Work;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

/// What a piece of work costs host and device, by its name. Both have one clock; the device begins
/// nothing before it is launched.
class TimedDevice final : public FakeRuntime {
 public:
  struct Cost {
    double host_us = 0, device_us = 0;
  };
  std::map<std::string, Cost> costs;
  std::string disturbed;                ///< whose runs of two rounds take very long
  std::string refused_in_capture;       ///< whose capture fails
  std::size_t memory_bytes = SIZE_MAX;  ///< for one allocation

  [[nodiscard]] std::size_t runs(const std::string& name) const {
    return static_cast<std::size_t>(std::ranges::count(work(), name));
  }

  void* allocate(std::size_t bytes) override {
    if (bytes > memory_bytes) throw DeviceError("out of memory");
    return FakeRuntime::allocate(bytes);
  }
  void enqueue(const Work& work, cudaStream_t stream,
               const std::function<void(cudaStream_t)>& call) override {
    if (is_capturing_ && work.name == refused_in_capture) throw DeviceError("not in a capture");
    host_us_ += costs[std::string(work.name)].host_us;
    FakeRuntime::enqueue(work, stream, call);
  }
  void begin_capture(cudaStream_t stream) override {
    is_capturing_ = true;
    FakeRuntime::begin_capture(stream);
  }
  cudaGraphExec_t end_capture(cudaStream_t stream) override {
    is_capturing_ = false;
    return FakeRuntime::end_capture(stream);
  }
  void launch(cudaGraphExec_t graph, cudaStream_t stream) override {
    host_us_ += 8;
    FakeRuntime::launch(graph, stream);
  }
  void record(cudaEvent_t event, cudaStream_t stream) override {
    FakeRuntime::record(event, stream);
    recorded_[event] = std::max(host_us_, device_us_);
  }
  void synchronize(cudaEvent_t event) override {
    FakeRuntime::synchronize(event);
    host_us_ = std::max(host_us_, recorded_[event]);
  }
  void synchronize(cudaStream_t stream) override {
    FakeRuntime::synchronize(stream);
    host_us_ = std::max(host_us_, device_us_);
  }
  double microseconds_between(cudaEvent_t begin, cudaEvent_t end) override {
    return recorded_[end] - recorded_[begin];
  }

 private:
  std::function<void()> effect_of(const Work& work, cudaStream_t,
                                  const std::function<void(cudaStream_t)>&) override {
    return [this, name = std::string(work.name)] {
      const std::size_t before = runs(name);
      const bool is_slow = name == disturbed && before > 50 && before < 100;
      device_us_ = std::max(host_us_, device_us_) + costs[name].device_us * (is_slow ? 50 : 1);
    };
  }

  double host_us_ = 0, device_us_ = 0;
  bool is_capturing_ = false;
  std::map<cudaEvent_t, double> recorded_;
};

const cudnn::Target& h100() {
  static const cudnn::Target target = cudnn::testing_support::absent("h100");
  return target;
}

class TuneTest : public testing::Test {
 protected:
  [[nodiscard]] std::string name(std::size_t plan) const { return text_of(plans_[plan].choice()); }
  Fastest fastest() {
    const std::array bindings{cudnn::Binding{cudnn::uid::kX, memory_.data()},
                              cudnn::Binding{cudnn::uid::kDy, memory_.data()},
                              cudnn::Binding{cudnn::uid::kDweight, memory_.data()}};
    return fastest_of(plans_, h100(), bindings, device_, stream_.get());
  }

  static std::vector<cudnn::Plan> plans(std::size_t limit) {
    const cudnn::Graph graph = cudnn::conv_backward_weights(
        {.type = CUDNN_DATA_HALF,
         .x = {16, 64, 8, 8},
         .out_channels = 64,
         .window = {.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1}});
    return cudnn::candidates(graph, h100(), cudnn::testing_support::precompiled(), limit).plans;
  }

  std::vector<cudnn::Plan> plans_ = plans(3);
  TimedDevice device_;
  const Stream stream_ = slackline::cuda::make_stream(device_);
  const DeviceBuffer<std::byte> memory_{device_, 256};
};

TEST_F(TuneTest, TheDeviceIsTimedAndNotTheHostThatLaunches) {
  device_.costs = {{name(0), {5, 12}}, {name(1), {30, 10}}, {name(2), {5, 11}}};
  const Fastest found = fastest();
  EXPECT_EQ(found.place, 1u);
  EXPECT_DOUBLE_EQ(found.microseconds, 10);
  EXPECT_THAT(found.failures, IsEmpty());
  EXPECT_THAT(device_.violations(), IsEmpty());
}

TEST_F(TuneTest, SlowPlansRunLessOften) {
  device_.costs = {{name(0), {5, 12}}, {name(1), {5, 50'000}}, {name(2), {5, 200}}};
  EXPECT_EQ(fastest().place, 0u);
  EXPECT_GT(device_.runs(name(0)), 100u);
  EXPECT_LT(device_.runs(name(1)), 20u);
}

TEST_F(TuneTest, RoundsThatAreDisturbedDoNotCount) {
  device_.costs = {{name(0), {5, 12}}, {name(1), {5, 10}}, {name(2), {5, 11}}};
  device_.disturbed = name(1);
  const Fastest found = fastest();
  EXPECT_EQ(found.place, 1u);
  EXPECT_DOUBLE_EQ(found.microseconds, 10);
}

TEST_F(TuneTest, APlanThatDoesNotRunIsLeftOutAndNamed) {
  device_.costs = {{name(0), {5, 1}}, {name(1), {5, 10}}, {name(2), {5, 11}}};
  device_.refuse(name(0));
  const Fastest found = fastest();
  EXPECT_EQ(found.place, 1u);
  EXPECT_THAT(found.failures, ElementsAre(StartsWith(name(0) + ": cannot ")));
}

TEST_F(TuneTest, APlanThatCannotBeCapturedIsLeftOutAndItsCaptureEnded) {
  device_.costs = {{name(0), {5, 10}}, {name(1), {5, 1}}, {name(2), {5, 11}}};
  device_.refused_in_capture = name(1);
  const Fastest found = fastest();
  EXPECT_EQ(found.place, 0u);
  EXPECT_THAT(found.failures, ElementsAre(name(1) + ": not in a capture"));
  EXPECT_THAT(device_.violations(), IsEmpty());
}

TEST_F(TuneTest, APlanWhoseWorkspaceIsNotThereIsLeftOut) {
  plans_ = plans(60);
  const auto bytes = [](const cudnn::Plan& plan) { return plan.workspace_bytes(); };
  const auto hungriest = std::ranges::max_element(plans_, {}, bytes);
  ASSERT_GT(hungriest->workspace_bytes(), 1u << 20);
  device_.memory_bytes = hungriest->workspace_bytes() - 1;
  EXPECT_THAT(
      fastest().failures,
      testing::Contains(text(text_of(hungriest->choice()), ": the device has no ",
                             hungriest->workspace_bytes(), " bytes left for its workspace")));
}

TEST_F(TuneTest, IfNoneRunsTheFirstOnesReasonIsTold) {
  device_.refuse("engine ");
  try {
    (void)fastest();
    FAIL() << "one is fastest";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), StartsWith("none of 3 plans runs; the first is " + name(0) + ": "));
  }
}

// --- an executor that measures ------------------------------------------------------------------

class TuningExecutorTest : public testing::Test {
 protected:
  void make() {
    executor_.emplace(
        build_resnet({.depth = 20, .batch_size = 16, .height = 32, .width = 32, .classes = 10}),
        ExecutorSpec{.precision = Precision::kFloat16,
                     .policy = cudnn::testing_support::precompiled(),
                     .plan_cache = &cache_},
        h100(), cuda_, stream_.get());
  }

  FakeRuntime cuda_;
  const Stream stream_ = slackline::cuda::make_stream(cuda_);
  cudnn::PlanCache cache_;
  std::optional<Executor> executor_;
};

TEST_F(TuningExecutorTest, OnlyFullBatchesAreMeasured) {
  make();
  const std::size_t measured = cache_.size(), looked_up = cache_.account().absent;
  EXPECT_GT(measured, 10u);
  EXPECT_EQ(looked_up, measured);
  cuda_.clear();
  for (const std::int32_t size : {16, 7}) {
    executor_->prepare(Mode::kTraining, size, size);
    executor_->prepare(Mode::kEvaluation, size, 0);
  }
  EXPECT_THAT(cuda_.work(), IsEmpty());
  EXPECT_EQ(cache_.size(), measured);
  EXPECT_EQ(cache_.account().absent, looked_up);
}

TEST_F(TuningExecutorTest, PlansThatDoNotRunAreListedWithTheirGraph) {
  const cudnn::Graph first = cudnn::conv(
      {.type = CUDNN_DATA_HALF,
       .x = {16, 4, 32, 32},
       .out_channels = 16,
       .window = {.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1}});
  const std::string favourite =
      text_of(cudnn::choose(first, h100(), cudnn::testing_support::precompiled()).plan.choice());
  cuda_.refuse(favourite);
  make();
  EXPECT_THAT(executor_->failed_plans(),
              testing::Contains(StartsWith(first.signature() + ": " + favourite + ": cannot ")));
}

TEST_F(TuningExecutorTest, AnOperationOfWhichNoPlanRunsIsNamed) {
  cuda_.refuse("engine ");
  try {
    make();
    FAIL() << "nothing was thrown";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), StartsWith("conv conv1 for batches of 16: none of "));
    EXPECT_THAT(error.what(), HasSubstr(" plans runs; the first is engine "));
  }
}

}  // namespace
}  // namespace slackline::net::cuda
