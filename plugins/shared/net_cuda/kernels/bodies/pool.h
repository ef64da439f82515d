#pragma once

#include <cstdint>

#include "bodies/vector.h"
#include "net_cuda/kernels.h"

/// Pools. Channels are a multiple of 8: a thread has one vector of them, and neighbours in a row
/// are neighbours in a warp.
namespace slackline::net::cuda::bodies {

/// The outputs begin..end-1 whose window sees a row or column of the input.
struct Seeing {
  std::int32_t begin, end;
};
SLACKLINE_BODY Seeing seeing(std::int32_t at, std::int32_t padding, std::int32_t window,
                             std::int32_t stride, std::int32_t outputs) {
  const std::int32_t padded = at + padding;
  return {padded < window ? 0 : (padded - window) / stride + 1,
          least(outputs, padded / stride + 1)};
}

/// Sizes of an image and its pooled one, as 32 bits are enough within an image.
struct PoolShape {
  std::int32_t channels, height, width, out_height, out_width;
  std::int32_t window_height, window_width, stride, top, left;

  explicit PoolShape(const MaxPoolArgs& args)
      : channels(static_cast<std::int32_t>(args.channels)),
        height(static_cast<std::int32_t>(args.height)),
        width(static_cast<std::int32_t>(args.width)),
        out_height(static_cast<std::int32_t>(args.out_height)),
        out_width(static_cast<std::int32_t>(args.out_width)),
        window_height(static_cast<std::int32_t>(args.window.height)),
        window_width(static_cast<std::int32_t>(args.window.width)),
        stride(static_cast<std::int32_t>(args.window.stride)),
        top(static_cast<std::int32_t>(args.window.top)),
        left(static_cast<std::int32_t>(args.window.left)) {}
};

/// A row of outputs a block row. Moves x and y once, as far as caches keep what windows share, and
/// a byte a value of y.
template <class T>
struct MaxPoolForward {
  static constexpr const char* kName = "max_pool";
  static constexpr int kThreads = 256;
  static constexpr int kWide = kWidth<T>;
  using Shared = Nothing;

  PoolShape shape;
  const T* x;
  T* y;
  std::uint8_t* index;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const auto vectors = shape.channels / kWide;
    const auto at = static_cast<std::int32_t>(block.x()) * kThreads + block.thread();
    if (at >= shape.out_width * vectors) return;
    const std::int32_t channel = at % vectors * kWide, q = at / vectors;
    const auto p = static_cast<std::int32_t>(block.y());
    const std::int32_t top = p * shape.stride - shape.top, left = q * shape.stride - shape.left;
    const T* image = x + block.z() * shape.height * shape.width * shape.channels + channel;

    Floats<kWide> best{};
    std::uint32_t from[kWide] = {};
    bool is_first = true;
    for (std::int32_t r = most(0, -top); r < least(shape.window_height, shape.height - top); ++r) {
      for (std::int32_t s = most(0, -left); s < least(shape.window_width, shape.width - left);
           ++s) {
        const std::int64_t pixel = (top + r) * static_cast<std::int64_t>(shape.width) + left + s;
        const Floats<kWide> values = unpack(load(image + pixel * shape.channels));
        SLACKLINE_UNROLL
        for (int i = 0; i < kWide; ++i) {
          // Of equal values the first; what is not a number wins, as in PyTorch.
          if (is_first || values.of[i] > best.of[i] || values.of[i] != values.of[i]) {
            best.of[i] = values.of[i];
            from[i] = static_cast<std::uint32_t>(r * shape.window_width + s);
          }
        }
        is_first = false;
      }
    }
    const std::int64_t to =
        ((block.z() * shape.out_height + p) * shape.out_width + q) * shape.channels + channel;
    store(y + to, pack<T>(best));
    std::uint32_t bytes[kWide / 4] = {};
    SLACKLINE_UNROLL
    for (int i = 0; i < kWide; ++i) bytes[i / 4] |= from[i] << i % 4 * 8;
    alignas(16) Raw<std::uint8_t, kWide> packed;
    SLACKLINE_UNROLL
    for (int i = 0; i < kWide / 4; ++i) packed.words[i] = bytes[i];
    store(index + to, packed);
  }
};

/// Gathers, so that no two threads write one value: the windows that see a pixel, row by row.
template <class T>
struct MaxPoolBackwardBody {
  static constexpr const char* kName = "max_pool_backward";
  static constexpr int kThreads = 256;
  static constexpr int kWide = kWidth<T>;
  using Shared = Nothing;

  PoolShape shape;
  const T* dy;
  const std::uint8_t* index;
  T* dx;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const auto vectors = shape.channels / kWide;
    const auto at = static_cast<std::int32_t>(block.x()) * kThreads + block.thread();
    if (at >= shape.width * vectors) return;
    const std::int32_t channel = at % vectors * kWide, column = at / vectors;
    const auto row = static_cast<std::int32_t>(block.y());
    const Seeing rows = seeing(row, shape.top, shape.window_height, shape.stride, shape.out_height);
    const Seeing columns =
        seeing(column, shape.left, shape.window_width, shape.stride, shape.out_width);

