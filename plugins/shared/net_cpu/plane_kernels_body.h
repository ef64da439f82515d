// Compiled once for each instruction set: the file that includes this defines
// SLACKLINE_PLANE_KERNELS, the name of its table. Not a header: everything here is local to that
// file.

#include <cstring>
#include <type_traits>

#include "plane_kernels.h"

namespace slackline::net::cpu {
namespace {

// One by one: GCC 12 takes a size that depends on a template's parameter for that of one float.
template <std::size_t kLanes>
struct Vectors;
template <>
struct Vectors<1> {
  using Float = float;
};
template <>
struct Vectors<8> {
  using Float = float __attribute__((vector_size(32)));
};
template <>
struct Vectors<16> {
  using Float = float __attribute__((vector_size(64)));
};

// Vectors go through references: by value they would have another calling convention in each file.

template <std::size_t kLanes>
[[gnu::always_inline]] inline void load(typename Vectors<kLanes>::Float& out, const float* from) {
  std::memcpy(&out, from, sizeof out);
}
template <std::size_t kLanes>
[[gnu::always_inline]] inline void store(const typename Vectors<kLanes>::Float& value, float* to) {
  std::memcpy(to, &value, sizeof value);
}
template <std::size_t kLanes>
[[gnu::always_inline]] inline void load(typename Vectors<kLanes>::Float& out, const Bf16* from) {
  float lanes[kLanes];
  for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = to_float(from[lane]);
  std::memcpy(&out, lanes, sizeof out);
}
template <std::size_t kLanes>
[[gnu::always_inline]] inline void store(const typename Vectors<kLanes>::Float& value, Bf16* to) {
  float lanes[kLanes];
  std::memcpy(lanes, &value, sizeof value);
  for (std::size_t lane = 0; lane < kLanes; ++lane) to[lane] = to_bf16(lanes[lane]);
}

template <class T, std::size_t kLanes>
struct Kernels {
  using V = typename Vectors<kLanes>::Float;

  /// So many pixels fit into the first-level cache, and are summed up in float before they go into
  /// a double.
  static constexpr std::size_t kChunk = 128;
  static constexpr std::size_t kSums = 4;  ///< independent ones, to keep the adders busy

  [[gnu::always_inline]] static void add_up(const V (&sums)[kSums], V& total) {
    total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  static void statistics(const T* x, std::size_t pixels, std::size_t stride, double* mean,
                         double* squares) {
    double count = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) mean[lane] = squares[lane] = 0;
    for (std::size_t begin = 0; begin < pixels; begin += kChunk) {
      const std::size_t length = pixels - begin < kChunk ? pixels - begin : kChunk;
      const T* const from = x + begin * stride;
      V sums[kSums] = {};
      for_each_pixel(length, [&](std::size_t i, std::size_t k) {
        V value;
        load<kLanes>(value, from + i * stride);
        sums[k] += value;
      });
      V chunk_mean;
      add_up(sums, chunk_mean);
      chunk_mean /= static_cast<float>(length);
      V deviations[kSums] = {};
      for_each_pixel(length, [&](std::size_t i, std::size_t k) {
        V value;
        load<kLanes>(value, from + i * stride);
        value -= chunk_mean;
        deviations[k] += value * value;
      });
      V chunk_squares;
      add_up(deviations, chunk_squares);
      // Chan, Golub, LeVeque (1979): joins the statistics of two sets. The rounding of the chunk's
      // mean only costs a second-order error in its squares.
      const auto chunk_count = static_cast<double>(length);
      const double total = count + chunk_count;
      float means[kLanes], sums_of_squares[kLanes];
      store<kLanes>(chunk_mean, means);
      store<kLanes>(chunk_squares, sums_of_squares);
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const double delta = static_cast<double>(means[lane]) - mean[lane];
        mean[lane] += delta * chunk_count / total;
        squares[lane] += static_cast<double>(sums_of_squares[lane]) +
                         delta * delta * count * chunk_count / total;
      }
      count = total;
    }
  }

  static void apply(const T* x, const T* residual, T* y, std::size_t pixels, std::size_t stride,
                    const float* mean, const float* factor, const float* bias, bool relu) {
    V m, f, b;
    load<kLanes>(m, mean);
    load<kLanes>(f, factor);
    load<kLanes>(b, bias);
    const auto loop = [&](auto with_residual, auto with_relu) {
      for (std::size_t i = 0; i < pixels; ++i) {
        V value;
        load<kLanes>(value, x + i * stride);
        value = (value - m) * f + b;
        if constexpr (with_residual()) {
          V other;
          load<kLanes>(other, residual + i * stride);
          value += other;
        }
        if constexpr (with_relu()) value = value > 0.0f ? value : V{};
        store<kLanes>(value, y + i * stride);
      }
    };
    using Yes = std::true_type;
    using No = std::false_type;
    if (residual != nullptr) {
      relu ? loop(Yes(), Yes()) : loop(Yes(), No());
    } else {
      relu ? loop(No(), Yes()) : loop(No(), No());
    }
  }

