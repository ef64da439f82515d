#pragma once

// Convolutions that are too large for a reference: operands that a formula gives, and some hundred
// results in float64.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "../net/comparison.h"
#include "cuda/handles.h"
#include "cudnn/patterns.h"
#include "cudnn/plan.h"

namespace slackline::net::cuda::testing_support {

/// Which of a convolution's three products.
enum class ConvPass : std::uint8_t { kForward, kData, kWeights };

/// Values of a tensor: those of a table, again and again. They are n/256 with |n| below 256, so
/// that all types hold them exactly, and TF32's rounding changes nothing.
class PeriodicValues {
 public:
  static constexpr std::size_t kPeriod = 65521;  // a prime: no row, plane or image is like another

  explicit PeriodicValues(std::uint32_t seed) : table_(kPeriod) {
    std::mt19937 words(seed);
    for (float& value : table_) {
      value = static_cast<float>(static_cast<int>(words() % 511) - 255) / 256;
    }
  }
  [[nodiscard]] double at(std::int64_t place) const {
    return static_cast<double>(table_[static_cast<std::size_t>(place) % kPeriod]);
  }
  [[nodiscard]] const std::vector<float>& table() const { return table_; }

 private:
  std::vector<float> table_;
};

/// A product, whatever the type: of which tensors, and what some of its results have to be. Tensors
/// are (N, H, W, C), weights (K, R, S, C); extents are in logical order.
class SampledConv {
 public:
  SampledConv(ConvPass pass, const cudnn::ConvShape& shape) : pass_(pass), shape_(shape) {
    const auto size = static_cast<std::int64_t>(values_of(result_extents()));
    places_ = {0, size - 1};
    std::mt19937_64 words(3);
    while (places_.size() < kSamples) {
      places_.push_back(static_cast<std::int64_t>(words() % static_cast<std::uint64_t>(size)));
    }
    for (const std::int64_t place : places_) expected_.push_back(expected_at(place));
  }

  [[nodiscard]] ConvPass pass() const { return pass_; }
  [[nodiscard]] const cudnn::ConvShape& shape() const { return shape_; }
  /// x, or for the gradient of x that of y.
  [[nodiscard]] Extents a_extents() const { return pass_ == ConvPass::kData ? y() : shape_.x; }
  /// The weights, or for their gradient that of y.
  [[nodiscard]] Extents b_extents() const { return pass_ == ConvPass::kWeights ? y() : w(); }
  [[nodiscard]] Extents result_extents() const {
    return pass_ == ConvPass::kForward ? y() : pass_ == ConvPass::kData ? shape_.x : w();
  }
  [[nodiscard]] const PeriodicValues& a() const { return a_; }
  [[nodiscard]] const PeriodicValues& b() const { return b_; }
  /// Of results: the first, the last, and any.
  [[nodiscard]] const std::vector<std::int64_t>& places() const { return places_; }
  [[nodiscard]] const std::vector<double>& expected() const { return expected_; }

 private:
  static constexpr std::size_t kSamples = 256;

  [[nodiscard]] Extents y() const { return shape_.y(); }
  [[nodiscard]] Extents w() const { return shape_.weight(); }

  static std::int64_t flat(const Extents& e, std::int64_t n, std::int64_t c, std::int64_t h,
                           std::int64_t w) {
    return ((n * e[2] + h) * e[3] + w) * e[1] + c;
  }

  [[nodiscard]] double expected_at(std::int64_t place) const {
    const Extents e = result_extents();
    const std::int64_t c = place % e[1], column = place / e[1] % e[3],
                       row = place / (e[1] * e[3]) % e[2], n = place / (e[1] * e[3] * e[2]);
    switch (pass_) {
      case ConvPass::kForward:
        return forward(n, c, row, column);
      case ConvPass::kData:
        return data(n, c, row, column);
      case ConvPass::kWeights:
        break;
    }
    return weights(n, c, row, column);
  }