    Floats<kWide> sums{};
    for (std::int32_t p = rows.begin; p < rows.end; ++p) {
      for (std::int32_t q = columns.begin; q < columns.end; ++q) {
        const std::int64_t window =
            ((block.z() * shape.out_height + p) * shape.out_width + q) * shape.channels + channel;
        const auto places = load<std::uint8_t, kWide>(index + window);
        const Floats<kWide> derivatives = unpack(load(dy + window));
        const auto here =
            static_cast<std::uint32_t>((row + shape.top - p * shape.stride) * shape.window_width +
                                       column + shape.left - q * shape.stride);
        SLACKLINE_UNROLL
        for (int i = 0; i < kWide; ++i) {
          const std::uint32_t place = places.words[i / 4] >> i % 4 * 8 & 0xff;
          sums.of[i] += place == here ? derivatives.of[i] : 0.0f;
        }
      }
    }
    const std::int64_t to =
        ((block.z() * shape.height + row) * shape.width + column) * shape.channels + channel;
    store(dx + to, pack<T>(sums));
  }
};

template <class T, class Launch>
void max_pool(const Launch& launch, const MaxPoolArgs& args, const void* x, void* y,
              std::uint8_t* index) {
  using Body = MaxPoolForward<T>;
  launch(Grid{ceil_div(args.out_width * args.channels / kWidth<T>, Body::kThreads), args.out_height,
              args.images},
         Body{PoolShape(args), static_cast<const T*>(x), static_cast<T*>(y), index});
}

template <class T, class Launch>
void max_pool_backward(const Launch& launch, const MaxPoolArgs& args, const void* dy,
                       const std::uint8_t* index, void* dx) {
  using Body = MaxPoolBackwardBody<T>;
  launch(Grid{ceil_div(args.width * args.channels / kWidth<T>, Body::kThreads), args.height,
              args.images},
         Body{PoolShape(args), static_cast<const T*>(dy), index, static_cast<T*>(dx)});
}

/// A thread sums a vector over all pixels. Moves x once.
template <class T>
struct AveragePoolForward {
  static constexpr const char* kName = "average_pool";
  static constexpr int kThreads = 128;
  static constexpr int kWide = kWidth<T>, kUnroll = 7;  ///< images are 7 by 7 there
  using Shared = Nothing;

  const T* x;
  T* y;
  std::int64_t images, pixels, channels;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const std::int64_t at = (block.x() * kThreads + block.thread()) * kWide;  // in y
    if (at >= images * channels) return;
    const std::int64_t image = at / channels;
    const T* from = x + image * pixels * channels + at % channels;
    Floats<kWide> sums{};
    std::int64_t pixel = 0;
    for (; pixel + kUnroll <= pixels; pixel += kUnroll) {
      Raw<T> loaded[kUnroll];
      SLACKLINE_UNROLL
      for (int k = 0; k < kUnroll; ++k) loaded[k] = load(from + (pixel + k) * channels);
      SLACKLINE_UNROLL
      for (int k = 0; k < kUnroll; ++k) add(sums, loaded[k]);
    }
    for (; pixel < pixels; ++pixel) add(sums, load(from + pixel * channels));
    SLACKLINE_UNROLL
    for (int i = 0; i < kWide; ++i) sums.of[i] /= static_cast<float>(pixels);
    store(y + at, pack<T>(sums));
  }

 private:
  SLACKLINE_BODY static void add(Floats<kWide>& sums, const Raw<T>& raw) {
    const Floats<kWide> values = unpack(raw);
    SLACKLINE_UNROLL
    for (int i = 0; i < kWide; ++i) sums.of[i] += values.of[i];
  }
};

/// A thread writes one vector. Moves dx once.
template <class T>
struct AveragePoolBackwardBody {
  static constexpr const char* kName = "average_pool_backward";
  static constexpr int kThreads = 256;
  static constexpr int kWide = kWidth<T>;
  using Shared = Nothing;

  const T* dy;
  T* dx;
  std::int32_t pixels, channels;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const std::int64_t at = (block.x() * kThreads + block.thread()) * kWide;  // in the image
    const std::int64_t size = static_cast<std::int64_t>(pixels) * channels;
    if (at >= size) return;
    Floats<kWide> values = unpack(load(dy + block.y() * channels + at % channels));
    SLACKLINE_UNROLL
    for (int i = 0; i < kWide; ++i) values.of[i] /= static_cast<float>(pixels);
    store(dx + block.y() * size + at, pack<T>(values));
  }
};

template <class T, class Launch>
void average_pool(const Launch& launch, const void* x, void* y, std::int64_t images,
                  std::int64_t pixels, std::int64_t channels) {
  using Body = AveragePoolForward<T>;
  launch(Grid{ceil_div(images * channels / kWidth<T>, Body::kThreads)},
         Body{static_cast<const T*>(x), static_cast<T*>(y), images, pixels, channels});
}

template <class T, class Launch>
void average_pool_backward(const Launch& launch, const void* dy, void* dx, std::int64_t images,
                           std::int64_t pixels, std::int64_t channels) {
  using Body = AveragePoolBackwardBody<T>;
  launch(Grid{ceil_div(pixels * channels / kWidth<T>, Body::kThreads), images},
         Body{static_cast<const T*>(dy), static_cast<T*>(dx), static_cast<std::int32_t>(pixels),
              static_cast<std::int32_t>(channels)});
}

}  // namespace slackline::net::cuda::bodies
