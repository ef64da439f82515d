#pragma once

#include <slackline/scratch.h>

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>  // jpeglib.h needs FILE
#include <span>
#include <string>

#include <jpeglib.h>

#include "imagenet/row_sink.h"
#include "imagenet/window.h"

namespace slackline::imagenet {

/// TensorFlow decodes with kFast unless told otherwise; kAccurate is closer to the photograph.
enum class Dct { kFast, kAccurate };

/// How an image is decoded, and what is refused before memory or time is spent on it.
struct DecodeOptions {
  Dct dct = Dct::kFast;
  std::uint64_t max_pixels = std::uint64_t{1} << 26;  ///< height times width
  int max_scans = 100;                                ///< of a progressive JPEG
};

/// Decodes a part of one JPEG to RGB by libjpeg-turbo: rows above are skipped, rows below never
/// decoded, columns beside only as far as blocks reach. Grey, YCbCr, RGB, CMYK and YCCK become RGB,
/// the latter two by TensorFlow's formulas; EXIF orientation is ignored, as TensorFlow does.
///
/// One object for each image: libjpeg-turbo 2.1.5 uses freed memory when a decompress object is
/// used for a second one. Making one takes 2 microseconds.
///
/// Lifecycle  construct (reads the header), then decode() at most once.
/// Threads    one caller at a time.
/// Errors     DataError for anything that libjpeg calls an error or a warning, in its own words;
/// for
///            sizes over the limits; and for a file without end, even if the part was complete.
///            Damage in what was not decoded stays unseen.
class JpegDecoder {
 public:
  /// `jpeg` is borrowed for the life of the object.
  JpegDecoder(std::span<const std::byte> jpeg, const DecodeOptions& options);
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  [[nodiscard]] int height() const noexcept;
  [[nodiscard]] int width() const noexcept;

  /// Hands `sink` the rows of region.wanted. All of the region must lie in the image.
  void decode(const Region& region, Scratch& scratch, RowSink& sink);

 private:
  struct Errors : jpeg_error_mgr {
    std::jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
  };
  struct Progress : jpeg_progress_mgr {
    int max_scans;
  };
  struct Handle : jpeg_decompress_struct {
    Handle() : jpeg_decompress_struct{} {}
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() { jpeg_destroy_decompress(this); }
  };

  [[noreturn]] static void stop(j_common_ptr info);
  static void take_message(j_common_ptr info, int level);
  static void watch_scans(j_common_ptr info);

  /// Calls `body`; turns what libjpeg reports meanwhile into a DataError. Nothing that `body` holds
  /// when it calls libjpeg may need a destructor.
  template <class Body>
  void guarded(const Body& body);

  void check_end();

  std::span<const std::byte> jpeg_;
  DecodeOptions options_;
  Errors errors_{};
  Progress progress_{};
  Handle info_;
};

}  // namespace slackline::imagenet
