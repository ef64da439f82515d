// With a GPU: every operation against the float64 reference, from fresh random operands into
// poisoned results, and whole steps. Without one, these tests are skipped.

#include <slackline/error.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../net/comparison.h"
#include "cuda/handles.h"
#include "cudnn/plan_cache.h"
#include "cudnn/target.h"
#include "net/resnet.h"
#include "net/training.h"
#include "net_cuda/executor.h"
#include "net_cuda/trainer.h"

namespace slackline::net::cuda {
namespace {

using slackline::cuda::PinnedBuffer;
using slackline::cuda::runtime;
using slackline::cuda::Stream;
using slackline::cuda::why_unavailable;
using testing_support::cosine;
using testing_support::kNormalisation;
using testing_support::made_up_images;
using testing_support::made_up_labels;
using testing_support::Numbers;
using testing_support::relative_error;

const char* name_of(Precision precision) {
  return precision == Precision::kFloat32   ? "fp32"
         : precision == Precision::kFloat16 ? "fp16"
                                            : "bf16";
}

/// An executor on the device, with a batch beside it.
class OnDevice {
 public:
  OnDevice(const ResnetSpec& spec, Precision precision, bool tf32, Launch launch = Launch::kGraph,
           cudnn::PlanCache* plan_cache = nullptr)
      : target_(cudnn::Target::of_device()),
        executor_(build_resnet(spec),
                  {.precision = precision,
                   .normalisation = kNormalisation,
                   .optimizer = {.weight_decay = 1e-4f, .momentum = 0.9f},
                   .policy = {.deterministic = true, .tf32 = tf32, .runtime_compiled = false},
                   .plan_cache = plan_cache},
                  target_, runtime(), stream_.get()),
        trainer_(executor_, launch, runtime(), stream_.get()),
        sums_(runtime(), 1) {}

  [[nodiscard]] const Program& program() const { return executor_.program(); }
  void read(TensorId id, std::span<float> values) { executor_.read(id, values); }
  void write(TensorId id, std::span<const float> values) { executor_.write(id, values); }

  /// One operation, as the CPU's executor does it.
  void run(std::size_t op, Mode mode, const StepInput& input, StepSums& sums) {
    const DeviceBatch batch = upload(input);
    if (op == 0) {
      executor_.ingest(batch);
    } else {
      if (std::holds_alternative<SoftmaxLoss>(program().ops[op])) executor_.take_labels(batch);
      executor_.run(op, mode, batch.size, input.global_batch_size);
    }
    runtime().copy(sums_.data(), executor_.sums(), sizeof(StepSums), stream_.get());
    runtime().synchronize(stream_.get());
    sums = *sums_.data();
  }

  DeviceBatch upload(const StepInput& input) {
    images_ = {runtime(), input.images.size()};
    labels_ = {runtime(), input.labels.size()};
    const PinnedBuffer<std::uint8_t> images(runtime(), input.images.size());
    const PinnedBuffer<std::int32_t> labels(runtime(), input.labels.size());
    std::ranges::copy(input.images, images.data());
    std::ranges::copy(input.labels, labels.data());
    runtime().copy(images_.data(), images.data(), images.bytes(), stream_.get());
    runtime().copy(labels_.data(), labels.data(), labels.bytes(), stream_.get());
    runtime().synchronize(stream_.get());
    return {images_.data(), labels_.data(), static_cast<std::int32_t>(input.labels.size())};
  }

  Executor& executor() { return executor_; }

  StepSums train(const StepInput& input, float rate) {
    const DeviceBatch batch = upload(input);
    trainer_.train(batch, batch.size, {.learning_rate = rate}, *sums_.data());
    runtime().synchronize(stream_.get());
    return *sums_.data();
  }
  StepSums forward_backward(const StepInput& input) {
    const DeviceBatch batch = upload(input);
    trainer_.forward_backward(batch, input.global_batch_size, *sums_.data());
    runtime().synchronize(stream_.get());
    return *sums_.data();
  }

