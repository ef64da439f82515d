#pragma once

#include <slackline/mean_time.h>
#include <slackline/options.h>
#include <slackline/tf_example.h>
#include <slackline/transform.h>

#include <array>
#include <cstdint>
#include <span>

#include "imagenet/crop_box.h"
#include "imagenet/image_reader.h"
#include "imagenet/resize.h"

namespace slackline::imagenet {

enum class Mode { kTrain, kEval };
enum class Pixels { kTf, kAccurate };

/// The options of every plugin that turns ImageNet's records into samples.
struct Options {
  Mode mode = Mode::kTrain;
  Pixels pixels = Pixels::kTf;
  double flip_probability = 0.5;
  double min_object_covered = 0.1;
  std::array<double, 2> aspect_ratio{0.75, 1.33};
  std::array<double, 2> area{0.05, 1.0};
  std::int32_t max_attempts = 100;
  std::int64_t max_pixels = std::int64_t{1} << 26;
  std::int32_t max_scans = 100;

  static OptionTable<Options> table();
};

/// What becomes of an image: `resize` works on `window` of it.
struct Recipe {
  Window window;
  Resize resize;
  /// Decode just the window's columns, as TensorFlow does, although the outermost ones show it;
  /// else a few more, so that the pixels are those of the whole image.
  bool decode_as_cropped = false;
};

/// The random crop of a training sample: `window` to the size of `shape`, mirrored if `flip`.
[[nodiscard]] Recipe train_recipe(const Window& window, bool flip, const ImageShape& shape,
                                  Pixels pixels);

/// The middle of an image whose short side is resized to 8/7 of the longer side of `shape` (256 for
/// 224). As TensorFlow computes it: ratio in float32, sides cut down to whole pixels, so the short
/// side may be one pixel less. Throws DataError if the longer side would pass 2^30.
[[nodiscard]] Recipe eval_recipe(int image_height, int image_width, const ImageShape& shape,
                                 Pixels pixels);

/// What to decode for `needed`, a part of the recipe's window.
[[nodiscard]] Region region_of(const Recipe& recipe, const Window& needed, int image_width);

/// The boxes of an Example, checked. Throws DataError naming the key at fault.
[[nodiscard]] std::span<const Box> boxes_of(const ImagenetExample& example, Scratch& scratch);

/// Everything of an ImageNet transform but the resize: reads all three formats of records, draws
/// crop and flip, opens the image. Decoded pixels are passed through, if they have the slot's size.
///
/// A training sample draws its crop first and then its flip, both from
/// random_words(context.sample, context.op).
///
/// Reports "parse": the mean time of taking an Example apart, label and boxes checked.
class ImagenetTransform : public Transform {
 public:
  ImagenetTransform(const Options& options, Host& host);

  [[nodiscard]] std::span<const RecordFormat> decodes() const noexcept override;
  void prepare(const ImageShape& shape) override;
  void apply(const Record& record, SampleSlot& slot, TransformContext& context) const override;

 protected:
  /// Decodes what `recipe` needs and writes the whole of slot.pixels. Errors as apply().
  virtual void render(ImageReader& image, const Recipe& recipe, SampleSlot& slot,
                      Scratch& scratch) const = 0;

 private:
  void render_image(std::span<const std::byte> bytes, std::span<const Box> boxes, SampleSlot& slot,
                    TransformContext& context) const;

  Options options_;
  DecodeOptions decode_options_;
  CropLimits limits_;
  mutable MeanTime parse_;  ///< of Examples
};

}  // namespace slackline::imagenet
