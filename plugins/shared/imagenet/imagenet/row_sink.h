#pragma once

#include <cstdint>

namespace slackline::imagenet {

/// A pixel, and how far beyond both ends of the pixels that it is handed a RowSink may read; what
/// lies there is of no importance. Bytes.
inline constexpr int kPixelBytes = 3;
inline constexpr int kRowPadding = 64;

/// Takes the rows of an image as a decoder makes them.
///
/// Errors     none: it is called from within C code.
class RowSink {
 public:
  RowSink() = default;
  RowSink(const RowSink&) = delete;
  RowSink& operator=(const RowSink&) = delete;
  virtual ~RowSink() = default;

  /// Row `y` of the region that was asked for, counted from 0, in order and without gaps.
  /// `pixels` points at the region's first column, RGB, and is valid during the call.
  virtual void row(int y, const std::uint8_t* pixels) noexcept = 0;
};

}  // namespace slackline::imagenet
