#include <slackline/error.h>
#include <slackline/model.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model_probe.h"
#include "owned_batch.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing_support::difference_gradient;
using testing_support::gradients_of;
using testing_support::loss_of;
using testing_support::make_plugin;
using testing_support::OwnedBatch;
using testing_support::TestHost;

constexpr ImageShape kSmall{.height = 5, .width = 7, .channels = 3};
constexpr std::int32_t kClasses = 6;
constexpr std::size_t kBias = 5 * 7 * 3;  ///< the place of the hidden bias

/// Pixels without a pattern, the same in every run.
std::vector<std::uint8_t> noise(std::size_t count) {
  std::vector<std::uint8_t> pixels(count);
  std::uint32_t state = 1;
  for (auto& pixel : pixels) {
    state = state * 1664525u + 1013904223u;
    pixel = static_cast<std::uint8_t>(state >> 24);
  }
  return pixels;
}

class TrivialTest : public testing::Test {
 protected:
  std::unique_ptr<Model> build(const ModelSpec& spec) {
    auto model = make_plugin<Model>("trivial", {}, host_);
    model->build(spec);
    return model;
  }
  std::unique_ptr<Model> small(std::uint64_t seed = 1) {
    return build({kSmall, 4, kClasses, seed, {}});
  }

  TestHost host_;
  OwnedBatch batch_{kSmall, noise(3 * kSmall.size()), {0, 5, 2}};
};

TEST_F(TrivialTest, HasAsManyParametersAsUpstreams) {
  EXPECT_EQ(build({{224, 224, 3}, 1, 1001, 1, {}})->gradients().size(), 152531u);
}

TEST_F(TrivialTest, GradientsAreThoseOfTheLoss) {
  const auto model = small();
  const std::vector<float> gradients = gradients_of(*model, *batch_, 1);
  ASSERT_EQ(gradients.size(), kSmall.size() + 1 + 2 * kClasses);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    // A weight of a pixel moves the hidden value a hundred times as far as the bias does.
    const float step = i < kBias ? 1e-4f : 1e-2f;
    const double expected = difference_gradient(*model, *batch_, i, step);
    EXPECT_NEAR(static_cast<double>(gradients[i]), expected, 0.02 * std::abs(expected) + 0.02)
        << "parameter " << i;
  }
}

TEST_F(TrivialTest, GradientsAreDividedByTheGlobalBatchSize) {
  const auto model = small();
  const std::vector<float> whole = gradients_of(*model, *batch_, 1);
  const std::vector<float> eighth = gradients_of(*model, *batch_, 8);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_NEAR(eighth[i], whole[i] / 8, 1e-5f * std::abs(whole[i]) + 1e-6f);
  }
}

TEST_F(TrivialTest, PixelsEnterWithoutTheirChannelsMean) {
  const ImageShape pixel{.height = 1, .width = 1, .channels = 3};
  const auto model = build({pixel, 1, 2, 1, {}});
  OwnedBatch red{pixel, {200, 100, 0}, {0}};
  const std::vector<float> gradients = gradients_of(*model, *red, 1);
  const float of_hidden = gradients[3];
  ASSERT_NE(of_hidden, 0.0f);
  EXPECT_NEAR(gradients[0] / of_hidden, 200 - 123.68f, 1e-3f);
  EXPECT_NEAR(gradients[1] / of_hidden, 100 - 116.78f, 1e-3f);
  EXPECT_NEAR(gradients[2] / of_hidden, 0 - 103.94f, 1e-3f);
}

TEST_F(TrivialTest, TilesOfALargeImageAddUpToTheWhole) {
  // 23,241 values: five full tiles and a rest that is no whole block.
  const ImageShape large{.height = 61, .width = 127, .channels = 3};
  const auto model = build({large, 1, 2, 1, {}});
  OwnedBatch batch{large, noise(large.size()), {1}};
  const std::vector<float> gradients = gradients_of(*model, *batch, 1);
  constexpr float kMeans[3] = {123.68f, 116.78f, 103.94f};
  for (std::size_t i = 0; i < large.size(); ++i) {
    const float centered = static_cast<float>(batch.pixels()[i]) - kMeans[i % 3];
    ASSERT_FLOAT_EQ(gradients[i], gradients[large.size()] * centered) << "pixel value " << i;
  }
}

TEST_F(TrivialTest, SumsAreOverTheBatch) {
  const auto model = small();
  StepSums trained, evaluated;
  model->forward_backward(*batch_, 3, trained);
  model->evaluate(*batch_, evaluated);
  EXPECT_EQ(trained.samples, 3);
  EXPECT_EQ(evaluated.samples, 3);
  EXPECT_DOUBLE_EQ(trained.loss, evaluated.loss);
  EXPECT_EQ(trained.correct, evaluated.correct);
}

TEST_F(TrivialTest, TheSeedDecidesTheParameters) {
  const double first = loss_of(*small(1), *batch_);
  EXPECT_EQ(loss_of(*small(1), *batch_), first);
  EXPECT_NE(loss_of(*small(2), *batch_), first);
}

TEST_F(TrivialTest, TrainingLowersTheLoss) {
  const auto model = small();
  const double before = loss_of(*model, *batch_);
  StepSums sums;
  for (int i = 0; i < 20; ++i) {
    model->forward_backward(*batch_, 3, sums);
    model->update({.learning_rate = 1e-6f});
  }
  EXPECT_LT(loss_of(*model, *batch_), before);
}

TEST_F(TrivialTest, ALabelOutsideTheClassesIsNamedWithItsPlace) {
  const auto model = small();
  OwnedBatch batch{kSmall, noise(2 * kSmall.size()), {0, 6}};
  batch->epoch = 1;
  batch->index = 40;
  StepSums sums;
  try {
    model->forward_backward(*batch, 2, sums);
    FAIL() << "accepted label 6";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(),
                 "epoch 1, batch 40, sample 1: label 6 is not in 0..5 (num_classes is 6)");
  }
}

TEST_F(TrivialTest, RefusesAGpu) {
  try {
    build({kSmall, 1, 2, 1, {DeviceKind::kCuda, 3, nullptr}});
    FAIL() << "accepted a GPU";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "model trivial: device 3 is a GPU, and this model computes on the CPU only");
  }
}

TEST_F(TrivialTest, RefusesImagesThatAreNotRgb) {
  EXPECT_THROW(build({{4, 4, 1}, 1, 2, 1, {}}), ConfigError);
}

}  // namespace
}  // namespace slackline