  std::vector<float> values(std::span<float> array, TensorId id) {
    std::vector<float> found(values_of(program().tensor(id).extents));
    executor_.read(array, id, found);
    return found;
  }

 private:
  const Stream stream_ = slackline::cuda::make_stream(runtime());
  const cudnn::Target target_;
  Executor executor_;
  Trainer trainer_;
  PinnedBuffer<StepSums> sums_;
  DeviceBuffer<std::uint8_t> images_;
  DeviceBuffer<std::int32_t> labels_;
};

/// Operands are exact, so what is left is the rounding of results, and TF32's of operands.
Numbers numbers_of(Precision precision, bool tf32) {
  switch (precision) {
    case Precision::kFloat16:
      return {.rounded = [](float value) { return __half2float(__float2half_rn(value)); },
              .tolerance = 2e-3,
              .loss_tolerance = 1e-5};
    case Precision::kBfloat16:
      return {.rounded = [](float value) { return __bfloat162float(__float2bfloat16_rn(value)); },
              .tolerance = 1e-2,
              .loss_tolerance = 1e-5};
    case Precision::kFloat32:
      break;
  }
  return {.rounded = [](float value) { return value; },
          .tolerance = tf32 ? 1e-3 : 1e-5,
          .loss_tolerance = 1e-5};
}

class DeviceOpsTest : public testing::TestWithParam<std::tuple<Precision, bool>> {
 protected:
  void SetUp() override {
    if (!why_unavailable().empty()) GTEST_SKIP() << why_unavailable();
  }
  [[nodiscard]] static Precision precision() { return std::get<0>(GetParam()); }
  [[nodiscard]] static bool tf32() { return std::get<1>(GetParam()); }

  static std::size_t run_each(const ResnetSpec& spec, std::int64_t batch,
                              cudnn::PlanCache* plan_cache = nullptr) {
    testing_support::Comparison<OnDevice> comparison(
        std::make_unique<OnDevice>(spec, precision(), tf32(), Launch::kGraph, plan_cache),
        numbers_of(precision(), tf32()), batch);
    return comparison.run_each();
  }
};
INSTANTIATE_TEST_SUITE_P(Precisions, DeviceOpsTest,
                         testing::Values(std::tuple(Precision::kFloat32, false),
                                         std::tuple(Precision::kFloat32, true),
                                         std::tuple(Precision::kFloat16, true),
                                         std::tuple(Precision::kBfloat16, true)),
                         [](const auto& test) {
                           return std::string(name_of(std::get<0>(test.param))) +
                                  (std::get<1>(test.param) ? "" : "_exact");
                         });

TEST_P(DeviceOpsTest, OperationsOfCifarsNetworkAreThoseOfTheReference) {
  for (const Fusion fusion : {Fusion::kSeparate, Fusion::kBatchNorm}) {
    EXPECT_GT(run_each({.depth = 20,
                        .batch_size = 8,
                        .height = 32,
                        .width = 32,
                        .classes = 10,
                        .fusion = fusion,
                        .label_smoothing = 0.1f},
                       8),
              40u);
  }
}

TEST_P(DeviceOpsTest, OperationsOfResnet50AreThoseOfTheReference) {
  for (const Padding padding : {Padding::kSame, Padding::kSymmetric}) {
    EXPECT_GT(run_each({.depth = 50,
                        .batch_size = 4,
                        .height = 64,
                        .width = 64,
                        .classes = 1001,
                        .padding = padding},
                       4),
              100u);
  }
}

TEST_P(DeviceOpsTest, OperationsOnASmallerBatchAreThoseOfTheReference) {
  EXPECT_GT(run_each({.depth = 18, .batch_size = 8, .height = 64, .width = 48, .classes = 11}, 3),
            50u);
}

TEST_P(DeviceOpsTest, OperationsByTheFastestEnginesAreThoseOfTheReferenceAndAreMeasuredOnce) {
  const ResnetSpec spec{.depth = 20, .batch_size = 8, .height = 32, .width = 32, .classes = 10};
  cudnn::PlanCache plans;
  EXPECT_GT(run_each(spec, 8, &plans), 40u);
  const std::size_t measured = plans.size();
  EXPECT_GT(measured, 0u);
  EXPECT_EQ(plans.account().absent, measured);
  EXPECT_EQ(plans.account().found, 0u);
  EXPECT_GT(run_each(spec, 8, &plans), 40u);
  EXPECT_EQ(plans.account().absent, measured);
  EXPECT_EQ(plans.account().found, measured);
  EXPECT_THAT(plans.account().stale, testing::IsEmpty());
}

// --- whole steps
// ----------------------------------------------------------------------------------

class DeviceStepTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!why_unavailable().empty()) GTEST_SKIP() << why_unavailable();
  }

  static ResnetSpec cifar() {
    return {.depth = 20, .batch_size = 32, .height = 32, .width = 32, .classes = 10};
  }
};

