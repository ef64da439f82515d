#include "imagenet/imagenet_transform.h"

#include <slackline/error.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace slackline::imagenet {
namespace {

constexpr std::array kFormats{RecordFormat::kTfExample, RecordFormat::kEncodedImage,
                              RecordFormat::kPixels};

/// libjpeg smooths chroma over one pixel to each side of a block of two: twice that is safe.
constexpr int kSmoothingColumns = 4;

Sampling sampling_of(Pixels pixels) {
  return pixels == Pixels::kTf ? Sampling::kLegacy : Sampling::kHalfPixel;
}

std::array<float, 2> to_floats(const std::array<double, 2>& range) {
  return {static_cast<float>(range[0]), static_cast<float>(range[1])};
}

void check_order(const char* option, const std::array<double, 2>& range) {
  if (range[0] <= range[1]) return;
  throw ConfigError(option, text("'", option, "' is [", range[0], ", ", range[1],
                                 "], but the smaller number comes first"));
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// ImageNet's labels count from 1; 0 is the background class, which no image has.
std::int32_t label_of(const ImagenetExample& example) {
  constexpr const char* kKey = "image/class/label";
  if (!example.label) throw DataError(kKey, "is missing");
  if (*example.label < 1 || *example.label > std::numeric_limits<std::int32_t>::max()) {
    throw DataError(kKey, text("is ", *example.label, ", expected 1..",
                               std::numeric_limits<std::int32_t>::max()));
  }
  return static_cast<std::int32_t>(*example.label - 1);
}

}  // namespace

OptionTable<Options> Options::table() {
  return {
      choice("mode", &Options::mode, {{"train", Mode::kTrain}, {"eval", Mode::kEval}},
             "train: random crop and flip; eval: the middle of the whole image"),
      choice("pixels", &Options::pixels, {{"tf", Pixels::kTf}, {"accurate", Pixels::kAccurate}},
             "tf: TensorFlow 1's numbers (fast DCT, legacy bilinear); accurate: accurate DCT and "
             "bilinear between pixel centres"),
      option("flip_probability", &Options::flip_probability,
             "how often a training image is mirrored")
          .range(0.0, 1.0),
      option("min_object_covered", &Options::min_object_covered,
             "share of at least one object's box that a crop must contain")
          .range(0.0, 1.0),
      option("aspect_ratio", &Options::aspect_ratio, "width / height of a crop, from and to")
          .range(0.01, 100.0),
      option("area", &Options::area, "area of a crop as a share of the image's, from and to")
          .range(0.0001, 1.0),
      option("max_attempts", &Options::max_attempts,
             "crops that are tried before the whole image is taken")
          .range(1, 10'000)
          .unit("attempts"),
      option("max_pixels", &Options::max_pixels,
             "larger images are refused before memory is taken for them")
          .range(std::int64_t{1}, std::int64_t{1} << 32)
          .unit("pixels"),
      option("max_scans", &Options::max_scans,
             "progressive JPEGs with more scans are refused: each costs as much as a whole image")
          .range(1, 100'000)
          .unit("scans"),
  };
}

Recipe train_recipe(const Window& window, bool flip, const ImageShape& shape, Pixels pixels) {
  return {.window = window,
          .resize = {.rows = {window.height, shape.height, 0, shape.height},
                     .columns = {window.width, shape.width, 0, shape.width},
                     .sampling = sampling_of(pixels),
                     .flip = flip},
          .decode_as_cropped = pixels == Pixels::kTf};
}

Recipe eval_recipe(int image_height, int image_width, const ImageShape& shape, Pixels pixels) {
  const int target = std::max(shape.height, shape.width);
  // At least one more than the target, as the short side may come out one smaller than asked for.
  const int side = std::max(static_cast<int>(std::lround(target * 256.0 / 224.0)), target + 1);
  const float ratio =
      static_cast<float>(side) / static_cast<float>(std::min(image_height, image_width));
  constexpr float kLongest = 0x1p30f;  // well below what an int can hold
  if (static_cast<float>(std::max(image_height, image_width)) * ratio > kLongest) {
    throw DataError(text("image: ", image_height, "x", image_width,
                         " is too elongated to be resized to a short side of ", side));
  }
  const int height = static_cast<int>(static_cast<float>(image_height) * ratio);
  const int width = static_cast<int>(static_cast<float>(image_width) * ratio);
  return {.window = {0, 0, image_height, image_width},
          .resize = {.rows = {image_height, height, (height - shape.height) / 2, shape.height},
                     .columns = {image_width, width, (width - shape.width) / 2, shape.width},
                     .sampling = sampling_of(pixels),
                     .flip = false},
          .decode_as_cropped = false};
}

Region region_of(const Recipe& recipe, const Window& needed, int image_width) {
  const Window& window = recipe.window;
  const Window wanted{window.y + needed.y, window.x + needed.x, needed.height, needed.width};
  if (recipe.decode_as_cropped) return {wanted, window.x, window.width};
  const int begin = std::max(wanted.x - kSmoothingColumns, 0);
  const int end = std::min(wanted.x + wanted.width + kSmoothingColumns, image_width);
  return {wanted, begin, end - begin};
}

std::span<const Box> boxes_of(const ImagenetExample& example, Scratch& scratch) {
  const std::size_t count = example.ymin.size();
  const auto check_count = [&](const char* side, const FloatList& list) {
    if (list.size() == count) return;
    throw DataError(text("image/object/bbox/", side),
                    text("has ", list.size(), " values where image/object/bbox/ymin has ", count));
  };
  check_count("xmin", example.xmin);
  check_count("ymax", example.ymax);
  check_count("xmax", example.xmax);

  const auto boxes = scratch.take<Box>(count);
  for (std::size_t i = 0; i < count; ++i) {
    boxes[i] = {example.ymin[i], example.xmin[i], example.ymax[i], example.xmax[i]};
  }
  check_boxes(boxes);
  return boxes;
}

ImagenetTransform::ImagenetTransform(const Options& options, Host& host)
    : options_(options),
      decode_options_{.dct = options.pixels == Pixels::kTf ? Dct::kFast : Dct::kAccurate,
                      .max_pixels = static_cast<std::uint64_t>(options.max_pixels),
                      .max_scans = options.max_scans},
      limits_{.min_object_covered = static_cast<float>(options.min_object_covered),
              .aspect_ratio = to_floats(options.aspect_ratio),
              .area = to_floats(options.area),
              .max_attempts = options.max_attempts},
      parse_(host, "parse") {
  check_order("aspect_ratio", options.aspect_ratio);
  check_order("area", options.area);
}

std::span<const RecordFormat> ImagenetTransform::decodes() const noexcept { return kFormats; }

void ImagenetTransform::prepare(const ImageShape& shape) {
  if (shape.channels == kPixelBytes) return;
  throw ConfigError(text("images have ", shape.channels, " channels, but ImageNet's have 3"));
}

void ImagenetTransform::apply(const Record& record, SampleSlot& slot,
                              TransformContext& context) const {
  switch (record.format) {
    case RecordFormat::kTfExample: {
      const auto begin = std::chrono::steady_clock::now();
      const ImagenetExample example = parse_imagenet_example(record.bytes);
      slot.label = label_of(example);
      const bool wants_boxes = options_.mode == Mode::kTrain;
      const auto boxes = wants_boxes ? boxes_of(example, context.scratch) : std::span<const Box>{};
      parse_.add(std::chrono::steady_clock::now() - begin);
      try {
        render_image(bytes_of(example.encoded), boxes, slot, context);
      } catch (const DataError& error) {
        throw DataError("image/encoded", error.what());
      }
      return;
    }
    case RecordFormat::kEncodedImage:
      slot.label = record.label;
      render_image(record.bytes, {}, slot, context);
      return;
    case RecordFormat::kPixels:
      slot.label = record.label;
      if (record.bytes.size() != slot.pixels.size()) {
        throw DataError(text("has ", record.bytes.size(), " bytes of pixels, but an image of ",
                             slot.shape.height, "x", slot.shape.width, " has ",
                             slot.pixels.size()));
      }
      std::memcpy(slot.pixels.data(), record.bytes.data(), record.bytes.size());
      return;
  }
}

void ImagenetTransform::render_image(std::span<const std::byte> bytes, std::span<const Box> boxes,
                                     SampleSlot& slot, TransformContext& context) const {
  ImageReader image(bytes, decode_options_, context.scratch);
  const int height = image.height();
  const int width = image.width();
  if (options_.mode == Mode::kEval) {
    render(image, eval_recipe(height, width, slot.shape, options_.pixels), slot, context.scratch);
    return;
  }
  Philox words = random_words(context.sample, context.op);
  const Window window = sample_crop(height, width, boxes, limits_, words);
  const bool flip = uniform_float(words) < static_cast<float>(options_.flip_probability);
  render(image, train_recipe(window, flip, slot.shape, options_.pixels), slot, context.scratch);
}

}  // namespace slackline::imagenet
