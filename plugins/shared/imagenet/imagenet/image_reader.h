#pragma once

#include <slackline/scratch.h>

#include <cstddef>
#include <optional>
#include <span>

#include "imagenet/jpeg_decoder.h"
#include "imagenet/png_decoder.h"
#include "imagenet/row_sink.h"
#include "imagenet/window.h"

namespace slackline::imagenet {

/// One encoded image, JPEG or PNG by its first bytes, whatever its name says.
///
/// Lifecycle  construct (reads the header), then decode() at most once.
/// Threads    one caller at a time.
/// Errors     those of JpegDecoder and decode_png(); DataError that names any other format.
class ImageReader {
 public:
  /// `image` and `scratch` are borrowed for the life of the object.
  ImageReader(std::span<const std::byte> image, const DecodeOptions& options, Scratch& scratch);

  [[nodiscard]] int height() const noexcept { return height_; }
  [[nodiscard]] int width() const noexcept { return width_; }

  /// As JpegDecoder::decode().
  void decode(const Region& region, RowSink& sink);

 private:
  Scratch& scratch_;
  std::optional<JpegDecoder> jpeg_;
  PngImage png_;
  int height_ = 0;
  int width_ = 0;
};

}  // namespace slackline::imagenet
