#pragma once

// Writes JPEG and PNG files of any kind, for tests that need one that nobody photographed.

#include <cstddef>
#include <cstdint>
#include <cstdio>  // jpeglib.h needs FILE
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <jpeglib.h>
#include <png.h>

namespace slackline::testing_support {

struct JpegSpec {
  int height = 48;
  int width = 64;
  J_COLOR_SPACE in = JCS_RGB;        ///< of the samples given
  J_COLOR_SPACE stored = JCS_YCbCr;  ///< JCS_CMYK and JCS_YCCK get Adobe's marker by themselves
  bool adobe_marker = true;
  bool progressive = false;
  int quality = 90;
  int extra_scans = 0;    ///< refinements of nothing, as a bomb has them
  std::string exif = {};  ///< the contents of an APP1 marker
};

/// The value of channel `c` at (y, x).
using Paint = std::function<std::uint8_t(int y, int x, int c)>;

inline std::string make_jpeg(const JpegSpec& spec, const Paint& paint) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  const bool four = spec.in == JCS_CMYK;
  const int channels = four ? 4 : spec.in == JCS_GRAYSCALE ? 1 : 3;
  info.image_height = static_cast<JDIMENSION>(spec.height);
  info.image_width = static_cast<JDIMENSION>(spec.width);
  info.input_components = channels;
  info.in_color_space = spec.in;
  jpeg_set_defaults(&info);
  jpeg_set_colorspace(&info, spec.stored);
  if (!spec.adobe_marker) info.write_Adobe_marker = FALSE;
  jpeg_set_quality(&info, spec.quality, TRUE);
  std::vector<jpeg_scan_info> scans;
  if (spec.extra_scans > 0) {
    // DC once, then AC again and again one bit finer: what a progressive bomb is made of.
    scans.push_back({1, {0, 0, 0, 0}, 0, 0, 0, 0});
    for (int i = 0; i < spec.extra_scans; ++i) {
      const int band = 1 + i % 63;
      scans.push_back({1, {0, 0, 0, 0}, band, band, 0, 0});
    }
    info.scan_info = scans.data();
    info.num_scans = static_cast<int>(scans.size());
  } else if (spec.progressive) {
    jpeg_simple_progression(&info);
  }
  jpeg_start_compress(&info, TRUE);
  if (!spec.exif.empty()) {
    jpeg_write_marker(&info, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(spec.exif.data()),
                      static_cast<unsigned>(spec.exif.size()));
  }
  std::vector<std::uint8_t> row(static_cast<std::size_t>(spec.width * channels));
  for (int y = 0; y < spec.height; ++y) {
    for (int x = 0; x < spec.width; ++x) {
      for (int c = 0; c < channels; ++c) {
        row[static_cast<std::size_t>(x * channels + c)] = paint(y, x, c);
      }
    }
    JSAMPROW rows[1] = {row.data()};
    jpeg_write_scanlines(&info, rows, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::string out(reinterpret_cast<const char*>(memory), size);
  std::free(memory);
  return out;
}

/// A smooth picture in which every place looks different.
inline std::uint8_t gradient(int y, int x, int c) {
  return static_cast<std::uint8_t>(40 + (c == 0 ? 3 * x : c == 1 ? 4 * y : 2 * (x + y)) % 200);
}

inline std::string make_jpeg(const JpegSpec& spec = {}) { return make_jpeg(spec, gradient); }

/// `format` is one of libpng's PNG_FORMAT_…; `pixels` has its layout.
inline std::string make_png(int height, int width, std::uint32_t format,
                            const std::vector<std::uint8_t>& pixels) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = static_cast<png_uint_32>(height);
  image.width = static_cast<png_uint_32>(width);
  image.format = format;
  png_alloc_size_t size = 0;
  if (png_image_write_get_memory_size(image, size, 0, pixels.data(), 0, nullptr) == 0) {
    throw std::runtime_error("png: cannot size");
  }
  std::string out(size, '\0');
  if (png_image_write_to_memory(&image, out.data(), &size, 0, pixels.data(), 0, nullptr) == 0) {
    throw std::runtime_error(std::string("png: ") + image.message);
  }
  out.resize(size);
  return out;
}

/// Overwrites height and width in a JPEG's frame header.
inline std::string with_size(std::string jpeg, int height, int width) {
  const std::size_t frame = jpeg.find("\xFF\xC0");
  if (frame == std::string::npos) throw std::runtime_error("no baseline frame header");
  const auto put = [&](std::size_t at, int value) {
    jpeg[at] = static_cast<char>(value >> 8);
    jpeg[at + 1] = static_cast<char>(value & 0xFF);
  };
  put(frame + 5, height);
  put(frame + 7, width);
  return jpeg;
}

}  // namespace slackline::testing_support
