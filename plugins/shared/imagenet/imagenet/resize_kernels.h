#pragma once

#include <cstdint>
#include <span>

/// The inner loops of RowResizer. Rows between the two steps have four floats for each pixel, the
/// fourth without meaning.
namespace slackline::imagenet::resize_kernels {

/// How the pixels of one source row are combined. `offsets` and `weights` (four for each) are
/// padded to a multiple of four entries and aligned to 64 bytes, as are rows of floats.
struct Columns {
  const std::int32_t* offsets;  ///< bytes from the row's start to the left one of two pixels
  const float* weights;
  int count;
  bool flip;  ///< the right one comes first
};

/// One way of computing, with the same result as any other to the last bit.
struct Kernels {
  const char* name;  ///< the instructions that it needs

  /// Reads up to kRowPadding bytes beyond both ends of `pixels`; writes the padding of `out` too.
  void (*lerp_columns)(const std::uint8_t* pixels, const Columns& columns, float* out) noexcept;

  /// Writes `count` pixels of three bytes, rounded to nearest, ties to even; nothing behind them.
  void (*lerp_rows)(const float* top, const float* bottom, float weight, int count,
                    std::uint8_t* out) noexcept;
};

/// Those that this CPU can run, the fastest first and portable code last.
[[nodiscard]] std::span<const Kernels> usable_kernels() noexcept;

/// lerp_rows without rounding.
void lerp_rows_to_float(const float* top, const float* bottom, float weight, int count,
                        float* out) noexcept;

}  // namespace slackline::imagenet::resize_kernels
