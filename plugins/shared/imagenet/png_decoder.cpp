#include "imagenet/png_decoder.h"

#include <slackline/error.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <png.h>

#include "imagenet/row_sink.h"

namespace slackline::imagenet {
namespace {

/// What libpng's callbacks work on.
struct Input {
  std::span<const std::byte> left;
  char message[160] = {};
};

/// Frees what libpng allocates.
struct Reader {
  png_structp png = nullptr;
  png_infop info = nullptr;

  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

void read_bytes(png_structp png, png_bytep out, std::size_t count) {
  auto& input = *static_cast<Input*>(png_get_io_ptr(png));
  if (count > input.left.size()) png_error(png, "the file ends too early");
  std::memcpy(out, input.left.data(), count);
  input.left = input.left.subspan(count);
}

[[noreturn]] void stop(png_structp png, png_const_charp message) {
  auto& input = *static_cast<Input*>(png_get_error_ptr(png));
  std::snprintf(input.message, sizeof input.message, "%s", message);
  png_longjmp(png, 1);
}

/// Warnings are about chunks that hold no pixels; damage to those that do is an error.
void ignore(png_structp, png_const_charp) {}

}  // namespace

PngImage decode_png(std::span<const std::byte> bytes, std::uint64_t max_pixels, Scratch& scratch) {
  Input input;
  input.left = bytes;
  Reader reader;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, stop, ignore);
  if (reader.png == nullptr) throw DataError("png: out of memory");
  const auto guarded = [&](const auto& body) {
    if (setjmp(png_jmpbuf(reader.png)) != 0) throw DataError(text("png: ", input.message));
    body();
  };

  guarded([&] {
    reader.info = png_create_info_struct(reader.png);
    png_set_read_fn(reader.png, &input, read_bytes);
    png_read_info(reader.png, reader.info);
  });
  const std::uint64_t height = png_get_image_height(reader.png, reader.info);
  const std::uint64_t width = png_get_image_width(reader.png, reader.info);
  if (height * width > max_pixels) {
    throw DataError(text("png: ", height, "x", width, " is ", height * width,
                         " pixels, more than max_pixels = ", max_pixels));
  }
  guarded([&] {
    png_set_expand(reader.png);
    png_set_strip_16(reader.png);
    png_set_gray_to_rgb(reader.png);
    png_set_strip_alpha(reader.png);
    png_set_interlace_handling(reader.png);
    png_read_update_info(reader.png, reader.info);
  });

  const std::size_t row_bytes = static_cast<std::size_t>(width) * kPixelBytes;
  const auto memory =
      scratch.take<std::uint8_t>(static_cast<std::size_t>(height) * row_bytes + 2 * kRowPadding);
  const auto rows = scratch.take<png_bytep>(static_cast<std::size_t>(height));
  std::memset(memory.data(), 0, memory.size());
  for (std::size_t y = 0; y < rows.size(); ++y) {
    rows[y] = memory.data() + kRowPadding + y * row_bytes;
  }
  guarded([&] {
    png_read_image(reader.png, rows.data());
    png_read_end(reader.png, nullptr);
  });
  return {static_cast<int>(height), static_cast<int>(width),
          memory.subspan(kRowPadding, memory.size() - 2 * kRowPadding)};
}

}  // namespace slackline::imagenet
