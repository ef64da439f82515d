// What the CPU models share: each kernel against the plain loop that its comment states.

#include <slackline/model.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "nn/kernels.h"
#include "nn/parameters.h"
#include "nn/softmax.h"

namespace slackline::nn {
namespace {

constexpr float kMeans[3] = {1.5f, 20.0f, 100.0f};

/// Shorter than a block, a block, and blocks with every kind of rest.
constexpr std::array<std::size_t, 6> kSizes = {3, 48, 51, 96, 141, 4611};

std::vector<std::uint8_t> pixels(std::size_t count) {
  std::vector<std::uint8_t> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = static_cast<std::uint8_t>(i * 101 + i / 7);
  return all;
}

std::vector<float> floats(std::size_t count, float scale) {
  std::vector<float> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = scale * (static_cast<float>(i * 13 % 17) - 8.0f);
  return all;
}

TEST(KernelTest, DotCenteredIsTheSumOfProducts) {
  for (const std::size_t count : kSizes) {
    const auto values = pixels(count);
    const auto weights = floats(count, 0.01f);
    double expected = 0;
    for (std::size_t i = 0; i < count; ++i) {
      expected += (double(values[i]) - double(kMeans[i % 3])) * double(weights[i]);
    }
    EXPECT_NEAR(dot_centered(values, weights, kMeans), expected, 1e-3) << count;
  }
}

TEST(KernelTest, AddCenteredAddsToEachValue) {
  for (const std::size_t count : kSizes) {
    const auto values = pixels(count);
    auto out = floats(count, 1.0f);
    const auto before = out;
    add_centered(values, 0.5f, kMeans, out);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(out[i], before[i] + 0.5f * (static_cast<float>(values[i]) - kMeans[i % 3]));
    }
  }
}

TEST(KernelTest, AddPixelsAddsToEachSum) {
  for (const std::size_t count : kSizes) {
    const auto values = pixels(count);
    std::vector<std::uint32_t> sums(count, 70000);
    add_pixels(values, sums);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(sums[i], 70000u + values[i]);
  }
}

TEST(KernelTest, AddScaledAddsToEachValue) {
  for (const std::size_t count : kSizes) {
    const auto values = floats(count, 3.0f);
    auto out = floats(count, 1.0f);
    const auto before = out;
    add_scaled(values, 0.25f, out);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(out[i], before[i] + 0.25f * values[i]);
  }
}

TEST(ParametersTest, UpdatesInKerassForm) {
  for (const std::size_t count : kSizes) {
    Parameters parameters;
    parameters.allocate({{.name = "w", .shape = {std::int64_t(count)}}}, 0.25f);
    std::ranges::fill(parameters.values(), 10.0f);
    std::ranges::fill(parameters.gradients(), 2.0f);
    parameters.update({.learning_rate = 0.5f});  // v = -1
    EXPECT_EQ(parameters.values().back(), 9.0f);
    parameters.update({.learning_rate = 1.0f});  // v = -0.25 - 2
    for (const float value : parameters.values()) EXPECT_EQ(value, 6.75f);
  }
}

TEST(ParametersTest, GlorotsBoundsHoldAndAreFilled) {
  std::vector<float> weights(3000);
  fill_glorot_uniform(weights, 2, 4, 7, 0);
  const auto [lowest, highest] = std::ranges::minmax(weights);
  EXPECT_GE(lowest, -1.0f);
  EXPECT_LT(lowest, -0.99f);
  EXPECT_LT(highest, 1.0f);
  EXPECT_GT(highest, 0.99f);
  double sum = 0;
  for (const float weight : weights) sum += double(weight);
  EXPECT_NEAR(sum / 3000, 0.0, 0.05);
}

TEST(ParametersTest, SeedAndTensorDecideTheWeights) {
  const auto fill = [](std::uint64_t seed, std::uint32_t tensor) {
    std::vector<float> weights(8);
    fill_glorot_uniform(weights, 1, 1, seed, tensor);
    return weights;
  };
  EXPECT_EQ(fill(1, 0), fill(1, 0));
  EXPECT_NE(fill(1, 0), fill(2, 0));
  EXPECT_NE(fill(1, 0), fill(1, 1));
  EXPECT_NE(fill(1, 0), fill(1 + (std::uint64_t{1} << 32), 0));
}

struct SampleResult {
  StepSums sums;
  std::vector<float> gradient;
};

SampleResult train_sample(std::vector<float> logits, std::int32_t label, float scale = 1) {
  SampleResult result;
  add_sample_with_gradient(logits, label, scale, result.sums);
  result.gradient = logits;
  return result;
}

TEST(SoftmaxTest, LossAndGradientOfAKnownSample) {
  // exp of the logits: 1, 2, 5, so probabilities are 1/8, 2/8, 5/8.
  const auto result = train_sample({0.0f, std::log(2.0f), std::log(5.0f)}, 1, 0.5f);
  EXPECT_NEAR(result.sums.loss, std::log(4.0), 1e-6);
  EXPECT_EQ(result.sums.correct, 0);
  EXPECT_EQ(result.sums.samples, 1);
  EXPECT_NEAR(result.gradient[0], 0.5 * 0.125, 1e-6);
  EXPECT_NEAR(result.gradient[1], 0.5 * (0.25 - 1), 1e-6);
  EXPECT_NEAR(result.gradient[2], 0.5 * 0.625, 1e-6);
}

TEST(SoftmaxTest, HugeLogitsStayFinite) {
  const auto right = train_sample({1e30f, -1e30f}, 0);
  EXPECT_EQ(right.sums.loss, 0);
  EXPECT_EQ(right.gradient, (std::vector<float>{0, 0}));
  const auto wrong = train_sample({1000.0f, 0.0f}, 1);
  EXPECT_NEAR(wrong.sums.loss, 1000.0, 1e-3);
  EXPECT_EQ(wrong.gradient, (std::vector<float>{1, -1}));
}

TEST(SoftmaxTest, ForwardAloneSaysTheSame) {
  const std::vector<float> logits = {0.5f, -3.0f, 2.25f, 2.0f};
  for (std::int32_t label = 0; label < 4; ++label) {
    StepSums sums;
    add_sample(logits, label, sums);
    EXPECT_EQ(sums.loss, train_sample(logits, label).sums.loss);
    EXPECT_EQ(sums.correct, label == 2 ? 1 : 0);
    EXPECT_EQ(train_sample(logits, label).sums.correct, sums.correct);
  }
}

TEST(SoftmaxTest, OfEqualLogitsTheFirstIsTheAnswer) {
  EXPECT_EQ(train_sample({2, 2, 1}, 0).sums.correct, 1);
  EXPECT_EQ(train_sample({2, 2, 1}, 1).sums.correct, 0);
}

TEST(SoftmaxTest, NothingIsCorrectOnceTrainingDiverged) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(train_sample({nan, nan}, 0).sums.correct, 0);
  EXPECT_EQ(train_sample({nan, 1}, 1).sums.correct, 0);
}

}  // namespace
}  // namespace slackline::nn
