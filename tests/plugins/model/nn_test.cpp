// What the CPU models share: each kernel against the plain loop that its comment states.

#include <slackline/error.h>
#include <slackline/model.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
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

TEST(ParametersTest, AreAStoreOfValuesVelocitiesAndGradientsByName) {
  Parameters parameters;
  parameters.allocate({{.name = "fc.weight", .shape = {2, 3}}, {.name = "fc.bias", .shape = {2}}},
                      0.9f);
  std::vector<std::string> seen;
  for (const TensorInfo& info : parameters.tensors()) {
    seen.push_back(text(info.name, " ", static_cast<int>(info.role), " ", info.size()));
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"fc.weight 0 6", "fc.bias 0 2",
                                            "momentum.fc.weight 2 6", "momentum.fc.bias 2 2",
                                            "gradient.fc.weight 3 6", "gradient.fc.bias 3 2"}));
  EXPECT_EQ(parameters.tensors()[2].shape, (std::vector<std::int64_t>{2, 3}));
}

TEST(ParametersTest, GiveBackToTheBitWhatWasWritten) {
  Parameters parameters;
  parameters.allocate({{.name = "a", .shape = {5}}, {.name = "b", .shape = {2, 4}}}, 0.5f);
  const std::span<const TensorInfo> tensors = parameters.tensors();
  std::vector<std::vector<float>> written;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    auto& values = written.emplace_back(floats(tensors[i].size(), 0.1f * float(i + 1)));
    values[0] = -0.0f;
    values[1] = std::numeric_limits<float>::denorm_min();
    parameters.write(i, values);
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    std::vector<float> values(tensors[i].size());
    parameters.read(i, values);
    EXPECT_EQ(values, written[i]) << tensors[i].name;
    EXPECT_TRUE(std::signbit(values[0])) << tensors[i].name;
  }
  // They are the arrays that the model trains: parameters, one behind the other.
  EXPECT_EQ(parameters.values().size(), 13u);
  EXPECT_EQ(parameters.values()[5 + 3], written[1][3]);
  EXPECT_EQ(parameters.gradients()[5 + 3], written[5][3]);
  parameters.update({.learning_rate = 2});
  EXPECT_EQ(parameters.values()[4], written[0][4] + (0.5f * written[2][4] - 2.0f * written[4][4]))
      << "v = momentum * v - rate * g, with the velocity that was written";
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

/// Whether the label is among the five highest, by both functions.
std::int64_t correct_top5(const std::vector<float>& logits, std::int32_t label) {
  StepSums sums;
  add_sample(logits, label, sums);
  EXPECT_EQ(train_sample(logits, label).sums.correct_top5, sums.correct_top5);
  EXPECT_GE(sums.correct_top5, sums.correct);
  return sums.correct_top5;
}

TEST(SoftmaxTest, TheFiveHighestAreTheTopFive) {
  const std::vector<float> logits = {3, 9, 1, 7, 5, 2, 8};  // places 4, 0, 6, 2, 3, 5, 1
  const std::vector<std::int64_t> expected = {1, 1, 0, 1, 1, 0, 1};
  for (std::int32_t label = 0; label < 7; ++label) {
    EXPECT_EQ(correct_top5(logits, label), expected[static_cast<std::size_t>(label)]) << label;
  }
}

TEST(SoftmaxTest, OfEqualLogitsTheFirstFiveAreTheTopFive) {
  const std::vector<float> equal(8, 0.5f);
  for (std::int32_t label = 0; label < 8; ++label) {
    EXPECT_EQ(correct_top5(equal, label), label < 5 ? 1 : 0) << label;
  }
  // Three above, and four share the two places left.
  const std::vector<float> shared = {1, 9, 1, 9, 1, 9, 1};
  EXPECT_EQ(correct_top5(shared, 0), 1);
  EXPECT_EQ(correct_top5(shared, 2), 1);
  EXPECT_EQ(correct_top5(shared, 4), 0);
  EXPECT_EQ(correct_top5(shared, 6), 0);
}

TEST(SoftmaxTest, OfFiveClassesOrFewerEachIsAmongTheTopFive) {
  for (std::size_t classes = 1; classes <= 5; ++classes) {
    for (std::size_t label = 0; label < classes; ++label) {
      std::vector<float> logits(classes, 1.0f);
      logits[label] = -1.0f;
      EXPECT_EQ(correct_top5(logits, static_cast<std::int32_t>(label)), 1);
    }
  }
}

TEST(SoftmaxTest, NorIsItAmongTheTopFiveOnceTrainingDiverged) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(correct_top5(std::vector<float>(10, nan), 0), 0);
  for (const std::size_t at : {0u, 5u, 9u}) {  // one is enough, wherever it is
    std::vector<float> logits(10, 0.0f);
    logits[5] = 1;
    logits[at] = nan;
    EXPECT_EQ(correct_top5(logits, 5), 0) << at;
  }
  EXPECT_EQ(correct_top5({nan, 1, 0}, 1), 0) << "not even among three classes";
}

TEST(SoftmaxTest, NothingIsCorrectOnceTrainingDiverged) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(train_sample({nan, nan}, 0).sums.correct, 0);
  EXPECT_EQ(train_sample({nan, 1}, 1).sums.correct, 0);
}

}  // namespace
}  // namespace slackline::nn
