#pragma once

// Runs the pieces of the ImageNet library and keeps what they make.

#include <slackline/error.h>
#include <slackline/scratch.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "imagenet/image_reader.h"
#include "imagenet/imagenet_transform.h"
#include "imagenet/resize.h"

namespace slackline::testing_support {

/// Keeps the rows of a region.
class RowCollector final : public imagenet::RowSink {
 public:
  explicit RowCollector(int width) : row_bytes_(static_cast<std::size_t>(width) * 3) {}
  void row(int, const std::uint8_t* row) noexcept override {
    pixels.insert(pixels.end(), row, row + row_bytes_);
  }
  std::vector<std::uint8_t> pixels;

 private:
  std::size_t row_bytes_;
};

struct Decoded {
  int height = 0;
  int width = 0;
  std::vector<std::uint8_t> pixels;  ///< (H, W, 3)
};

/// The whole image.
inline Decoded decode(std::span<const std::byte> file,
                      const imagenet::DecodeOptions& options = {}) {
  Scratch scratch;
  imagenet::ImageReader image(file, options, scratch);
  RowCollector rows(image.width());
  image.decode({{0, 0, image.height(), image.width()}, 0, image.width()}, rows);
  return {image.height(), image.width(), std::move(rows.pixels)};
}

/// A window of it, decoded as TensorFlow does.
inline Decoded decode(std::span<const std::byte> file, const imagenet::Window& window,
                      const imagenet::DecodeOptions& options = {}) {
  Scratch scratch;
  imagenet::ImageReader image(file, options, scratch);
  RowCollector rows(window.width);
  image.decode({window, window.x, window.width}, rows);
  return {window.height, window.width, std::move(rows.pixels)};
}

/// What decode() throws, or "decoded".
inline std::string outcome(std::span<const std::byte> file,
                           const imagenet::DecodeOptions& options = {}) {
  try {
    (void)decode(file, options);
    return "decoded";
  } catch (const DataError& error) {
    return error.what();
  }
}

/// The output of a resize as T: std::uint8_t or float.
template <class T>
std::vector<T> resize(const std::vector<std::uint8_t>& pixels, const imagenet::Resize& plan,
                      const imagenet::resize_kernels::Kernels* kernels = nullptr) {
  const auto padding = static_cast<std::size_t>(imagenet::kRowPadding);
  std::vector<std::uint8_t> padded(pixels.size() + 2 * padding);
  std::copy(pixels.begin(), pixels.end(), padded.begin() + imagenet::kRowPadding);
  std::vector<T> out(static_cast<std::size_t>(plan.rows.count * plan.columns.count * 3));
  Scratch scratch;
  imagenet::RowResizer resizer(plan, scratch, out.data());
  if (kernels != nullptr) resizer.use(*kernels);
  const imagenet::Window& needed = resizer.needed();
  for (int y = 0; y < needed.height; ++y) {
    const int pixel = (needed.y + y) * plan.columns.in + needed.x;
    resizer.row(y, padded.data() + padding + pixel * 3);
  }
  return out;
}

/// What a recipe makes of an image, as T: std::uint8_t or float.
template <class T>
std::vector<T> render(imagenet::ImageReader& image, const imagenet::Recipe& recipe,
                      Scratch& scratch) {
  std::vector<T> out(
      static_cast<std::size_t>(recipe.resize.rows.count * recipe.resize.columns.count * 3));
  imagenet::RowResizer resizer(recipe.resize, scratch, out.data());
  image.decode(imagenet::region_of(recipe, resizer.needed(), image.width()), resizer);
  return out;
}

}  // namespace slackline::testing_support