  [[nodiscard]] double forward(std::int64_t n, std::int64_t k, std::int64_t p,
                               std::int64_t q) const {
    double sum = 0;
    for (std::int64_t r = 0; r < w()[2]; ++r) {
      for (std::int64_t s = 0; s < w()[3]; ++s) {
        const std::int64_t row = p * shape_.window.stride - shape_.window.top + r;
        const std::int64_t column = q * shape_.window.stride - shape_.window.left + s;
        if (row < 0 || row >= shape_.x[2] || column < 0 || column >= shape_.x[3]) continue;
        for (std::int64_t c = 0; c < shape_.x[1]; ++c) {
          sum += a_.at(flat(shape_.x, n, c, row, column)) * b_.at(flat(w(), k, c, r, s));
        }
      }
    }
    return sum;
  }

  [[nodiscard]] double data(std::int64_t n, std::int64_t c, std::int64_t h,
                            std::int64_t column) const {
    const std::int64_t stride = shape_.window.stride;
    double sum = 0;
    for (std::int64_t r = 0; r < w()[2]; ++r) {
      for (std::int64_t s = 0; s < w()[3]; ++s) {
        const std::int64_t p = h + shape_.window.top - r, q = column + shape_.window.left - s;
        if (p < 0 || p % stride != 0 || p / stride >= y()[2]) continue;
        if (q < 0 || q % stride != 0 || q / stride >= y()[3]) continue;
        for (std::int64_t k = 0; k < w()[0]; ++k) {
          sum += a_.at(flat(y(), n, k, p / stride, q / stride)) * b_.at(flat(w(), k, c, r, s));
        }
      }
    }
    return sum;
  }

  [[nodiscard]] double weights(std::int64_t k, std::int64_t c, std::int64_t r,
                               std::int64_t s) const {
    const Extents of_y = y();
    double sum = 0;
    for (std::int64_t n = 0; n < of_y[0]; ++n) {
      for (std::int64_t p = 0; p < of_y[2]; ++p) {
        const std::int64_t row = p * shape_.window.stride - shape_.window.top + r;
        if (row < 0 || row >= shape_.x[2]) continue;
        for (std::int64_t q = 0; q < of_y[3]; ++q) {
          const std::int64_t column = q * shape_.window.stride - shape_.window.left + s;
          if (column < 0 || column >= shape_.x[3]) continue;
          sum += a_.at(flat(shape_.x, n, c, row, column)) * b_.at(flat(of_y, n, k, p, q));
        }
      }
    }
    return sum;
  }

  const ConvPass pass_;
  const cudnn::ConvShape shape_;
  const PeriodicValues a_{1}, b_{2};
  std::vector<std::int64_t> places_;
  std::vector<double> expected_;
};

inline std::size_t bytes_of(cudnnDataType_t type) { return type == CUDNN_DATA_FLOAT ? 4 : 2; }

inline void store(cudnnDataType_t type, float value, std::byte* at) {
  const __half half = __float2half_rn(value);
  const __nv_bfloat16 bfloat = __float2bfloat16_rn(value);
  const void* const from = type == CUDNN_DATA_FLOAT  ? static_cast<const void*>(&value)
                           : type == CUDNN_DATA_HALF ? static_cast<const void*>(&half)
                                                     : static_cast<const void*>(&bfloat);
  std::memcpy(at, from, bytes_of(type));
}

inline float load(cudnnDataType_t type, const std::byte* at) {
  float value = 0;
  __half half;
  __nv_bfloat16 bfloat;
  void* const to = type == CUDNN_DATA_FLOAT  ? static_cast<void*>(&value)
                   : type == CUDNN_DATA_HALF ? static_cast<void*>(&half)
                                             : static_cast<void*>(&bfloat);
  std::memcpy(to, at, bytes_of(type));
  return type == CUDNN_DATA_FLOAT  ? value
         : type == CUDNN_DATA_HALF ? __half2float(half)
                                   : __bfloat162float(bfloat);
}

/// Its tensors on a device, in one type. All of `conv`, `runtime` and `stream` outlive it.
class ConvOnDevice {
 public:
  ConvOnDevice(const SampledConv& conv, cudnnDataType_t type, slackline::cuda::Runtime& runtime,
               cudaStream_t stream)
      : conv_(conv),
        type_(type),
        runtime_(runtime),
        stream_(stream),
        a_(runtime, values_of(conv.a_extents()) * bytes_of(type)),
        b_(runtime, values_of(conv.b_extents()) * bytes_of(type)),
        result_(runtime, values_of(conv.result_extents()) * bytes_of(type)),
        samples_(runtime, conv.places().size() * bytes_of(type)) {
    write(a_, conv.a());
    write(b_, conv.b());
  }

