#include <slackline/error.h>
#include <slackline/model.h>

#include <algorithm>
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
using testing_support::move_parameter;
using testing_support::OptionArguments;
using testing_support::OwnedBatch;
using testing_support::TestHost;

using Grid = std::vector<double>;

class LinearTest : public testing::Test {
 protected:
  std::unique_ptr<Model> build(const Grid& grid, const ModelSpec& spec) {
    auto model = make_plugin<Model>("linear", {{"grid", grid}}, host_);
    model->build(spec);
    return model;
  }

  /// The features of one image as the model sees them: with one sample and two classes that are
  /// equally likely, the gradient by a weight of the wrong class is half the feature.
  std::vector<float> features(const Grid& grid, ImageShape shape,
                              const std::vector<std::uint8_t>& pixels) {
    const auto model = build(grid, {shape, 1, 2, 1, {}});
    OwnedBatch batch{shape, pixels, {0}};
    const std::vector<float> gradients = gradients_of(*model, *batch, 1);
    std::vector<float> found;
    for (std::size_t i = 1; i + 2 < gradients.size(); i += 2) found.push_back(2 * gradients[i]);
    return found;
  }

  TestHost host_;
};

TEST_F(LinearTest, HasAWeightForEachFeatureAndClassAndABiasForEachClass) {
  EXPECT_EQ(build({8, 8}, {{224, 224, 3}, 1, 10, 1, {}})->gradients().size(), 1930u);
}

TEST_F(LinearTest, TheGridIsEightByEightUnlessSaidOtherwise) {
  auto model = make_plugin<Model>("linear", {}, host_);
  model->build({{8, 8, 3}, 1, 10, 1, {}});
  EXPECT_EQ(model->gradients().size(), 1930u);
}

TEST_F(LinearTest, AFeatureIsTheMeanOfACellFromMinusOneToOne) {
  const std::vector<std::uint8_t> pixels = {
      0, 255, 10, 0, 255, 30,  // the upper row: left, right
      0, 0,   20, 0, 0,   40,
  };
  const auto found = features({1, 1}, {2, 2, 3}, pixels);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_FLOAT_EQ(found[0], -1);
  EXPECT_FLOAT_EQ(found[1], 0);
  EXPECT_FLOAT_EQ(found[2], (25 - 127.5f) / 127.5f);
}

TEST_F(LinearTest, CellsAreAsEvenAsPossibleAndCoverEveryPixelOnce) {
  // Five columns in two cells: two and three. The red value of a pixel is its column times ten.
  std::vector<std::uint8_t> pixels;
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 5; ++column) {
      pixels.insert(pixels.end(), {static_cast<std::uint8_t>(10 * column), 255, 255});
    }
  }
  const auto found = features({3, 2}, {3, 5, 3}, pixels);
  ASSERT_EQ(found.size(), 18u);
  for (std::size_t row = 0; row < 3; ++row) {
    EXPECT_FLOAT_EQ(found[6 * row], (5 - 127.5f) / 127.5f);
    EXPECT_FLOAT_EQ(found[6 * row + 3], (30 - 127.5f) / 127.5f);
  }
}

TEST_F(LinearTest, GradientsAreThoseOfTheLoss) {
  const ImageShape shape{4, 4, 3};
  const auto model = build({2, 2}, {shape, 3, 4, 1, {}});
  std::vector<std::uint8_t> pixels(3 * shape.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * 37);
  OwnedBatch batch{shape, pixels, {3, 0, 3}};
  // Away from the start, where all classes are alike.
  for (std::size_t i = 0; i < model->gradients().size(); ++i) {
    move_parameter(*model, i, 0.1f * static_cast<float>(i % 5));
  }
  const std::vector<float> gradients = gradients_of(*model, *batch, 1);
  ASSERT_EQ(gradients.size(), 52u);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const double expected = difference_gradient(*model, *batch, i, 1e-2f);
    EXPECT_NEAR(static_cast<double>(gradients[i]), expected, 2e-3) << "parameter " << i;
  }
  const std::vector<float> quarter = gradients_of(*model, *batch, 4);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    EXPECT_NEAR(quarter[i], gradients[i] / 4, 1e-6f);
  }
}

TEST_F(LinearTest, StartsUndecided) {
  const ImageShape shape{2, 2, 3};
  const auto model = build({1, 1}, {shape, 1, 10, 1, {}});
  OwnedBatch batch{shape, std::vector<std::uint8_t>(12, 77), {4}};
  EXPECT_NEAR(loss_of(*model, *batch), std::log(10.0), 1e-6);
}

