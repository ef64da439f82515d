#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "net_cpu/bf16.h"

namespace slackline::net::cpu {

/// How the values of an activation lie in memory: channels in blocks of `lanes`, whose values of a
/// pixel are beside each other. Strides are in values.
struct Planes {
  std::size_t images = 0, blocks = 0, pixels = 0, lanes = 0;
  std::size_t image_stride = 0, block_stride = 0, pixel_stride = 0;

  [[nodiscard]] std::size_t channels() const { return blocks * lanes; }
  [[nodiscard]] std::size_t at(std::size_t image, std::size_t block) const {
    return image * image_stride + block * block_stride;
  }
};

/// Batch norm with its residual sum and ReLU, over whole activations on several threads. Results do
/// not depend on the number of threads, nor on the CPU. Arrays by channel hold `planes.channels()`
/// values; activations do not overlap unless it is said.
///
/// Lifecycle  construct for the largest activation, then any number of calls, which do not
/// allocate. Threads    one caller at a time, whose OpenMP threads are used.
template <class T>
class BatchNormKernels {
 public:
  /// Activations have at most so many blocks times images, and so many channels.
  BatchNormKernels(std::size_t most_planes, std::size_t most_channels, int threads);

  struct Forward {
    Planes planes;
    const T* x = nullptr;
    const T* residual = nullptr;  ///< or null
    T* y = nullptr;
    const float* scale = nullptr;
    const float* bias = nullptr;
    float* running_mean = nullptr;
    float* running_variance = nullptr;
    float* mean = nullptr;           ///< out: in training the batch's, else the running one
    float* inv_deviation = nullptr;  ///< out
    bool relu = false;
    double epsilon = 0, keep = 0;
  };
  /// With the batch's statistics; moves the running ones, the variance by its unbiased estimate.
  void train(const Forward& args);
  /// With the running statistics.
  void evaluate(const Forward& args);

  struct Backward {
    Planes planes;
    const T* dy = nullptr;
    const T* dy_other = nullptr;  ///< added to dy, or null
    const T* y = nullptr;         ///< of the ReLU, or null
    const T* x = nullptr;
    const float* scale = nullptr;
    const float* mean = nullptr;
    const float* inv_deviation = nullptr;
    T* dx = nullptr;         ///< may be dy if there is no dresidual
    T* dresidual = nullptr;  ///< may be dy; or null
    float* dscale = nullptr;
    float* dbias = nullptr;
  };
  void backward(const Backward& args);

 private:
  /// Runs the three passes: partial(image, block) of all planes, finish(block), apply(image,
  /// block).
  template <class Partial, class Finish, class Apply>
  void run(const Planes& planes, Partial partial, Finish finish, Apply apply) const;

  void apply_forward(const Forward& args, std::size_t image, std::size_t block) const;

  const int threads_;
  std::vector<double> first_, second_;               ///< sums of each plane, (block, image, lane)
  std::vector<float> factor_, x_factor_, constant_;  ///< by channel
};

}  // namespace slackline::net::cpu
