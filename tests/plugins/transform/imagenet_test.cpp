// The two ImageNet transforms, as a user meets them.

#include <slackline/error.h>
#include <slackline/transform.h>

#include <algorithm>
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collect.h"
#include "example_writer.h"
#include "golden.h"
#include "make_jpeg.h"
#include "test_host.h"

namespace slackline {
namespace {

using namespace testing_support;
using imagenet::Pixels;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr ImageShape kShape{224, 224, 3};

class ImagenetTransformTest : public ::testing::TestWithParam<const char*> {
 protected:
  void open(const OptionArguments& options, const ImageShape& shape = kShape) {
    transform_ = make_plugin<Transform>(GetParam(), options, host_);
    transform_->prepare(shape);
    shape_ = shape;
  }

  /// A sample's pixels; its label is left in label_.
  std::vector<std::uint8_t> apply(const std::string& bytes, std::int32_t label = -1,
                                  const SampleKey& sample = {}, std::uint32_t op = 0) {
    std::vector<std::uint8_t> pixels(shape_.size(), 0x5A);
    SampleSlot slot{pixels, shape_, -1};
    Record record;
    record.bytes = bytes_of(bytes);
    record.format = format_;
    record.label = label;
    record.id = sample.sample_id;
    scratch_.reset();
    TransformContext context{sample, op, scratch_};
    transform_->apply(record, slot, context);
    label_ = slot.label;
    return pixels;
  }

  /// "key: reason" of the DataError, or "applied".
  std::string outcome(const std::string& bytes, std::int32_t label = -1) {
    try {
      (void)apply(bytes, label);
      return "applied";
    } catch (const DataError& error) {
      return error.key() + ": " + error.what();
    }
  }

  static std::string example(const std::string& image, std::int64_t label = 7) {
    return ExampleWriter()
        .bytes("image/encoded", image)
        .number("image/class/label", label)
        .serialized();
  }

  RecordFormat format_ = RecordFormat::kTfExample;
  TestHost host_;
  std::unique_ptr<Transform> transform_;
  ImageShape shape_;
  Scratch scratch_;
  std::int32_t label_ = -1;
};

INSTANTIATE_TEST_SUITE_P(Both, ImagenetTransformTest,
                         ::testing::Values("imagenet_turbojpeg", "imagenet_opencv"),
                         [](const auto& name) { return std::string(name.param); });

TEST_P(ImagenetTransformTest, EvaluationSamplesAreTensorFlows) {
  const auto cases = golden_cases("eval");
  ASSERT_EQ(cases.size(), 16u);
  for (const json& item : cases) {
    const std::string pixels = item["params"]["pixels"];
    open({{"mode", "eval"}, {"pixels", pixels}});
    const auto mine = apply(example(read_golden(item["input"])));
    EXPECT_LE(largest_difference(read_npy(item["output"]), item["stride"], mine, 224, kMeans),
              item["tolerance_uint8"].get<double>())
        << item["name"];
    EXPECT_EQ(label_, 6);
  }
}

// The golden training cases give windows, not random words; golden_test.cpp runs them through
// the library. Here the plugin must do what the library does for the window that it draws.
TEST_P(ImagenetTransformTest, TrainingSamplesAreTheLibrarysForTheDrawnCropAndFlip) {
  const std::string file = read_golden("inputs/imagenet_500x375.jpg");
  const std::string record = ExampleWriter()
                                 .bytes("image/encoded", file)
                                 .number("image/class/label", 1)
                                 .box(0.5f, 0.6f, 0.9f, 0.8f)
                                 .serialized();
  const std::vector<imagenet::Box> boxes{{0.5f, 0.6f, 0.9f, 0.8f}};
  int flips = 0;
  for (const Pixels pixels : {Pixels::kTf, Pixels::kAccurate}) {
    open({{"pixels", pixels == Pixels::kTf ? "tf" : "accurate"}});
    for (std::uint64_t id = 0; id < 12; ++id) {
      const SampleKey sample{.seed = 5, .sample_id = id, .epoch = 2};
      const auto mine = apply(record, -1, sample, 3);

      Scratch scratch;
      imagenet::ImageReader image(
          bytes_of(file),
          {.dct = pixels == Pixels::kTf ? imagenet::Dct::kFast : imagenet::Dct::kAccurate},
          scratch);
      Philox words = random_words(sample, 3);
      const auto window = imagenet::sample_crop(375, 500, boxes, imagenet::CropLimits{}, words);
      const bool flip = uniform_float(words) < 0.5f;
      flips += flip;
      const auto exact =
          render<float>(image, imagenet::train_recipe(window, flip, kShape, pixels), scratch);
      double largest = 0;
      for (std::size_t i = 0; i < mine.size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(exact[i]) - mine[i]));
      }
      EXPECT_LE(largest, 0.5001) << id;
    }
  }
  EXPECT_GT(flips, 0);
  EXPECT_LT(flips, 24);
}

