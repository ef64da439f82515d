#pragma once

// The inner loops of batch norm, on one plane: the pixels of one image in one block of channels.

#include <cstddef>
#include <cstdint>

#include "net_cpu/bf16.h"

namespace slackline::net::cpu {

/// Arrays of `lanes` values, one for each channel of the block; pixel i's are at [i * stride].
/// Sums are taken in the same order by every version of a kernel, so that all give the same bits.
template <class T>
struct PlaneKernels {
  /// Mean and sum of squared deviations from it.
  void (*statistics)(const T* x, std::size_t pixels, std::size_t stride, double* mean,
                     double* squares);

  /// y = (x - mean) * factor + bias [+ residual] [, then max(y, 0)]. `residual` may be null.
  void (*apply)(const T* x, const T* residual, T* y, std::size_t pixels, std::size_t stride,
                const float* mean, const float* factor, const float* bias, bool relu);

  struct Derivative {
    const T* dy;
    const T* other;  ///< added to dy, or null
    const T* y;      ///< where it is not above 0, the derivative is 0; or null
  };
  /// Sums of dz and of dz * (x - mean). Stores dz unless `dz` is null.
  void (*backward_sums)(const Derivative& derivative, const T* x, T* dz, std::size_t pixels,
                        std::size_t stride, const float* mean, double* sum, double* sum_with_x);

  /// dx = factor * dz - x_factor * (x - mean) - constant.
  void (*backward_apply)(const Derivative& derivative, const T* x, T* dx, std::size_t pixels,
                         std::size_t stride, const float* mean, const float* factor,
                         const float* x_factor, const float* constant);
};

/// The fastest versions for this CPU. Lanes are 1, 8 or 16.
template <class T>
const PlaneKernels<T>& plane_kernels(std::size_t lanes);

// One for each instruction set, all from plane_kernels_body.h.
template <class T>
const PlaneKernels<T>& plane_kernels_portable(std::size_t lanes);
template <class T>
const PlaneKernels<T>& plane_kernels_avx2(std::size_t lanes);
template <class T>
const PlaneKernels<T>& plane_kernels_avx512(std::size_t lanes);

}  // namespace slackline::net::cpu
