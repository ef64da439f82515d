#include "nn/optimizer.h"

#include <array>
#include <cassert>
#include <cmath>
#include <cstddef>

#include "wide_clones.h"

namespace slackline::nn {
namespace {

// Full blocks, whose fixed length lets the compiler use vectors at any level of optimisation, and
// then the rest.

constexpr std::size_t kBlock = 16;

SLACKLINE_WIDE_CLONES
void sgd_momentum_raw(const float* __restrict gradients, std::size_t count, float rate,
                      float momentum, float decay, float* __restrict velocities,
                      float* __restrict values) {
  std::size_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    for (std::size_t k = i; k < i + kBlock; ++k) {
      velocities[k] = momentum * velocities[k] - rate * (gradients[k] + decay * values[k]);
      values[k] += velocities[k];
    }
  }
  for (; i < count; ++i) {
    velocities[i] = momentum * velocities[i] - rate * (gradients[i] + decay * values[i]);
    values[i] += velocities[i];
  }
}

/// As many running sums as a block has lanes, added up from the first to the last: an order that
/// depends on the count alone.
SLACKLINE_WIDE_CLONES
double sum_of_squares_raw(const float* __restrict values, std::size_t count) {
  std::array<double, kBlock> sums{};
  std::size_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    for (std::size_t k = 0; k < kBlock; ++k) {
      const auto value = static_cast<double>(values[i + k]);
      sums[k] += value * value;
    }
  }
  for (std::size_t k = 0; i + k < count; ++k) {
    const auto value = static_cast<double>(values[i + k]);
    sums[k] += value * value;
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

void sgd_momentum(std::span<const float> gradients, float rate, float momentum, float decay,
                  std::span<float> velocities, std::span<float> values) {
  assert(gradients.size() == values.size() && velocities.size() == values.size());
  sgd_momentum_raw(gradients.data(), gradients.size(), rate, momentum, decay, velocities.data(),
                   values.data());
}

float lars_rate(std::span<const float> gradients, std::span<const float> values, float rate,
                float trust, float decay) {
  assert(gradients.size() == values.size());
  const double gradient_norm = std::sqrt(sum_of_squares(gradients));
  const double value_norm = std::sqrt(sum_of_squares(values));
  if (!(gradient_norm > 0 && value_norm > 0)) return rate;
  const double ratio = static_cast<double>(trust) * value_norm /
                       (gradient_norm + static_cast<double>(decay) * value_norm);
  return static_cast<float>(static_cast<double>(rate) * ratio);
}

double sum_of_squares(std::span<const float> values) {
  return sum_of_squares_raw(values.data(), values.size());
}

}  // namespace slackline::nn