TEST_P(ImagenetTransformTest, TheGoldenWindowsPassThroughThePluginToo) {
  // A crop of the whole image is the one window that options can force: area 1 at its own ratio.
  int compared = 0;
  for (const json& item : golden_cases("train")) {
    const json& window = item["params"]["window_yxhw"];
    const std::string file = read_golden(item["input"]);
    const Decoded whole = decode(bytes_of(file));
    if (window[2] != whole.height || window[3] != whole.width) continue;
    const double ratio = static_cast<double>(whole.width) / whole.height;
    open({{"pixels", item["params"]["pixels"].get<std::string>()},
          {"aspect_ratio", std::vector<double>{ratio, ratio}},
          {"area", std::vector<double>{1.0, 1.0}},
          {"flip_probability", item["params"]["flip"].get<bool>() ? 1.0 : 0.0}});
    const auto mine = apply(example(file));
    EXPECT_LE(largest_difference(read_npy(item["output"]), item["stride"], mine, 224, kMeans),
              item["tolerance_uint8"].get<double>())
        << item["name"];
    ++compared;
  }
  EXPECT_GT(compared, 3);
}

TEST_P(ImagenetTransformTest, DependsOnSeedEpochSampleAndPlaceInTheListAndOnNothingElse) {
  open({});
  const std::string record = example(make_jpeg());
  const SampleKey sample{.seed = 1, .sample_id = 2, .epoch = 3};
  const auto first = apply(record, -1, sample, 0);
  EXPECT_NE(apply(record, -1, {.seed = 9, .sample_id = 2, .epoch = 3}, 0), first);
  EXPECT_NE(apply(record, -1, {.seed = 1, .sample_id = 9, .epoch = 3}, 0), first);
  EXPECT_NE(apply(record, -1, {.seed = 1, .sample_id = 2, .epoch = 9}, 0), first);
  EXPECT_NE(apply(record, -1, sample, 1), first);
  EXPECT_EQ(apply(record, -1, sample, 0), first);
}

TEST_P(ImagenetTransformTest, LabelsOfExamplesCountFromOne) {
  open({{"mode", "eval"}});
  (void)apply(example(make_jpeg(), 1));
  EXPECT_EQ(label_, 0);
  (void)apply(example(make_jpeg(), 1000));
  EXPECT_EQ(label_, 999);
  (void)apply(example(make_jpeg(), 2147483647));
  EXPECT_EQ(label_, 2147483646);
}

TEST_P(ImagenetTransformTest, LabelsThatAreNoneAreRefused) {
  open({{"mode", "eval"}});
  EXPECT_EQ(outcome(example(make_jpeg(), 0)), "image/class/label: is 0, expected 1..2147483647");
  EXPECT_EQ(outcome(example(make_jpeg(), -1)), "image/class/label: is -1, expected 1..2147483647");
  EXPECT_EQ(outcome(example(make_jpeg(), 2147483648)),
            "image/class/label: is 2147483648, expected 1..2147483647");
  EXPECT_EQ(outcome(ExampleWriter().bytes("image/encoded", make_jpeg()).serialized()),
            "image/class/label: is missing");
}

TEST_P(ImagenetTransformTest, DamageIsNamedByItsKey) {
  open({});
  const std::string jpeg = make_jpeg();
  EXPECT_EQ(outcome(ExampleWriter().number("image/class/label", 1).serialized()),
            "image/encoded: image: no bytes, expected a JPEG or a PNG file");
  EXPECT_THAT(outcome(example(jpeg.substr(0, jpeg.size() / 2))),
              StartsWith("image/encoded: jpeg: "));
  EXPECT_EQ(outcome(ExampleWriter()
                        .bytes("image/encoded", jpeg)
                        .number("image/class/label", 1)
                        .box(0, 0, 1, 1.25f)
                        .serialized()),
            "image/object/bbox/xmax: box 0 is at 1.25, not in 0..1");
  EXPECT_EQ(outcome(ExampleWriter()
                        .bytes("image/encoded", jpeg)
                        .number("image/class/label", 1)
                        .floats("image/object/bbox/ymin", {0, 0.5f})
                        .floats("image/object/bbox/ymax", {1})
                        .serialized()),
            "image/object/bbox/xmin: has 0 values where image/object/bbox/ymin has 2");
}

