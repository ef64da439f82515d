#pragma once

#include <span>

/// The updates of OptimizerSpec for flat buffers, one tensor or many. As the loops of kernels.h,
/// they have the same bits on every x86-64 CPU.
namespace slackline::nn {

/// v = momentum * v - rate * (g + decay * w); w = w + v, in one pass. `decay` is what multiplies w
/// in the gradient: 2 * c for WeightDecay::kL2Loss, c for kTorch, 0 for tensors without.
void sgd_momentum(std::span<const float> gradients, float rate, float momentum, float decay,
                  std::span<float> velocities, std::span<float> values);

/// The rate that LARS gives a tensor: rate * trust * |w| / (|g| + decay * |w|), or `rate` if |w| or
/// |g| is 0, as in MLPerf's lars_optimizer.py. What that adds to the denominator against a division
/// by 0, Keras's epsilon of 1e-7, is not here: nor is it in the paper.
[[nodiscard]] float lars_rate(std::span<const float> gradients, std::span<const float> values,
                              float rate, float trust, float decay);

/// In double.
[[nodiscard]] double sum_of_squares(std::span<const float> values);

}  // namespace slackline::nn
