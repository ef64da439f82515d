#pragma once

#include <slackline/scratch.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace slackline::imagenet {

/// A whole image in the memory of a Scratch.
struct PngImage {
  int height = 0;
  int width = 0;
  std::span<const std::uint8_t> pixels;  ///< (H, W, 3), RGB; kRowPadding readable at both ends
};

/// Decodes a PNG to RGB by libpng as TensorFlow does: palettes and grey expanded, 16 bits cut to 8,
/// alpha dropped, gamma ignored. (ImageNet has one PNG, under a JPEG's name.)
///
/// Throws DataError for damage, in libpng's own words, and for more than `max_pixels`, before any
/// memory is taken for them.
[[nodiscard]] PngImage decode_png(std::span<const std::byte> png, std::uint64_t max_pixels,
                                  Scratch& scratch);

}  // namespace slackline::imagenet
