// The trivial model as a list of operations, on a device whose kernels the CPU runs, against the
// model plugin of the CPU.

#include "net/trivial.h"

#include <slackline/model.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../cudnn/absent_gpus.h"
#include "../net/comparison.h"
#include "cpu_device.h"
#include "net_cuda/store.h"
#include "net_cuda/trainer.h"
#include "owned_batch.h"
#include "test_host.h"

namespace slackline::net::cuda {
namespace {

using slackline::cuda::PinnedBuffer;
using slackline::cuda::Stream;
using slackline::testing_support::OwnedBatch;
using testing::IsEmpty;
using testing_support::relative_error;

constexpr ImageShape kShape{.height = 9, .width = 7, .channels = 3};
constexpr std::int32_t kMost = 5, kClasses = 11;

OwnedBatch made_up_batch(std::size_t size) {
  std::vector<std::uint8_t> pixels(size * kShape.size());
  std::uint32_t state = 1;
  for (auto& pixel : pixels) {
    state = state * 1664525u + 1013904223u;
    pixel = static_cast<std::uint8_t>(state >> 24);
  }
  std::vector<std::int32_t> labels;
  for (std::size_t i = 0; i < size; ++i) {
    labels.push_back(static_cast<std::int32_t>(7 * i) % kClasses);
  }
  return {kShape, pixels, labels};
}

/// The program's tensors and steps, as a model's.
class OnDevice {
 public:
  explicit OnDevice(Launch launch)
      : executor_(build_trivial({.batch_size = kMost,
                                 .height = kShape.height,
                                 .width = kShape.width,
                                 .classes = kClasses}),
                  {.normalisation = trivial_normalisation(), .optimizer = {.momentum = 0.9f}},
                  target_, device, stream_.get()),
        trainer_(executor_, launch, device, stream_.get()),
        store_(executor_, device, stream_.get()),
        images_(device, kMost * kShape.size()),
        labels_(device, kMost),
        sums_(device, 1) {
    device.execute(executor_);
    for (const TensorId id : executor_.program().all(TensorKind::kParameter)) {
      executor_.write(executor_.values(), id, trivial_initial_values(executor_.program(), id, 5));
    }
  }

  StepSums train(const Batch& batch, float rate) {
    trainer_.train(upload(batch), batch.size, {.learning_rate = rate}, *sums_.data());
    return *sums_.data();
  }
  StepSums forward_backward(const Batch& batch) {
    trainer_.forward_backward(upload(batch), batch.size, *sums_.data());
    return *sums_.data();
  }
  StepSums evaluate(const Batch& batch) {
    trainer_.evaluate(upload(batch), *sums_.data());
    return *sums_.data();
  }

  TensorStore& store() { return store_; }

  CpuDevice device;

 private:
  DeviceBatch upload(const Batch& batch) {
    const PinnedBuffer<std::uint8_t> images(device, batch.images.size());
    const PinnedBuffer<std::int32_t> labels(device, batch.labels.size());
    std::ranges::copy(batch.images, images.data());
    std::ranges::copy(batch.labels, labels.data());
    device.copy(images_.data(), images.data(), images.bytes(), stream_.get());
    device.copy(labels_.data(), labels.data(), labels.bytes(), stream_.get());
    device.synchronize(stream_.get());
    return {images_.data(), labels_.data(), batch.size};
  }

  const Stream stream_ = slackline::cuda::make_stream(device);
  const cudnn::Target target_ = cudnn::testing_support::absent("h100");
  Executor executor_;
  Trainer trainer_;
  DeviceStore store_;
  DeviceBuffer<std::uint8_t> images_;
  DeviceBuffer<std::int32_t> labels_;
  PinnedBuffer<StepSums> sums_;
};

class TrivialOnDeviceTest : public testing::TestWithParam<Launch> {
 protected:
  void SetUp() override {
    model_->build({.image = kShape,
                   .max_batch_size = kMost,
                   .num_classes = kClasses,
                   .seed = 5,
                   .device = {},
                   .optimizer = {.momentum = 0.9f}});
  }
  static std::vector<float> read(TensorStore& store, std::size_t index) {
    std::vector<float> values(store.tensors()[index].size());
    store.read(index, values);
    return values;
  }
  /// The device's tensor of this name.
  std::size_t find(const std::string& name) {
    const auto tensors = device_.store().tensors();
    const auto found = std::ranges::find(tensors, name, &TensorInfo::name);
    EXPECT_NE(found, tensors.end()) << name;
    return static_cast<std::size_t>(found - tensors.begin());
  }
  /// All that a checkpoint of the CPU's has: how far the device is from it at most.
  double distance() {
    double most = 0;
    TensorStore& ours = model_->state();
    for (std::size_t i = 0; i < ours.tensors().size(); ++i) {
      if (ours.tensors()[i].role == TensorRole::kGradient) continue;
      const std::vector<float> expected = read(ours, i);
      const std::vector<float> found = read(device_.store(), find(ours.tensors()[i].name));
      most = std::max(most,
                      relative_error(found, std::vector<double>(expected.begin(), expected.end())));
    }
    return most;
  }
  void train_both(int steps) {
    StepSums sums;
    for (int step = 0; step < steps; ++step) {
      OwnedBatch batch = made_up_batch(static_cast<std::size_t>(step % 2 == 0 ? kMost : 3));
      model_->forward_backward(*batch, batch->size, sums);
      model_->update({.learning_rate = 1e-6f});
      const StepSums found = device_.train(*batch, 1e-6f);
      EXPECT_NEAR(found.loss, sums.loss, 1e-5 * sums.loss);
    }
  }