/// Four classes, each with another quarter of the image lit.
class LinearToySetTest : public LinearTest {
 protected:
  static constexpr ImageShape kShape{6, 6, 3};

  LinearToySetTest() : set_(kShape, make_pixels(), {0, 1, 2, 3, 0, 1, 2, 3}) {}

  StepSums train(Model& model, int steps) {
    StepSums sums;
    for (int i = 0; i < steps; ++i) {
      model.forward_backward(*set_, 8, sums);
      model.update({.learning_rate = 0.5f});
    }
    model.evaluate(*set_, sums);
    return sums;
  }

  OwnedBatch set_;

 private:
  static std::vector<std::uint8_t> make_pixels() {
    std::vector<std::uint8_t> pixels;
    for (int sample = 0; sample < 8; ++sample) {
      for (int y = 0; y < 6; ++y) {
        for (int x = 0; x < 6; ++x) {
          const bool is_lit = (y / 3) * 2 + x / 3 == sample % 4;
          const int value = is_lit ? 200 - 10 * sample : 40 + 5 * sample;
          pixels.insert(pixels.end(), 3, static_cast<std::uint8_t>(value));
        }
      }
    }
    return pixels;
  }
};

TEST_F(LinearToySetTest, LearnsClassesThatCanBeSeparated) {
  const auto model = build({2, 2}, {kShape, 8, 4, 1, {}});
  const StepSums before = train(*model, 0);
  EXPECT_EQ(before.correct, 2);  // the first of equal classes
  const StepSums after = train(*model, 100);
  EXPECT_EQ(after.samples, 8);
  EXPECT_EQ(after.correct, 8);
  EXPECT_LT(after.loss, 0.1 * before.loss);
}

TEST_F(LinearToySetTest, TheSameBatchesGiveTheSameBits) {
  const auto one = build({2, 2}, {kShape, 8, 4, 1, {}});
  const auto other = build({2, 2}, {kShape, 8, 4, 1, {}});
  EXPECT_EQ(train(*one, 20).loss, train(*other, 20).loss);
  EXPECT_TRUE(std::ranges::equal(one->gradients(), other->gradients()));
}

TEST_F(LinearToySetTest, ABatchMayBeSmallerThanTheLargest) {
  const auto exact = build({2, 2}, {kShape, 8, 4, 1, {}});
  const auto roomy = build({2, 2}, {kShape, 64, 4, 1, {}});
  EXPECT_EQ(train(*exact, 5).loss, train(*roomy, 5).loss);
}

TEST_F(LinearToySetTest, ABatchThatIsLargerThanSaidIsRefused) {
  const auto model = build({2, 2}, {kShape, 7, 4, 1, {}});
  StepSums sums;
  try {
    model->evaluate(*set_, sums);
    FAIL() << "accepted 8 images";
  } catch (const PluginError& error) {
    EXPECT_STREQ(
        error.what(),
        "batch 0: 8 images of shape (6, 6, 3), 864 bytes and 8 labels; the model was built "
        "for at most 7 images of shape (6, 6, 3)");
  }
}

TEST_F(LinearToySetTest, ANegativeLabelIsNamedWithItsPlace) {
  const auto model = build({2, 2}, {kShape, 8, 4, 1, {}});
  OwnedBatch batch{kShape, std::vector<std::uint8_t>(kShape.size()), {-1}};
  StepSums sums;
  try {
    model->evaluate(*batch, sums);
    FAIL() << "accepted label -1";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(),
                 "epoch 0, batch 0, sample 0: label -1 is not in 0..3 (num_classes is 4)");
  }
}

TEST_F(LinearTest, AGridFinerThanTheImageIsRefused) {
  try {
    build({8, 9}, {{8, 8, 3}, 1, 2, 1, {}});
    FAIL() << "accepted a grid of 8 by 9";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.option(), "grid");
    EXPECT_STREQ(error.what(),
                 "[8, 9] is finer than the image of 8 by 8 pixels: a cell needs one pixel or more");
  }
}

TEST_F(LinearTest, RefusesAGpu) {
  EXPECT_THROW(build({1, 1}, {{4, 4, 3}, 1, 2, 1, {DeviceKind::kCuda, 0, nullptr}}), ConfigError);
}

}  // namespace
}  // namespace slackline
