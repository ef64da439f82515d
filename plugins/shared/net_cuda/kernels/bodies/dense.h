#pragma once

#include <cstdint>

#include "bodies/vector.h"
#include "net_cuda/kernels.h"

/// The bias of a dense layer: small matrices of any number of channels, value by value.
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
