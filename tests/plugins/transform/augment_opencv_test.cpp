// Augmentation in place: each change does what it says, and only when asked.

#include <slackline/error.h>
#include <slackline/transform.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test_host.h"

namespace slackline {
namespace {

using namespace testing_support;
using Picture = std::vector<std::uint8_t>;

constexpr ImageShape kShape{32, 40, 3};

class AugmentTest : public ::testing::Test {
 protected:
  void open(const OptionArguments& options, const ImageShape& shape = kShape) {
    transform_ = make_plugin<Transform>("augment_opencv", options, host_);
    transform_->prepare(shape);
  }

  Picture apply(Picture picture, const SampleKey& sample = {}, std::uint32_t op = 1) {
    SampleSlot slot{picture, kShape, 17};
    scratch_.reset();
    TransformContext context{sample, op, scratch_};
    transform_->apply({}, slot, context);
    EXPECT_EQ(slot.label, 17);
    return picture;
  }

  static Picture painted(const std::array<int, 3>& color) {
    Picture picture;
    for (int i = 0; i < kShape.height * kShape.width; ++i) {
      for (const int value : color) picture.push_back(static_cast<std::uint8_t>(value));
    }
    return picture;
  }

  /// Every place different.
  static Picture gradient() {
    Picture picture;
    for (int y = 0; y < kShape.height; ++y) {
      for (int x = 0; x < kShape.width; ++x) {
        picture.push_back(static_cast<std::uint8_t>(40 + 3 * x));
        picture.push_back(static_cast<std::uint8_t>(60 + 2 * y));
        picture.push_back(static_cast<std::uint8_t>(90 + x + y));
      }
    }
    return picture;
  }

  static std::array<int, 3> pixel(const Picture& picture, int y, int x) {
    const auto at = static_cast<std::size_t>((y * kShape.width + x) * 3);
    return {picture[at], picture[at + 1], picture[at + 2]};
  }

  static int span_of(const Picture& picture) {
    const auto [low, high] = std::minmax_element(picture.begin(), picture.end());
    return *high - *low;
  }