  slackline::testing_support::TestHost host_;
  std::unique_ptr<Model> model_ =
      slackline::testing_support::make_plugin<Model>("trivial", {}, host_);
  OnDevice device_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(All, TrivialOnDeviceTest, testing::Values(Launch::kStream, Launch::kGraph),
                         [](const auto& test) {
                           return test.param == Launch::kStream ? "Stream" : "Graph";
                         });

TEST_P(TrivialOnDeviceTest, BeginsWithTheTensorsOfTheCpus) {
  TensorStore& ours = model_->state();
  for (std::size_t i = 0; i < ours.tensors().size(); ++i) {
    const TensorInfo& expected = ours.tensors()[i];
    const std::size_t found = find(expected.name);
    EXPECT_EQ(device_.store().tensors()[found].shape, expected.shape) << expected.name;
    EXPECT_EQ(device_.store().tensors()[found].role, expected.role) << expected.name;
    EXPECT_EQ(read(device_.store(), found), read(ours, i)) << expected.name;
  }
}

TEST_P(TrivialOnDeviceTest, LossAndGradientsAreTheCpus) {
  for (const std::size_t size : {std::size_t{kMost}, std::size_t{3}}) {
    OwnedBatch batch = made_up_batch(size);
    StepSums expected;
    model_->forward_backward(*batch, batch->size, expected);
    const StepSums found = device_.forward_backward(*batch);
    EXPECT_NEAR(found.loss, expected.loss, 1e-5 * expected.loss);
    EXPECT_EQ(found.correct, expected.correct);
    EXPECT_EQ(found.samples, expected.samples);
    std::span<const float> rest = model_->gradients();
    for (const char* name : {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}) {
      const std::vector<float> gradient =
          read(device_.store(), find(std::string("gradient.") + name));
      const std::span<const float> of_cpu = rest.first(gradient.size());
      EXPECT_LT(relative_error(gradient, std::vector<double>(of_cpu.begin(), of_cpu.end())), 1e-5)
          << name;
      rest = rest.subspan(gradient.size());
    }
    EXPECT_TRUE(rest.empty());
  }
  EXPECT_THAT(device_.device.violations(), IsEmpty());
}

TEST_P(TrivialOnDeviceTest, TheReferenceFlattensPixelsAsTheCpuDoes) {
  const Program program = build_trivial(
      {.batch_size = kMost, .height = kShape.height, .width = kShape.width, .classes = kClasses});
  Reference reference(program, trivial_normalisation());
  for (const TensorId id : program.all(TensorKind::kParameter)) {
    std::ranges::copy(trivial_initial_values(program, id, 5), reference.tensor(id).begin());
  }
  OwnedBatch batch = made_up_batch(kMost);
  StepSums expected, found;
  model_->forward_backward(*batch, kMost, expected);
  reference.train({batch->images, batch->labels, kMost}, found);
  EXPECT_NEAR(found.loss, expected.loss, 1e-5 * expected.loss);
  std::span<const float> rest = model_->gradients();
  for (const TensorId id : program.all(TensorKind::kParameter)) {
    const std::span<const double> gradient = reference.tensor(program.tensor(id).gradient);
    EXPECT_LT(relative_error(rest.first(gradient.size()), gradient), 1e-5)
        << program.tensor(id).name;
    rest = rest.subspan(gradient.size());
  }
}

TEST_P(TrivialOnDeviceTest, TrainingIsTheCpus) {
  train_both(6);
  EXPECT_LT(distance(), 1e-4);
  OwnedBatch batch = made_up_batch(kMost);
  StepSums expected;
  model_->evaluate(*batch, expected);
  const StepSums found = device_.evaluate(*batch);
  EXPECT_NEAR(found.loss, expected.loss, 1e-4 * expected.loss);
  EXPECT_THAT(device_.device.violations(), IsEmpty());
}

TEST_P(TrivialOnDeviceTest, GoesOnFromACheckpointOfTheCpus) {
  OwnedBatch batch = made_up_batch(kMost);
  StepSums sums;
  for (int step = 0; step < 3; ++step) {
    model_->forward_backward(*batch, batch->size, sums);
    model_->update({.learning_rate = 1e-6f});
  }
  EXPECT_GT(distance(), 1e-2);
  TensorStore& ours = model_->state();
  for (std::size_t i = 0; i < ours.tensors().size(); ++i) {
    if (ours.tensors()[i].role == TensorRole::kGradient) continue;
    device_.store().write(find(ours.tensors()[i].name), read(ours, i));
  }
  EXPECT_EQ(distance(), 0);
  train_both(2);
  EXPECT_LT(distance(), 1e-4);
}

}  // namespace
}  // namespace slackline::net::cuda