TEST_F(DeviceStepTest, AStepIsThatOfTheReference) {
  OnDevice device(cifar(), Precision::kFloat32, false);
  device.executor().set_initial_values(5);
  const Program& program = device.program();
  Reference reference(program, kNormalisation);
  for (const TensorKind kind : {TensorKind::kParameter, TensorKind::kStatistic}) {
    for (const TensorId id : program.all(kind)) {
      std::ranges::copy(initial_values(program, id, 5), reference.tensor(id).begin());
    }
  }
  const auto images = made_up_images(program, 32);
  const auto labels = made_up_labels(32, 10);
  StepSums expected;
  reference.train({images, labels, 32}, expected);
  const StepSums found = device.forward_backward({images, labels, 32});
  EXPECT_NEAR(found.loss, expected.loss, 1e-5 * expected.loss);
  EXPECT_EQ(found.samples, 32);
  for (const TensorId id : program.all(TensorKind::kStatistic)) {
    EXPECT_LT(
        relative_error(device.values(device.executor().statistics(), id), reference.tensor(id)),
        1e-4)
        << program.tensor(id).name;
  }
  for (const TensorId id : program.all(TensorKind::kParameter)) {
    const TensorId gradient = program.tensor(id).gradient;
    EXPECT_GT(cosine(device.values(device.executor().gradients(), id), reference.tensor(gradient)),
              0.999)
        << program.tensor(id).name;
  }
}

/// All parameters behind some steps.
std::vector<std::vector<float>> trained(Launch launch, Precision precision,
                                        std::vector<double>* losses = nullptr) {
  const ResnetSpec spec{.depth = 20, .batch_size = 32, .height = 32, .width = 32, .classes = 10};
  OnDevice device(spec, precision, true, launch);
  device.executor().set_initial_values(5);
  const auto images = made_up_images(device.program(), 32);
  const auto labels = made_up_labels(32, 10);
  for (int step = 0; step < 20; ++step) {
    const StepSums sums = device.train({images, labels, 32}, 0.05f);
    if (losses != nullptr) losses->push_back(sums.loss / 32);
  }
  std::vector<std::vector<float>> all;
  for (const TensorId id : device.program().all(TensorKind::kParameter)) {
    all.push_back(device.values(device.executor().values(), id));
  }
  return all;
}

TEST_F(DeviceStepTest, AGraphGivesTheBitsOfAStreamAndEveryRunThoseOfTheLast) {
  for (const Precision precision :
       {Precision::kFloat32, Precision::kFloat16, Precision::kBfloat16}) {
    const auto first = trained(Launch::kGraph, precision);
    EXPECT_EQ(first, trained(Launch::kGraph, precision)) << name_of(precision);
    EXPECT_EQ(first, trained(Launch::kStream, precision)) << name_of(precision);
  }
}

TEST_F(DeviceStepTest, ABatchIsLearned) {
  for (const Precision precision :
       {Precision::kFloat32, Precision::kFloat16, Precision::kBfloat16}) {
    std::vector<double> losses;
    (void)trained(Launch::kGraph, precision, &losses);
    EXPECT_LT(losses.back(), 0.5 * losses.front()) << name_of(precision);
  }
}

}  // namespace
}  // namespace slackline::net::cuda
