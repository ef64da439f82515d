#pragma once

#include <slackline/model.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace slackline::nn {

/// The parameters of a model with their gradients and velocities: three arrays, each contiguous, so
/// that a strategy can reduce all gradients at once. Layers are parts of them.
///
/// Lifecycle  allocate(), then the others. Only allocate() allocates.
class Parameters {
 public:
  /// `count` parameters, gradients and velocities, all zero.
  void allocate(std::size_t count);

  [[nodiscard]] std::span<float> values() noexcept { return values_; }
  [[nodiscard]] std::span<float> gradients() noexcept { return gradients_; }

  /// v = momentum * v - learning_rate * g; w = w + v.
  void update(const UpdateRule& rule);

 private:
  std::vector<float> values_, gradients_, velocities_;
};

/// Uniform in ±sqrt(6 / (fan_in + fan_out)), Glorot's. Depends on `seed` and `tensor`, the place of
/// this one in its model, alone.
void fill_glorot_uniform(std::span<float> weights, std::size_t fan_in, std::size_t fan_out,
                         std::uint64_t seed, std::uint32_t tensor);

}  // namespace slackline::nn
