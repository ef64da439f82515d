// The model plugin as a user meets it; what it computes, without a GPU, is
// tests/plugins/shared/net_cuda's.

#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/strategy.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../shared/net/comparison.h"
#include "cuda/runtime.h"
#include "owned_batch.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing_support::made_up_batch;
using testing_support::make_plugin;
using testing_support::OwnedBatch;
using testing_support::TestHost;

TEST(TrivialCudaTest, WithoutADriverItsUseIsADeviceError) {
  const std::string why = cuda::why_unavailable();
  if (why.empty()) GTEST_SKIP() << "there is a device";
  TestHost host;
  try {
    (void)make_plugin<Model>("trivial_cuda", {}, host);
    FAIL() << "was made without a device";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(why));
  }
}

TEST(TrivialCudaTest, RefusesTheCpu) {
  if (!cuda::why_unavailable().empty()) GTEST_SKIP() << cuda::why_unavailable();
  TestHost host;
  const auto model = make_plugin<Model>("trivial_cuda", {}, host);
  EXPECT_THROW(
      model->build({.image = {8, 8, 3}, .max_batch_size = 1, .num_classes = 2, .device = {}}),
      ConfigError);
}

/// Four steps, the second of which is captured and the others replayed, and what they come to.
class TrivialTraining final : private ModelFactory, private BatchStream {
 public:
  TrivialTraining(const std::string& model, const std::string& strategy) : model_(model) {
    const auto trained = make_plugin<Strategy>(strategy, {}, host_);
    trained->build(*this, {.image = kShape,
                           .max_batch_size = kSize,
                           .num_classes = kClasses,
                           .seed = 5,
                           .device = {},
                           .optimizer = {.momentum = 0.9f}});
    const std::unique_ptr<BatchStream> upload = trained->upload(*this, 0);
    BatchStream& batches = upload == nullptr ? *this : *upload;
    for (int step = 0; step < 4; ++step) {
      const Batch* const batch = batches.next();
      trained->submit(std::span(&batch, 1), {.rule = {.learning_rate = 1e-6f}, .samples = kSize});
      losses.push_back(trained->finish().loss);
      batches.give_back(batch);
    }
    TensorStore& state = trained->state();
    for (std::size_t i = 0; i < state.tensors().size(); ++i) {
      const TensorInfo& tensor = state.tensors()[i];
      if (tensor.role != TensorRole::kParameter) continue;
      state.read(i, parameters[tensor.name] = std::vector<float>(tensor.size()));
    }
  }

  std::vector<double> losses;
  std::map<std::string, std::vector<float>> parameters;

 private:
  static constexpr ImageShape kShape{.height = 32, .width = 32, .channels = 3};
  static constexpr std::int32_t kSize = 16, kClasses = 11;

  std::unique_ptr<Model> make_model() override { return make_plugin<Model>(model_, {}, host_); }

  const Batch* next() override {
    batch_ = made_up_batch(kShape, kClasses, made_++, kSize);
    return &**batch_;
  }
  void give_back(const Batch*) noexcept override {}
  void cancel() noexcept override {}

  const std::string model_;
  TestHost host_;
  std::uint64_t made_ = 0;
  std::unique_ptr<OwnedBatch> batch_;
};

TEST(TrivialCudaTest, TrainsAsTheModelOfTheCpuDoes) {
  if (!cuda::why_unavailable().empty()) GTEST_SKIP() << cuda::why_unavailable();
  const TrivialTraining expected("trivial", "one_device"), found("trivial_cuda", "one_gpu");
  ASSERT_EQ(found.losses.size(), expected.losses.size());
  // Both add 3,072 products in float32, in other orders. Where the CPU runs the kernels, losses are
  // 2e-7 and parameters 2e-7 apart behind four steps.
  for (std::size_t step = 0; step < expected.losses.size(); ++step) {
    EXPECT_NEAR(found.losses[step], expected.losses[step], 1e-5 * expected.losses[step]) << step;
  }
  ASSERT_EQ(found.parameters.size(), 4u);
  for (const auto& [name, values] : expected.parameters) {
    const std::vector<double> of_cpu(values.begin(), values.end());
    EXPECT_LT(net::testing_support::relative_error(found.parameters.at(name), of_cpu), 1e-5)
        << name;
  }
}

}  // namespace
}  // namespace slackline
