#include "imagenet/resize.h"

#include <algorithm>
#include <cassert>

#include "imagenet/resize_kernels.h"

namespace slackline::imagenet {

Taps make_taps(const Axis& axis, Sampling sampling, Scratch& scratch) {
  const auto count = static_cast<std::size_t>(axis.count);
  const Taps taps{scratch.take<std::int32_t>(count), scratch.take<std::int32_t>(count),
                  scratch.take<float>(count)};
  const float scale = static_cast<float>(axis.in) / static_cast<float>(axis.out);
  for (std::size_t i = 0; i < count; ++i) {
    const auto position = static_cast<float>(axis.first + static_cast<int>(i));
    const float at =
        sampling == Sampling::kLegacy ? position * scale : (position + 0.5f) * scale - 0.5f;
    int floor = static_cast<int>(at);
    if (static_cast<float>(floor) > at) --floor;
    const float weight = at - static_cast<float>(floor);
    const int low = std::clamp(floor, 0, axis.in - 1);
    const int high = std::min(weight > 0.0f ? floor + 1 : floor, axis.in - 1);
    taps.low[i] = low;
    taps.high[i] = std::max(high, low);
    taps.weight[i] = taps.high[i] == low ? 0.0f : weight;
  }
  return taps;
}

RowResizer::RowResizer(const Resize& resize, Scratch& scratch, std::uint8_t* bytes, float* floats)
    : rows_(make_taps(resize.rows, resize.sampling, scratch)),
      columns_(resize.columns.count),
      flip_(resize.flip),
      kernels_(&resize_kernels::usable_kernels().front()),
      bytes_(bytes),
      floats_(floats) {
  const Taps columns = make_taps(resize.columns, resize.sampling, scratch);
  const int low = columns.low.front();
  const int high = columns.high.back();
  needed_.y = rows_.low.front();
  needed_.height = rows_.high.back() - needed_.y + 1;
  needed_.x = flip_ ? resize.columns.in - 1 - high : low;
  needed_.width = high - low + 1;

  const std::size_t padded = (static_cast<std::size_t>(columns_) + 3) / 4 * 4;
  offsets_ = scratch.take<std::int32_t>(padded);
  weights_ = scratch.take<float>(padded * 4);
  for (std::size_t i = 0; i < padded; ++i) {
    const std::size_t from = std::min(i, static_cast<std::size_t>(columns_) - 1);
    // Mirrored, the second input lies to the left of the first.
    const int left = flip_ ? high - columns.low[from] - 1 : columns.low[from] - low;
    offsets_[i] = left * kPixelBytes;
    std::fill_n(weights_.begin() + static_cast<std::ptrdiff_t>(i * 4), 4, columns.weight[from]);
  }
  for (auto& row : ring_) row = scratch.take<float>(padded * 4);
}

void RowResizer::row(int y, const std::uint8_t* pixels) noexcept {
  const std::int32_t source = y + needed_.y;
  if (next_ == rows_.low.size()) return;
  if (source != rows_.low[next_] && source != rows_.high[next_]) return;

  const resize_kernels::Columns columns{offsets_.data(), weights_.data(), columns_, flip_};
  float* const lerped = ring_[source & 1].data();
  kernels_->lerp_columns(pixels, columns, lerped);
  for (; next_ < rows_.high.size() && rows_.high[next_] == source; ++next_) {
    write_row(ring_[rows_.low[next_] & 1].data(), lerped, rows_.weight[next_]);
  }
}

void RowResizer::write_row(const float* top, const float* bottom, float weight) noexcept {
  const std::size_t start = next_ * static_cast<std::size_t>(columns_) * kPixelBytes;
  if (floats_ != nullptr) {
    resize_kernels::lerp_rows_to_float(top, bottom, weight, columns_, floats_ + start);
  } else {
    kernels_->lerp_rows(top, bottom, weight, columns_, bytes_ + start);
  }
}

}  // namespace slackline::imagenet
