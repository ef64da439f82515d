#pragma once

#include <slackline/random.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <span>

#include "imagenet/window.h"

namespace slackline::imagenet {

/// An object's bounding box as a fraction of the image, 0..1.
struct Box {
  float ymin = 0;
  float xmin = 0;
  float ymax = 0;
  float xmax = 0;
};

/// What a random crop must be like.
struct CropLimits {
  float min_object_covered = 0.1f;                  ///< share of any one box that must be inside
  std::array<float, 2> aspect_ratio{0.75f, 1.33f};  ///< width / height
  std::array<float, 2> area{0.05f, 1.0f};           ///< share of the image
  int max_attempts = 100;                           ///< then the whole image is taken
};

/// Throws DataError, with the key of tf.Example at fault, for a coordinate outside 0..1 or NaN.
void check_boxes(std::span<const Box> boxes);

namespace crop_box_detail {

/// True if `crop` has enough of at least one box. Boxes are cut down to whole pixels; those below
/// one pixel count for nothing. No boxes at all stand for one as large as the image.
bool covers_an_object(const Window& crop, int image_height, int image_width,
                      std::span<const Box> boxes, float min_object_covered);

inline int round_to_even(float value) { return static_cast<int>(std::lrint(value)); }

/// One attempt: a window of random shape and place, or one of height 0 if the shape does not fit.
/// Float32 throughout, as the original; only the cap on the height is computed in double.
template <class Words>
Window attempt_crop(int image_height, int image_width, const CropLimits& limits, Words& words) {
  const auto [min_ratio, max_ratio] = limits.aspect_ratio;
  const float ratio = uniform_float(words) * (max_ratio - min_ratio) + min_ratio;
  const auto area_of = [&](float share) {
    return share * static_cast<float>(image_width) * static_cast<float>(image_height);
  };
  const float min_area = area_of(limits.area[0]);
  const float max_area = area_of(limits.area[1]);
  const auto width_of = [&](int rows) { return round_to_even(static_cast<float>(rows) * ratio); };

  int height = round_to_even(std::sqrt(min_area / ratio));
  int max_height = round_to_even(std::sqrt(max_area / ratio));
  if (width_of(max_height) > image_width) {
    constexpr double kEpsilon = 1e-7f;
    max_height = static_cast<int>((image_width + 0.5 - kEpsilon) / static_cast<double>(ratio));
  }
  if (max_height > image_height) max_height = image_height;
  if (height > max_height) height = max_height;
  if (height < max_height) {
    height +=
        static_cast<int>(uniform_below(words, static_cast<std::uint32_t>(max_height - height + 1)));
  }

  int width = width_of(height);
  const auto area = [&] { return static_cast<float>(width) * static_cast<float>(height); };
  if (area() < min_area) width = width_of(++height);
  if (area() > max_area) width = width_of(--height);
  if (area() < min_area || area() > max_area || width > image_width || height > image_height ||
      width <= 0 || height <= 0) {
    return {};
  }
  // The last place that would fit is never drawn: so the original, and so its numbers.
  const auto place = [&](int room) {
    return room > 0 ? static_cast<int>(uniform_below(words, static_cast<std::uint32_t>(room))) : 0;
  };
  const int y = place(image_height - height);
  const int x = place(image_width - width);
  return {y, x, height, width};
}

}  // namespace crop_box_detail

/// The window of TensorFlow's sample_distorted_bounding_box (version 2, the whole image standing
/// in for missing boxes), word for word: equal words give equal windows. The sides of the image
/// must be positive, `boxes` checked. `Words` is anything that returns the next 32-bit word.
template <class Words>
Window sample_crop(int image_height, int image_width, std::span<const Box> boxes,
                   const CropLimits& limits, Words& words) {
  for (int attempt = 0; attempt < limits.max_attempts; ++attempt) {
    const Window crop = crop_box_detail::attempt_crop(image_height, image_width, limits, words);
    if (crop.height > 0 && crop_box_detail::covers_an_object(crop, image_height, image_width, boxes,
                                                             limits.min_object_covered)) {
      return crop;
    }
  }
  return {0, 0, image_height, image_width};
}

}  // namespace slackline::imagenet
