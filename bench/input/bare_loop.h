#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace slackline::bench {

/// Which part of an image becomes a sample, and whether it is mirrored.
struct BareCrop {
  int y = 0;
  int x = 0;
  int height = 0;
  int width = 0;
  bool flip = false;
};

/// A JPEG in memory.
struct EncodedImage {
  std::span<const std::byte> jpeg;
  /// Object boxes, 0..1: ymin, xmin, ymax, xmax. Empty: the whole image counts as one.
  std::vector<std::array<float, 4>> boxes;
  /// If absent, a crop is drawn as TensorFlow draws it.
  std::optional<BareCrop> crop;
};

struct BareLoopOptions {
  int size = 224;          ///< height and width of a sample, pixels
  bool accurate = true;    ///< JDCT_ISLOW, half-pixel bilinear; else JDCT_IFAST, TensorFlow 1's
  std::uint32_t seed = 1;  ///< of the drawn crops
};

/// What a good engineer writes who needs images fast and no framework: header, random crop,
/// decoding of that region by libjpeg-turbo, and one pass of 7-bit fixed-point bilinear resize and
/// flip straight into a uint8 batch. It shares no code with slackline, whose input path is measured
/// against it. Bad images are not survived: it exits with libjpeg's message.
///
/// Image i goes to place i modulo the number of samples that fit into `batch`, (N, size, size, 3).
/// Returns seconds on the calling thread; call it from several threads with a batch for each.
double run_bare_loop(std::span<const EncodedImage> images, const BareLoopOptions& options,
                     std::span<std::uint8_t> batch);

}  // namespace slackline::bench
