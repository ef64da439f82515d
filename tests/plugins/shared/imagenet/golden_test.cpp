// Every tensor case of tests/golden/manifest.json, through the functions of the ImageNet library.

#include "golden.h"

#include <slackline/transform.h>

#include <gtest/gtest.h>

#include "collect.h"

namespace slackline {
namespace {

using namespace testing_support;
using imagenet::Dct;
using imagenet::Pixels;
using imagenet::Window;
using nlohmann::json;

Window window_of(const json& yxhw) { return {yxhw[0], yxhw[1], yxhw[2], yxhw[3]}; }

imagenet::DecodeOptions decode_options(const json& dct) {
  return {.dct = dct == "fast" ? Dct::kFast : Dct::kAccurate};
}

/// The file of a case, TensorFlow's output, and how far mine is from it.
struct Case {
  explicit Case(const json& item)
      : name(item["name"]),
        params(item["params"]),
        stride(item["stride"]),
        tolerance(item["tolerance"]),
        tolerance_uint8(item["tolerance_uint8"]),
        input(item["input"]),
        outputs{read_npy(item["output"])} {
    if (item.contains("alternative_output"))
      outputs.push_back(read_npy(item["alternative_output"]));
    width = item["whole_shape"][1];
  }

  template <class T>
  [[nodiscard]] double difference(const std::vector<T>& mine,
                                  const std::array<float, 3>& means = {}) const {
    double best = largest_difference(outputs[0], stride, mine, width, means);
    if (outputs.size() > 1) {
      best = std::min(best, largest_difference(outputs[1], stride, mine, width, means));
    }
    return best;
  }

  std::string name;
  json params;
  int stride;
  double tolerance;
  double tolerance_uint8;
  std::string input;
  std::vector<Tensor> outputs;
  int width = 0;
};

TEST(ImagenetGolden, WholeImagesDecodeToTensorFlowsBytes) {
  const auto cases = golden_cases("decode_jpeg");
  ASSERT_EQ(cases.size(), 28u);
  for (const json& item : cases) {
    const Case golden(item);
    const std::string file = read_golden(golden.input);
    const Decoded image = decode(bytes_of(file), decode_options(golden.params["dct"]));
    EXPECT_EQ(image.height, item["whole_shape"][0]) << golden.name;
    EXPECT_EQ(image.width, item["whole_shape"][1]) << golden.name;
    EXPECT_LE(golden.difference(image.pixels), golden.tolerance) << golden.name;
  }
}

TEST(ImagenetGolden, WindowsDecodeToTensorFlowsBytes) {
  const auto cases = golden_cases("decode_and_crop_jpeg");
  ASSERT_EQ(cases.size(), 97u);
  for (const json& item : cases) {
    const Case golden(item);
    const std::string file = read_golden(golden.input);
    const Decoded image = decode(bytes_of(file), window_of(golden.params["window_yxhw"]),
                                 decode_options(golden.params["dct"]));
    EXPECT_LE(golden.difference(image.pixels), golden.tolerance) << golden.name;
  }
}

void expect_resizes(const std::string& op, std::size_t count, imagenet::Sampling sampling) {
  const auto cases = golden_cases(op);
  ASSERT_EQ(cases.size(), count);
  for (const json& item : cases) {
    const Case golden(item);
    Decoded image;
    if (golden.params.contains("window_yxhw")) {
      const std::string file = read_golden(golden.input);
      image = decode(bytes_of(file), window_of(golden.params["window_yxhw"]));
    } else {
      const Tensor input = read_npy(golden.input);
      image = {input.height, input.width, {input.values.begin(), input.values.end()}};
    }
    const int height = golden.params["target_hw"][0];
    const int width = golden.params["target_hw"][1];
    const imagenet::Resize plan{
        {image.height, height, 0, height}, {image.width, width, 0, width}, sampling, false};
    EXPECT_EQ(golden.difference(resize<float>(image.pixels, plan)), 0) << golden.name;
    for (const auto& kernels : imagenet::resize_kernels::usable_kernels()) {
      EXPECT_LE(golden.difference(resize<std::uint8_t>(image.pixels, plan, &kernels)),
                golden.tolerance_uint8)
          << golden.name;
    }
  }
}

TEST(ImagenetGolden, LegacyResizesAreTensorFlowsToTheLastBit) {
  expect_resizes("resize_legacy", 18, imagenet::Sampling::kLegacy);
}

TEST(ImagenetGolden, HalfPixelResizesAreTensorFlowsToTheLastBit) {
  expect_resizes("resize_half_pixel", 13, imagenet::Sampling::kHalfPixel);
}

/// The recipe comes from `make_recipe(params, height, width, shape, pixels)`.
template <class MakeRecipe>
void expect_paths(const std::string& op, std::size_t count, const MakeRecipe& make_recipe) {
  const auto cases = golden_cases(op);
  ASSERT_EQ(cases.size(), count);
  for (const json& item : cases) {
    const Case golden(item);
    const std::string file = read_golden(golden.input);
    const Pixels pixels = golden.params["pixels"] == "tf" ? Pixels::kTf : Pixels::kAccurate;
    const ImageShape shape{golden.params["target_hw"][0], golden.params["target_hw"][1], 3};
    const imagenet::DecodeOptions options{.dct =
                                              pixels == Pixels::kTf ? Dct::kFast : Dct::kAccurate};
    const auto make = [&]<class T>(T) {
      Scratch scratch;
      imagenet::ImageReader image(bytes_of(file), options, scratch);
      return render<T>(
          image, make_recipe(golden.params, image.height(), image.width(), shape, pixels), scratch);
    };
    EXPECT_LE(golden.difference(make(float{}), kMeans), golden.tolerance) << golden.name;
    EXPECT_LE(golden.difference(make(std::uint8_t{}), kMeans), golden.tolerance_uint8)
        << golden.name;
  }
}

TEST(ImagenetGolden, TrainingSamplesAreTensorFlows) {
  expect_paths("train", 31,
               [](const json& params, int, int, const ImageShape& shape, Pixels pixels) {
                 return imagenet::train_recipe(window_of(params["window_yxhw"]), params["flip"],
                                               shape, pixels);
               });
}

TEST(ImagenetGolden, EvaluationSamplesAreTensorFlows) {
  expect_paths(
      "eval", 16,
      [](const json& params, int height, int width, const ImageShape& shape, Pixels pixels) {
        const auto recipe = imagenet::eval_recipe(height, width, shape, pixels);
        EXPECT_EQ(recipe.resize.rows.out, params["resized_hw"][0]);
        EXPECT_EQ(recipe.resize.columns.out, params["resized_hw"][1]);
        return recipe;
      });
}

}  // namespace
}  // namespace slackline
