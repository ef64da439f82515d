#include "imagenet/image_reader.h"

#include <slackline/error.h>

#include <array>
#include <cstdio>
#include <string_view>

namespace slackline::imagenet {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kJpeg = "\xFF\xD8\xFF"sv;
constexpr std::string_view kPng = "\x89PNG\r\n\x1A\n"sv;

/// What else people keep in a file called .jpg.
struct Foreign {
  std::string_view start, name;
};
constexpr std::array kForeign{
    Foreign{"GIF8"sv, "GIF"},         Foreign{"RIFF"sv, "WebP"},
    Foreign{"BM"sv, "BMP"},           Foreign{"II*\0"sv, "TIFF"},
    Foreign{"MM\0*"sv, "TIFF"},       Foreign{"\0\0\0\x0CjP  "sv, "JPEG 2000"},
    Foreign{"\xFF\x0A"sv, "JPEG XL"},
};

std::string name_of_format(std::string_view image) {
  for (const Foreign& foreign : kForeign) {
    if (image.starts_with(foreign.start)) return text("a ", foreign.name, " file");
  }
  std::string out = "of unknown format, starting with";
  for (const char c : image.substr(0, 4)) {
    std::array<char, 8> hex{};
    std::snprintf(hex.data(), hex.size(), " %02x", static_cast<unsigned char>(c));
    out += hex.data();
  }
  return out;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

ImageReader::ImageReader(std::span<const std::byte> image, const DecodeOptions& options,
                         Scratch& scratch)
    : scratch_(scratch) {
  if (image.empty()) throw DataError("image: no bytes, expected a JPEG or a PNG file");
  const std::string_view start = text_of(image);
  if (start.starts_with(kJpeg)) {
    jpeg_.emplace(image, options);
    height_ = jpeg_->height();
    width_ = jpeg_->width();
  } else if (start.starts_with(kPng)) {
    png_ = decode_png(image, options.max_pixels, scratch);
    height_ = png_.height;
    width_ = png_.width;
  } else {
    throw DataError(text("image: is ", name_of_format(start), ", expected JPEG or PNG"));
  }
}

void ImageReader::decode(const Region& region, RowSink& sink) {
  if (jpeg_) {
    jpeg_->decode(region, scratch_, sink);
    return;
  }
  const Window& wanted = region.wanted;
  const auto width = static_cast<std::size_t>(width_);
  for (int y = 0; y < wanted.height; ++y) {
    const std::size_t pixel =
        static_cast<std::size_t>(wanted.y + y) * width + static_cast<std::size_t>(wanted.x);
    sink.row(y, png_.pixels.data() + pixel * kPixelBytes);
  }
}

}  // namespace slackline::imagenet
