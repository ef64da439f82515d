#pragma once

#include <cstdint>

#include "bodies/reduce.h"
#include "bodies/vector.h"
#include "net_cuda/kernels.h"

/// Dense layers, but for products of matrices: the bias, and layers with one input or one output.
/// Of any number of channels, value by value.
namespace slackline::net::cuda::bodies {

template <class T>
struct AddBias {
  static constexpr const char* kName = "add_bias";
  static constexpr int kThreads = 256;
  using Shared = Nothing;

  T* y;
  const float* bias;
  Rows size;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const std::int64_t i = block.x() * kThreads + block.thread();
    if (i >= size.rows * size.channels) return;
    y[i] = from_float<T>(to_float(y[i]) + bias[i % size.channels]);
  }
};

/// A block has 32 columns, a thread every eighth row of one.
template <class T>
struct BiasBackward {
  static constexpr const char* kName = "bias_backward";
  static constexpr int kColumns = 32, kLanes = 8, kThreads = kColumns * kLanes;
  struct Shared {
    float sums[kThreads];
  };

  const T* dy;
  float* dbias;
  Rows size;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    const std::int64_t channel = block.x() * kColumns + block.thread() % kColumns;
    float sum = 0;
    if (channel < size.channels) {
      const T* column = dy + channel;
#ifdef __CUDACC__
#pragma unroll 8
#endif
      for (std::int64_t row = block.thread() / kColumns; row < size.rows; row += kLanes) {
        sum += to_float(column[row * size.channels]);
      }
    }
    shared.sums[block.thread()] = sum;
    block.sync();
    if (block.thread() >= kColumns || channel >= size.channels) return;
    for (int lane = 1; lane < kLanes; ++lane) sum += shared.sums[lane * kColumns + block.thread()];
    dbias[channel] = sum;
  }
};

/// A matrix of (rows, columns) as memory has it: pixels with their fourth channel, which is
/// skipped.
template <class T, bool kPixels>
struct Matrix {
  static constexpr std::int64_t kChannels = kPixelChannels - 1;
  const T* values;
  std::int64_t columns;

  [[nodiscard]] SLACKLINE_BODY float at(std::int64_t row, std::int64_t column) const {
    if constexpr (kPixels) {
      return to_float(
          values[row * (columns / kChannels * kPixelChannels) + column + column / kChannels]);
    } else {
      return to_float(values[row * columns + column]);
    }
  }
};

/// y (rows) = a (rows, columns) * b (columns) [+ bias (1)]. A block a row.
template <class T, bool kPixels>
struct RowProducts {
  static constexpr const char* kName = "row_products";
  static constexpr int kThreads = 256;
  struct Shared {
    float sums[kThreads];
  };

  Matrix<T, kPixels> a;
  const T* b;
  const float* bias;  ///< or null
  T* y;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    float sum = 0;
#ifdef __CUDACC__
#pragma unroll 8
#endif
    for (std::int64_t c = block.thread(); c < a.columns; c += kThreads) {
      sum += a.at(block.x(), c) * to_float(b[c]);
    }
    sum = reduce<kThreads>(block, shared.sums, sum, [](float p, float q) { return p + q; });
    if (block.thread() == 0) y[block.x()] = from_float<T>(bias == nullptr ? sum : sum + bias[0]);
  }
};

/// y (columns) = a (rows) * b (rows, columns). A thread a column.
template <class T, bool kPixels>
struct ColumnProducts {
  static constexpr const char* kName = "column_products";
  static constexpr int kThreads = 256;
  using Shared = Nothing;

  std::int64_t rows;
  const T* a;
  Matrix<T, kPixels> b;
  T* y;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const std::int64_t column = block.x() * kThreads + block.thread();
    if (column >= b.columns) return;
    float sum = 0;
#ifdef __CUDACC__
#pragma unroll 8
#endif
    for (std::int64_t row = 0; row < rows; ++row) sum += to_float(a[row]) * b.at(row, column);
    y[column] = from_float<T>(sum);
  }
};

/// y (rows, columns) = a (rows) * b (columns) [+ bias (columns)]. A thread a value.
template <class T>
struct OuterProduct {
  static constexpr const char* kName = "outer_product";
  static constexpr int kThreads = 256;
  using Shared = Nothing;

  Rows size;
  const T *a, *b;
  const float* bias;  ///< or null
  T* y;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const std::int64_t i = block.x() * kThreads + block.thread();
    if (i >= size.rows * size.channels) return;
    const std::int64_t column = i % size.channels;
    const float product = to_float(a[i / size.channels]) * to_float(b[column]);
    y[i] = from_float<T>(bias == nullptr ? product : product + bias[column]);
  }
};

template <class T, class Launch>
void outer_product(const Launch& launch, Rows size, const T* a, const T* b, const float* bias,
                   T* y) {
  launch(Grid{ceil_div(size.rows * size.channels, OuterProduct<T>::kThreads)},
         OuterProduct<T>{size, a, b, bias, y});
}

template <class T, class Launch>
void thin_dense(const Launch& launch, const ThinDenseArgs& args, const T* x, const T* weight,
                const float* bias, T* y) {
  if (args.outputs != 1) {
    outer_product(launch, {args.rows, args.outputs}, x, weight, bias, y);
  } else if (args.is_of_pixels) {
    launch(Grid{args.rows}, RowProducts<T, true>{{x, args.inputs}, weight, bias, y});
  } else {
    launch(Grid{args.rows}, RowProducts<T, false>{{x, args.inputs}, weight, bias, y});
  }
}

template <class T, class Launch>
void thin_dense_backward(const Launch& launch, const ThinDenseArgs& args, const T* dy, const T* x,
                         const T* weight, T* dx, T* dweight) {
  const auto columns_of = [&]<bool kPixels>(const T* a, const T* b, std::int64_t columns) {
    using Body = ColumnProducts<T, kPixels>;
    launch(Grid{ceil_div(columns, Body::kThreads)}, Body{args.rows, a, {b, columns}, dweight});
  };
  if (args.outputs != 1) {  // one input: x is a column, and dy the matrix
    columns_of.template operator()<false>(x, dy, args.outputs);
    if (dx != nullptr) {
      launch(Grid{args.rows}, RowProducts<T, false>{{dy, args.outputs}, weight, nullptr, dx});
    }
    return;
  }
  if (args.is_of_pixels) {
    columns_of.template operator()<true>(dy, x, args.inputs);
  } else {
    columns_of.template operator()<false>(dy, x, args.inputs);
  }
  if (dx != nullptr) outer_product(launch, {args.rows, args.inputs}, dy, weight, nullptr, dx);
}

template <class T, class Launch>
void add_bias(const Launch& launch, void* y, const float* bias, Rows size) {
  launch(Grid{ceil_div(size.rows * size.channels, AddBias<T>::kThreads)},
         AddBias<T>{static_cast<T*>(y), bias, size});
}

template <class T, class Launch>
void bias_backward(const Launch& launch, const void* dy, float* dbias, Rows size) {
  launch(Grid{ceil_div(size.channels, BiasBackward<T>::kColumns)},
         BiasBackward<T>{static_cast<const T*>(dy), dbias, size});
}

}  // namespace slackline::net::cuda::bodies