TEST_P(ImagenetTransformTest, AnImageFileTakesItsLabelFromTheRecord) {
  open({{"mode", "eval"}});
  const std::string jpeg = make_jpeg();
  format_ = RecordFormat::kEncodedImage;
  const auto from_file = apply(jpeg, 42);
  EXPECT_EQ(label_, 42);
  EXPECT_THAT(outcome("GIF89a", 42), HasSubstr("is a GIF file, expected JPEG or PNG"));
  format_ = RecordFormat::kTfExample;
  EXPECT_EQ(from_file, apply(example(jpeg)));
}

TEST_P(ImagenetTransformTest, PixelsOfTheRightSizeArePassedThrough) {
  open({}, {4, 5, 3});
  std::string pixels;
  for (int i = 0; i < 60; ++i) pixels += static_cast<char>(i * 4);
  format_ = RecordFormat::kPixels;
  const auto mine = apply(pixels, 3);
  EXPECT_EQ(outcome(pixels.substr(1), 3), ": has 59 bytes of pixels, but an image of 4x5 has 60");
  EXPECT_TRUE(std::equal(mine.begin(), mine.end(), pixels.begin(),
                         [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); }));
  EXPECT_EQ(label_, 3);
}

TEST_P(ImagenetTransformTest, EverySizeOfSampleIsFilled) {
  const std::string record = example(make_jpeg());
  for (const ImageShape& shape :
       {ImageShape{1, 1, 3}, {3, 2, 3}, {2, 3, 3}, {31, 33, 3}, {64, 48, 3}, {300, 299, 3}}) {
    for (const char* mode : {"train", "eval"}) {
      open({{"mode", mode}}, shape);
      const auto mine = apply(record);
      // The picture's values are 40..239 and change everywhere.
      EXPECT_EQ(mine.size(), shape.size());
      EXPECT_LE(*std::max_element(mine.begin(), mine.end()), 245) << shape.height << mode;
      EXPECT_GE(*std::min_element(mine.begin(), mine.end()), 30) << shape.height << mode;
    }
  }
}

TEST_P(ImagenetTransformTest, GreyCmykProgressiveAndPngGoTheWholeWay) {
  for (const char* mode : {"train", "eval"}) {
    open({{"mode", mode}});
    EXPECT_EQ(outcome(example(make_jpeg({.in = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE}))),
              "applied");
    EXPECT_EQ(outcome(example(make_jpeg({.in = JCS_CMYK, .stored = JCS_CMYK}))), "applied");
    EXPECT_EQ(outcome(example(make_jpeg({.in = JCS_CMYK, .stored = JCS_YCCK}))), "applied");
    EXPECT_EQ(outcome(example(make_jpeg({.progressive = true}))), "applied");
    EXPECT_EQ(outcome(example(make_png(5, 7, PNG_FORMAT_RGB, std::vector<std::uint8_t>(105, 9)))),
              "applied");
  }
}

TEST_P(ImagenetTransformTest, LimitsAreOptions) {
  open({{"max_pixels", 3000}});
  EXPECT_EQ(outcome(example(make_jpeg())),
            "image/encoded: jpeg: 48x64 is 3072 pixels, more than max_pixels = 3000");
  open({{"max_scans", 2}});
  EXPECT_EQ(outcome(example(make_jpeg({.progressive = true}))),
            "image/encoded: jpeg: more than 2 scans");
}

TEST_P(ImagenetTransformTest, ARangeTheWrongWayRoundIsAConfigurationError) {
  try {
    open({{"area", std::vector<double>{0.9, 0.1}}});
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.option(), "area");
    EXPECT_STREQ(error.what(), "'area' is [0.9, 0.1], but the smaller number comes first");
  }
}

TEST_P(ImagenetTransformTest, SamplesWithoutThreeChannelsAreAConfigurationError) {
  EXPECT_THROW(open({}, {224, 224, 1}), ConfigError);
}

TEST_P(ImagenetTransformTest, ReadsAllThreeFormatsOfRecords) {
  open({});
  EXPECT_THAT(transform_->decodes(),
              ::testing::ElementsAre(RecordFormat::kTfExample, RecordFormat::kEncodedImage,
                                     RecordFormat::kPixels));
}

TEST_P(ImagenetTransformTest, TellsWhatOfItsTimeIsTheParseOfExamples) {
  open({});
  const std::string image = make_jpeg();
  format_ = RecordFormat::kEncodedImage;
  (void)apply(image, 0);
  EXPECT_FALSE(host_.reports.contains("parse")) << "there is no Example to take apart";
  format_ = RecordFormat::kTfExample;
  const auto begin = std::chrono::steady_clock::now();
  (void)apply(example(image));
  const std::chrono::duration<double, std::micro> elapsed =
      std::chrono::steady_clock::now() - begin;
  EXPECT_GT(host_.reports.at("parse"), 0);
  EXPECT_LT(host_.reports.at("parse"), elapsed.count()) << "a part of the whole";
}

}  // namespace
}  // namespace slackline
