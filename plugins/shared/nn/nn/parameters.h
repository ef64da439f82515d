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
class Parameters final : public TensorStore {
 public:
  /// These parameters, one behind the other, with their gradients and velocities: all zero.
  void allocate(const std::vector<TensorInfo>& parameters, float momentum);

  [[nodiscard]] std::span<float> values() noexcept { return values_; }
  [[nodiscard]] std::span<float> gradients() noexcept { return gradients_; }

  /// v = momentum * v - learning_rate * g; w = w + v.
  void update(const UpdateRule& rule);

  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return tensors_; }
  void read(std::size_t index, std::span<float> values) override;
  void write(std::size_t index, std::span<const float> values) override;

 private:
  [[nodiscard]] std::span<float> tensor(std::size_t index);

  float momentum_ = 0;
  std::vector<TensorInfo> tensors_;  ///< parameters, then their velocities, then their gradients
  std::vector<std::size_t> begins_;  ///< of each in the array that it is in
  std::vector<float> values_, gradients_, velocities_;
};

/// Uniform in ±sqrt(6 / (fan_in + fan_out)), Glorot's. Depends on `seed` and `tensor`, the place of
/// this one in its model, alone.
void fill_glorot_uniform(std::span<float> weights, std::size_t fan_in, std::size_t fan_out,
                         std::uint64_t seed, std::uint32_t tensor);

}  // namespace slackline::nn
