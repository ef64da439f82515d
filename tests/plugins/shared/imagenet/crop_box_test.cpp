// The crop sampler against TensorFlow's: word for word, and as a distribution.

#include "imagenet/crop_box.h"

#include <slackline/error.h>

#include <algorithm>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "golden.h"

namespace slackline {
namespace {

using namespace testing_support;
using imagenet::Box;
using imagenet::CropLimits;
using imagenet::Window;
using nlohmann::json;

std::vector<Box> boxes_of(const json& yxyx) {
  std::vector<Box> boxes;
  for (const json& box : yxyx) {
    const auto number = [](const json& item) {
      return item.is_string() ? std::nanf("") : item.get<float>();
    };
    boxes.push_back({number(box[0]), number(box[1]), number(box[2]), number(box[3])});
  }
  return boxes;
}

/// Remembers the words that are drawn.
struct Recorder {
  Philox source;
  std::vector<std::uint32_t> words;
  std::uint32_t operator()() { return words.emplace_back(source()); }
};

TEST(CropBox, ReplaysTensorFlowsDrawsWordForWord) {
  const json golden = read_golden_json("boxes_replay.json");
  const std::uint32_t blocks_per_draw = golden["blocks_per_draw"];
  int draws = 0;
  for (const json& setting : golden["settings"]) {
    const auto boxes = boxes_of(setting["boxes_yxyx"]);
    imagenet::check_boxes(boxes);
    for (const json& draw : setting["draws"]) {
      const std::uint32_t block = draw["draw"].get<std::uint32_t>() * blocks_per_draw;
      Recorder words{Philox({golden["op_seed"], 0}, {block, 0, setting["seed2"], 0}), {}};
      const json& want = draw["box_yxhw"];
      const Window crop = imagenet::sample_crop(setting["image_hw"][0], setting["image_hw"][1],
                                                boxes, CropLimits{}, words);
      EXPECT_EQ(crop, (Window{want[0], want[1], want[2], want[3]}))
          << setting["name"] << " draw " << draw["draw"];
      if (draw.contains("words")) {
        EXPECT_EQ(words.words, draw["words"].get<std::vector<std::uint32_t>>())
            << setting["name"] << " draw " << draw["draw"];
      }
      ++draws;
    }
  }
  EXPECT_EQ(draws, 336);
}

TEST(CropBox, CoordinatesOutsideTheImageAreRefusedAsByTensorFlow) {
  int refused = 0;
  const json golden = read_golden_json("boxes_replay.json");
  for (const json& setting : golden["errors"]) {
    const auto boxes = boxes_of(setting["boxes_yxyx"]);
    if (setting["error"].is_null()) {
      EXPECT_NO_THROW(imagenet::check_boxes(boxes)) << setting["name"];
    } else {
      EXPECT_THROW(imagenet::check_boxes(boxes), DataError) << setting["name"];
      ++refused;
    }
  }
  EXPECT_EQ(refused, 4);
}

TEST(CropBox, ABadCoordinateIsNamedWithItsBoxAndValue) {
  const std::vector<Box> boxes{{0, 0, 1, 1}, {0, 0, 1, 1.5f}};
  try {
    imagenet::check_boxes(boxes);
    FAIL() << "accepted";
  } catch (const DataError& error) {
    EXPECT_EQ(error.key(), "image/object/bbox/xmax");
    EXPECT_STREQ(error.what(), "box 1 is at 1.5, not in 0..1");
  }
}

TEST(CropBox, IsDistributedAsTensorFlows) {
  const json golden = read_golden_json("boxes.json");
  const int count = golden["own_draws"];
  const double tolerance = golden["ks_tolerance"];
  ASSERT_EQ(golden["settings"].size(), 5u);
  for (const json& setting : golden["settings"]) {
    const int height = setting["image_hw"][0];
    const int width = setting["image_hw"][1];
    const auto boxes = boxes_of(setting["boxes_yxyx"]);
    std::map<std::string, std::vector<double>> values;
    int whole = 0;
    for (int i = 0; i < count; ++i) {
      Philox words = random_words({.seed = 7, .sample_id = static_cast<std::uint64_t>(i)}, 0);
      const Window crop = imagenet::sample_crop(height, width, boxes, CropLimits{}, words);
      whole += crop == Window{0, 0, height, width};
      values["height"].push_back(crop.height);
      values["width"].push_back(crop.width);
      values["y"].push_back(crop.y);
      values["x"].push_back(crop.x);
      values["area_fraction"].push_back(static_cast<double>(crop.height) * crop.width /
                                        (static_cast<double>(height) * width));
      values["aspect_ratio"].push_back(static_cast<double>(crop.width) / crop.height);
    }
    EXPECT_NEAR(static_cast<double>(whole) / count, setting["whole_image_share"].get<double>(),
                tolerance);
    for (const auto& [quantity, statistics] : setting["statistics"].items()) {
      auto& own = values.at(quantity);
      std::sort(own.begin(), own.end());
      for (std::size_t i = 0; i < statistics["quantiles"].size(); ++i) {
        const double quantile = statistics["quantiles"][i];
        const double slack = 1e-9 * std::max(1.0, std::abs(quantile));
        const auto share_to = [&](double limit) {
          return static_cast<double>(std::lower_bound(own.begin(), own.end(), limit) -
                                     own.begin()) /
                 count;
        };
        EXPECT_NEAR(share_to(quantile + slack), statistics["share_at_or_below"][i].get<double>(),
                    tolerance)
            << setting["name"] << " " << quantity << " at " << quantile;
        EXPECT_NEAR(share_to(quantile - slack), statistics["share_below"][i].get<double>(),
                    tolerance)
            << setting["name"] << " " << quantity << " below " << quantile;
      }
    }
  }
}

TEST(CropBox, BoxesAreCutDownToWholePixelsNotRounded) {
  // Rows 50.0 to 50.9 of 100 are none; rounded they would be one, which most crops contain.
  const std::vector<Box> thin{{0.5f, 0.2f, 0.509f, 0.8f}};
  Philox words = random_words({}, 0);
  EXPECT_EQ(imagenet::sample_crop(100, 100, thin, {}, words), (Window{0, 0, 100, 100}));
}

TEST(CropBox, WithoutAnAcceptableCropTheWholeImageIsTaken) {
  const std::vector<Box> below_one_pixel{{0.5f, 0.5f, 0.501f, 0.501f}};
  Philox words = random_words({}, 0);
  EXPECT_EQ(imagenet::sample_crop(375, 500, below_one_pixel, {}, words), (Window{0, 0, 375, 500}));
}

}  // namespace
}  // namespace slackline