  [[nodiscard]] cudnn::Graph graph() const {
    cudnn::ConvShape shape = conv_.shape();
    shape.type = type_;
    return conv_.pass() == ConvPass::kForward ? cudnn::conv(shape)
           : conv_.pass() == ConvPass::kData  ? cudnn::conv_backward_data(shape)
                                              : cudnn::conv_backward_weights(shape);
  }
  /// The operands, and the result behind them.
  [[nodiscard]] std::array<cudnn::Binding, 3> bindings() const {
    namespace uid = cudnn::uid;
    switch (conv_.pass()) {
      case ConvPass::kForward:
        return {{{uid::kX, a_.data()}, {uid::kWeight, b_.data()}, {uid::kY, result_.data()}}};
      case ConvPass::kData:
        return {{{uid::kDy, a_.data()}, {uid::kWeight, b_.data()}, {uid::kDx, result_.data()}}};
      case ConvPass::kWeights:
        break;
    }
    return {{{uid::kX, a_.data()}, {uid::kDy, b_.data()}, {uid::kDweight, result_.data()}}};
  }

  /// Relative L2 error of the samples behind `run`, which overwrites results that are NaN. Waits.
  double error_behind(const std::function<void(cudaStream_t)>& run) {
    runtime_.fill(result_.data(), 0xff, result_.bytes(), stream_);
    const std::array reads{a_.range(), b_.range()};
    const std::array writes{result_.range()};
    runtime_.enqueue({"conv", reads, writes}, stream_, run);
    const std::size_t bytes = bytes_of(type_);
    for (std::size_t i = 0; i < conv_.places().size(); ++i) {
      runtime_.copy(samples_.data() + i * bytes,
                    result_.data() + static_cast<std::size_t>(conv_.places()[i]) * bytes, bytes,
                    stream_);
    }
    runtime_.synchronize(stream_);
    std::vector<float> found;
    for (std::size_t i = 0; i < conv_.places().size(); ++i) {
      found.push_back(load(type_, samples_.data() + i * bytes));
    }
    return net::testing_support::relative_error(found, conv_.expected());
  }

 private:
  using Memory = slackline::cuda::DeviceBuffer<std::byte>;

  /// The host sends a period; the device copies what it has until all is written.
  void write(const Memory& to, const PeriodicValues& values) {
    const slackline::cuda::PinnedBuffer<std::byte> period(
        runtime_, PeriodicValues::kPeriod * bytes_of(type_));
    for (std::size_t i = 0; i < PeriodicValues::kPeriod; ++i) {
      store(type_, values.table()[i], period.data() + i * bytes_of(type_));
    }
    std::size_t written = std::min(period.bytes(), to.bytes());
    runtime_.copy(to.data(), period.data(), written, stream_);
    while (written < to.bytes()) {  // whole periods
      const std::size_t more = std::min(written, to.bytes() - written);
      runtime_.copy(to.data() + written, to.data(), more, stream_);
      written += more;
    }
    runtime_.synchronize(stream_);
  }

  const SampledConv& conv_;
  const cudnnDataType_t type_;
  slackline::cuda::Runtime& runtime_;
  const cudaStream_t stream_;
  const Memory a_, b_, result_;
  const slackline::cuda::PinnedBuffer<std::byte> samples_;
};

}  // namespace slackline::net::cuda::testing_support
