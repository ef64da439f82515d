#pragma once

#include <cstdint>

#include "bodies/vector.h"
#include "net_cuda/kernels.h"

/// One value of y from one value of each input. A value of y is written by the thread that has read
/// its inputs, so y may be one of them.
namespace slackline::net::cuda::bodies {

struct ReluOf {
  static constexpr const char* kName = "relu";
  SLACKLINE_BODY float operator()(float x) const { return rectified(x); }
};
struct SumOf {
  static constexpr const char* kName = "add";
  SLACKLINE_BODY float operator()(float a, float b) const { return a + b; }
};
struct ReluDerivative {
  static constexpr const char* kName = "relu_backward";
  SLACKLINE_BODY float operator()(float dy, float y) const { return y > 0 ? dy : 0.0f; }
};

/// y[i] = Function(inputs[0][i], ...). Moves inputs + 1 times the size of y.
template <class T, class Function, int kInputs>
struct Elementwise {
  static constexpr const char* kName = Function::kName;
  static constexpr int kThreads = 256, kVectors = 4;                        ///< of a thread
  static constexpr std::int64_t kValues = kThreads * kVectors * kWidth<T>;  ///< of a block
  using Shared = Nothing;

  const T* inputs[kInputs];
  T* y;
  std::int64_t values;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const std::int64_t first = block.x() * kValues;
    if (first + kValues <= values) {
      run(first + block.thread() * kWidth<T>);
    } else {
      for (std::int64_t i = first + block.thread(); i < values; i += kThreads) y[i] = apply_one(i);
    }
  }

 private:
  SLACKLINE_BODY void run(std::int64_t begin) const {
    constexpr std::int64_t kStep = kThreads * kWidth<T>;
    Raw<T> loaded[kVectors][kInputs];
    SLACKLINE_UNROLL
    for (int k = 0; k < kVectors; ++k) {
      SLACKLINE_UNROLL
      for (int i = 0; i < kInputs; ++i) loaded[k][i] = load(inputs[i] + begin + k * kStep);
    }
    SLACKLINE_UNROLL
    for (int k = 0; k < kVectors; ++k) store(y + begin + k * kStep, apply(loaded[k]));
  }
  SLACKLINE_BODY static Raw<T> apply(const Raw<T> (&loaded)[kInputs]) {
    Floats<kWidth<T>> first = unpack(loaded[0]);
    const Floats<kWidth<T>> last = unpack(loaded[kInputs - 1]);
    SLACKLINE_UNROLL
    for (int i = 0; i < kWidth<T>; ++i) first.of[i] = apply(first.of[i], last.of[i]);
    return pack<T>(first);
  }
  SLACKLINE_BODY T apply_one(std::int64_t i) const {
    return from_float<T>(apply(to_float(inputs[0][i]), to_float(inputs[kInputs - 1][i])));
  }
  SLACKLINE_BODY static float apply(float first, [[maybe_unused]] float last) {
    if constexpr (kInputs == 1) {
      return Function{}(first);
    } else {
      return Function{}(first, last);
    }
  }
};

template <class Function, class T, class Launch, class... Inputs>
void elementwise(const Launch& launch, void* y, std::int64_t values, Inputs... inputs) {
  using Body = Elementwise<T, Function, sizeof...(Inputs)>;
  launch(Grid{ceil_div(values, Body::kValues)},
         Body{{static_cast<const T*>(inputs)...}, static_cast<T*>(y), values});
}

/// A thread writes one vector: that is two pixels, or one as float. Moves 3 bytes and
/// kPixelChannels values a pixel.
template <class T>
struct IngestPixels {
  static constexpr const char* kName = "ingest";
  static constexpr int kThreads = 256, kPixels = kWidth<T> / kPixelChannels;  ///< of a thread
  using Shared = Nothing;

  const std::uint8_t* images;
  T* y;
  std::int64_t pixels;
  float mean[3], inv_deviation[3];

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const std::int64_t first = (block.x() * kThreads + block.thread()) * kPixels;
    if (first + kPixels <= pixels) {
      write<kPixels>(first);
    } else if (first < pixels) {
      write<1>(first);
    }
  }

 private:
  template <int kCount>
  SLACKLINE_BODY void write(std::int64_t first) const {
    Floats<kCount * kPixelChannels> values{};
    SLACKLINE_UNROLL
    for (int i = 0; i < kCount * 3; ++i) {
      const auto pixel = static_cast<float>(images[first * 3 + i]);
      values.of[i / 3 * kPixelChannels + i % 3] = (pixel - mean[i % 3]) * inv_deviation[i % 3];
    }
    store(y + first * kPixelChannels, pack<T>(values));
  }
};

template <class T, class Launch>
void ingest(const Launch& launch, const IngestArgs& args) {
  using Body = IngestPixels<T>;
  Body body{args.images, static_cast<T*>(args.y), args.pixels, {}, {}};
  for (std::size_t c = 0; c < 3; ++c) {
    body.mean[c] = args.normalisation.mean[c];
    body.inv_deviation[c] = args.normalisation.inv_deviation[c];
  }
  launch(Grid{ceil_div(args.pixels, Body::kThreads * Body::kPixels)}, body);
}

}  // namespace slackline::net::cuda::bodies