  using Derivative = typename PlaneKernels<T>::Derivative;

  static void backward_sums(const Derivative& d, const T* x, T* dz, std::size_t pixels,
                            std::size_t stride, const float* mean, double* sum,
                            double* sum_with_x) {
    V m;
    load<kLanes>(m, mean);
    for (std::size_t lane = 0; lane < kLanes; ++lane) sum[lane] = sum_with_x[lane] = 0;
    for_each_kind(d, [&](auto with_other, auto with_relu) {
      for (std::size_t begin = 0; begin < pixels; begin += kChunk) {
        const std::size_t length = pixels - begin < kChunk ? pixels - begin : kChunk;
        V sums[kSums] = {}, with_x[kSums] = {};
        for_each_pixel(length, [&](std::size_t i, std::size_t k) {
          const std::size_t at = (begin + i) * stride;
          V value;
          derivative<with_other(), with_relu()>(d, at, value);
          if (dz != nullptr) store<kLanes>(value, dz + at);
          V input;
          load<kLanes>(input, x + at);
          sums[k] += value;
          with_x[k] += value * (input - m);
        });
        V chunk_sum, chunk_with_x;
        add_up(sums, chunk_sum);
        add_up(with_x, chunk_with_x);
        float lanes_of_sum[kLanes], lanes_with_x[kLanes];
        store<kLanes>(chunk_sum, lanes_of_sum);
        store<kLanes>(chunk_with_x, lanes_with_x);
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
          sum[lane] += static_cast<double>(lanes_of_sum[lane]);
          sum_with_x[lane] += static_cast<double>(lanes_with_x[lane]);
        }
      }
    });
  }

  static void backward_apply(const Derivative& d, const T* x, T* dx, std::size_t pixels,
                             std::size_t stride, const float* mean, const float* factor,
                             const float* x_factor, const float* constant) {
    V m, f, xf, c;
    load<kLanes>(m, mean);
    load<kLanes>(f, factor);
    load<kLanes>(xf, x_factor);
    load<kLanes>(c, constant);
    for_each_kind(d, [&](auto with_other, auto with_relu) {
      for (std::size_t i = 0; i < pixels; ++i) {
        const std::size_t at = i * stride;
        V value;
        derivative<with_other(), with_relu()>(d, at, value);
        V input;
        load<kLanes>(input, x + at);
        value = f * value - xf * (input - m) - c;
        store<kLanes>(value, dx + at);
      }
    });
  }

 private:
  /// f(i, k): k goes round the independent sums.
  template <class Function>
  [[gnu::always_inline]] static void for_each_pixel(std::size_t count, Function f) {
    std::size_t i = 0;
    for (; i + kSums <= count; i += kSums) {
      for (std::size_t k = 0; k < kSums; ++k) f(i + k, k);
    }
    for (std::size_t k = 0; i < count; ++i, ++k) f(i, k);
  }

  template <class Function>
  [[gnu::always_inline]] static void for_each_kind(const Derivative& d, Function f) {
    using Yes = std::true_type;
    using No = std::false_type;
    if (d.other != nullptr) {
      d.y != nullptr ? f(Yes(), Yes()) : f(Yes(), No());
    } else {
      d.y != nullptr ? f(No(), Yes()) : f(No(), No());
    }
  }

  template <bool kWithOther, bool kWithRelu>
  [[gnu::always_inline]] static void derivative(const Derivative& d, std::size_t at, V& value) {
    load<kLanes>(value, d.dy + at);
    if constexpr (kWithOther) {
      V other;
      load<kLanes>(other, d.other + at);
      value += other;
    }
    if constexpr (kWithRelu) {
      V y;
      load<kLanes>(y, d.y + at);
      value = y > 0.0f ? value : V{};
    }
  }
};

template <class T, std::size_t kLanes>
constexpr PlaneKernels<T> kTable = {Kernels<T, kLanes>::statistics, Kernels<T, kLanes>::apply,
                                    Kernels<T, kLanes>::backward_sums,
                                    Kernels<T, kLanes>::backward_apply};

}  // namespace

template <class T>
const PlaneKernels<T>& SLACKLINE_PLANE_KERNELS(std::size_t lanes) {
  return lanes == 16 ? kTable<T, 16> : lanes == 8 ? kTable<T, 8> : kTable<T, 1>;
}
template const PlaneKernels<float>& SLACKLINE_PLANE_KERNELS(std::size_t lanes);
template const PlaneKernels<Bf16>& SLACKLINE_PLANE_KERNELS(std::size_t lanes);

}  // namespace slackline::net::cpu
