#pragma once

#include <slackline/scratch.h>

#include <cstdint>
#include <span>

#include "imagenet/resize_kernels.h"
#include "imagenet/row_sink.h"
#include "imagenet/window.h"

namespace slackline::imagenet {

/// Where the samples of a resize lie: output i reads at i * scale (TensorFlow 1's "legacy" rule,
/// not symmetric) or at (i + 0.5) * scale - 0.5.
enum class Sampling { kLegacy, kHalfPixel };

/// One direction of a resize from `in` to `out` pixels, of which only outputs `first` to
/// `first + count - 1` are wanted.
struct Axis {
  int in = 0;
  int out = 0;
  int first = 0;
  int count = 0;
};

/// A bilinear resize without antialiasing. `flip` mirrors the input's columns before the resize.
struct Resize {
  Axis rows;
  Axis columns;
  Sampling sampling = Sampling::kLegacy;
  bool flip = false;
};

/// The two inputs of each output and the weight of the second: low + (high - low) * weight. `high`
/// is `low` or `low + 1`; where it is `low` the weight is 0.
struct Taps {
  std::span<std::int32_t> low;
  std::span<std::int32_t> high;
  std::span<float> weight;
};

/// Every operation rounded to float32, as TensorFlow does it: in double, or contracted to a fused
/// multiply-add, a weight would be off by up to 1.5e-5.
[[nodiscard]] Taps make_taps(const Axis& axis, Sampling sampling, Scratch& scratch);

/// Resizes rows as they come and writes each finished row of the output, (rows.count,
/// columns.count, 3), at once. Columns first, then rows, every operation rounded to float32: the
/// floats are TensorFlow's to the last bit. Written as they are, or rounded to the nearest uint8.
///
/// By AVX-512 or AVX2 where the CPU has it, with the same result as without.
class RowResizer final : public RowSink {
 public:
  /// Memory comes from `scratch`; `out` is borrowed, and complete when every row was pushed.
  RowResizer(const Resize& resize, Scratch& scratch, std::uint8_t* out)
      : RowResizer(resize, scratch, out, nullptr) {}
  RowResizer(const Resize& resize, Scratch& scratch, float* out)
      : RowResizer(resize, scratch, nullptr, out) {}

  /// The part of the input (rows.in, columns.in) that is read: what row() expects.
  [[nodiscard]] const Window& needed() const noexcept { return needed_; }

  /// Row `y` of needed(), its first column at `pixels`.
  void row(int y, const std::uint8_t* pixels) noexcept override;

  /// For tests: computes in another way than the fastest.
  void use(const resize_kernels::Kernels& kernels) noexcept { kernels_ = &kernels; }

 private:
  RowResizer(const Resize& resize, Scratch& scratch, std::uint8_t* bytes, float* floats);
  void write_row(const float* top, const float* bottom, float weight) noexcept;

  Window needed_;
  Taps rows_;
  /// For each output column the byte offset of its left input pixel, and its weight four times; one
  /// more at the end if their number is odd.
  std::span<std::int32_t> offsets_;
  std::span<float> weights_;
  int columns_ = 0;
  bool flip_ = false;
  const resize_kernels::Kernels* kernels_;

  /// Source rows after the horizontal step, four floats a pixel; even rows in the first, odd ones
  /// in the second: an output row needs two neighbours at most.
  std::span<float> ring_[2];
  std::size_t next_ = 0;  ///< output row that is written next
  std::uint8_t* bytes_ = nullptr;
  float* floats_ = nullptr;
};

}  // namespace slackline::imagenet