  TestHost host_;
  std::unique_ptr<Transform> transform_;
  Scratch scratch_;
};

TEST_F(AugmentTest, ChangesNothingUnlessAsked) {
  open({});
  EXPECT_EQ(apply(gradient()), gradient());
}

TEST_F(AugmentTest, WorksInPlaceBehindATransformThatDecodes) {
  open({});
  EXPECT_TRUE(transform_->decodes().empty());
}

TEST_F(AugmentTest, EachProbabilityIsItsOwn) {
  for (const char* name :
       {"color_probability", "blur_probability", "rotation_probability", "erasing_probability"}) {
    open({{name, 1.0}, {"blur_sigma", std::vector<double>{2.0, 2.0}}});
    EXPECT_NE(apply(gradient()), gradient()) << name;
  }
}

TEST_F(AugmentTest, AProbabilityIsTheShareOfSamplesThatChange) {
  open({{"rotation_probability", 0.25}});
  int changed = 0;
  for (std::uint64_t id = 0; id < 1000; ++id) {
    changed += apply(gradient(), {.sample_id = id}) != gradient();
  }
  EXPECT_NEAR(changed, 250, 70);  // five standard deviations
}

TEST_F(AugmentTest, BrightnessMultipliesAllChannels) {
  open({{"color_probability", 1.0}, {"brightness", 0.5}, {"contrast", 0.0}, {"saturation", 0.0}});
  std::set<int> seen;
  for (std::uint64_t id = 0; id < 50; ++id) {
    const auto color = pixel(apply(painted({100, 50, 20}), {.sample_id = id}), 3, 3);
    EXPECT_NEAR(color[1], color[0] * 0.5, 1.5);
    EXPECT_NEAR(color[2], color[0] * 0.2, 1.5);
    EXPECT_GE(color[0], 50);
    EXPECT_LE(color[0], 150);
    seen.insert(color[0]);
  }
  EXPECT_GT(seen.size(), 20u);
}

TEST_F(AugmentTest, ContrastStretchesAboutTheMeanGrey) {
  open({{"color_probability", 1.0}, {"brightness", 0.0}, {"contrast", 0.9}, {"saturation", 0.0}});
  Picture grey = painted({120, 120, 120});
  EXPECT_EQ(apply(grey), grey);
  std::fill(grey.begin(), grey.begin() + 1920, std::uint8_t{100});
  std::set<int> spans;
  for (std::uint64_t id = 0; id < 20; ++id) spans.insert(span_of(apply(grey, {.sample_id = id})));
  EXPECT_LT(*spans.begin(), 10);
  EXPECT_GT(*spans.rbegin(), 30);
}

TEST_F(AugmentTest, SaturationKeepsGreyAndMovesColours) {
  open({{"color_probability", 1.0}, {"brightness", 0.0}, {"contrast", 0.0}, {"saturation", 1.0}});
  EXPECT_EQ(apply(painted({90, 90, 90})), painted({90, 90, 90}));
  EXPECT_NE(apply(painted({150, 90, 30})), painted({150, 90, 30}));
}

TEST_F(AugmentTest, HueKeepsGreyAndTurnsColours) {
  open({{"color_probability", 1.0},
        {"brightness", 0.0},
        {"contrast", 0.0},
        {"saturation", 0.0},
        {"hue", 0.5}});
  EXPECT_EQ(apply(painted({90, 90, 90})), painted({90, 90, 90}));
  bool red_lost = false;
  for (std::uint64_t id = 0; id < 20; ++id) {
    const auto color = pixel(apply(painted({200, 50, 50}), {.sample_id = id}), 0, 0);
    EXPECT_NEAR(*std::max_element(color.begin(), color.end()), 200, 3);
    EXPECT_NEAR(*std::min_element(color.begin(), color.end()), 50, 3);
    red_lost = red_lost || color[0] < 100;
  }
  EXPECT_TRUE(red_lost);
}

TEST_F(AugmentTest, BlurSpreadsAPointAndKeepsItsSum) {
  open({{"blur_probability", 1.0}, {"blur_sigma", std::vector<double>{1.0, 1.0}}});
  Picture picture = painted({0, 0, 0});
  const auto middle = static_cast<std::size_t>((16 * kShape.width + 20) * 3);
  picture[middle] = 250;
  const Picture blurred = apply(picture);
  EXPECT_NEAR(blurred[middle], 250 * 0.159, 4);  // 1 / (2 pi sigma^2)
  EXPECT_NEAR(std::accumulate(blurred.begin(), blurred.end(), 0), 250, 25);
}

TEST_F(AugmentTest, AHalfTurnBringsTheLastPixelToTheFirst) {
  open({{"rotation_probability", 1.0}, {"rotation", std::vector<double>{180.0, 180.0}}});
  const Picture turned = apply(gradient());
  EXPECT_EQ(pixel(turned, 0, 0), pixel(gradient(), 31, 39));
  EXPECT_EQ(pixel(turned, 10, 5), pixel(gradient(), 21, 34));
}

TEST_F(AugmentTest, WhatTurnsInFromOutsideIsMirrored) {
  open({{"rotation_probability", 1.0}, {"rotation", std::vector<double>{45.0, 45.0}}});
  EXPECT_EQ(apply(painted({10, 20, 30})), painted({10, 20, 30}));
}

TEST_F(AugmentTest, ErasingPaintsOneRectangleOfTheAskedSizeAndColour) {
  open({{"erasing_probability", 1.0},
        {"erasing_area", std::vector<double>{0.1, 0.1}},
        {"erasing_aspect_ratio", std::vector<double>{1.0, 1.0}},
        {"erasing_color", std::vector<double>{1, 2, 3}}});
  std::set<int> places;
  for (std::uint64_t id = 0; id < 20; ++id) {
    const Picture erased = apply(painted({200, 200, 200}), {.sample_id = id});
    int count = 0, first = -1, last = -1;
    for (int i = 0; i < kShape.height * kShape.width; ++i) {
      if (pixel(erased, 0, i) == std::array<int, 3>{1, 2, 3}) {
        ++count;
        if (first < 0) first = i;
        last = i;
      } else {
        EXPECT_EQ(pixel(erased, 0, i), (std::array<int, 3>{200, 200, 200}));
      }
    }
    EXPECT_EQ(count, 11 * 11);  // sqrt(0.1 * 32 * 40) = 11.3
    EXPECT_EQ(last - first, 10 * kShape.width + 10);
    places.insert(first);
  }
  EXPECT_GT(places.size(), 10u);
}

TEST_F(AugmentTest, OneChangeDoesNotAlterTheOthersDraws) {
  open({{"rotation_probability", 1.0}});
  const Picture turned = apply(gradient());
  open({{"rotation_probability", 1.0},
        {"color_probability", 1.0},
        {"brightness", 0.0},
        {"contrast", 0.0},
        {"saturation", 0.0}});
  EXPECT_EQ(apply(gradient()), turned);
}

TEST_F(AugmentTest, DependsOnSeedEpochSampleAndPlaceInTheListAndOnNothingElse) {
  open({{"color_probability", 1.0}, {"rotation_probability", 1.0}, {"erasing_probability", 1.0}});
  const SampleKey sample{.seed = 1, .sample_id = 2, .epoch = 3};
  const Picture first = apply(gradient(), sample);
  EXPECT_NE(apply(gradient(), {.seed = 9, .sample_id = 2, .epoch = 3}), first);
  EXPECT_NE(apply(gradient(), {.seed = 1, .sample_id = 9, .epoch = 3}), first);
  EXPECT_NE(apply(gradient(), {.seed = 1, .sample_id = 2, .epoch = 9}), first);
  EXPECT_NE(apply(gradient(), sample, 2), first);
  open({{"color_probability", 1.0}, {"rotation_probability", 1.0}, {"erasing_probability", 1.0}});
  EXPECT_EQ(apply(gradient(), sample), first);
}

TEST_F(AugmentTest, SamplesWithoutThreeChannelsAreAConfigurationError) {
  try {
    open({}, {32, 32, 1});
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "images have 1 channels, but colours need 3 (red, green, blue)");
  }
}

TEST_F(AugmentTest, ARangeTheWrongWayRoundIsAConfigurationError) {
  try {
    open({{"rotation", std::vector<double>{15, -15}}});
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.option(), "rotation");
  }
}

}  // namespace
}  // namespace slackline
