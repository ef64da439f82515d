#pragma once

// Looks into a model through its interface.

#include <slackline/model.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace slackline::testing_support {

/// Adds `by` to parameter `i` of a model that was built without momentum.
inline void move_parameter(Model& model, std::size_t i, float by) {
  const std::span<float> gradients = model.gradients();
  std::ranges::fill(gradients, 0.0f);
  gradients[i] = -by;
  model.update({.learning_rate = 1});
}

inline double loss_of(Model& model, const Batch& batch) {
  StepSums sums;
  model.evaluate(batch, sums);
  return sums.loss;
}

/// The gradients that the model says.
inline std::vector<float> gradients_of(Model& model, const Batch& batch,
                                       std::int32_t global_batch_size) {
  StepSums sums;
  model.forward_backward(batch, global_batch_size, sums);
  return {model.gradients().begin(), model.gradients().end()};
}

/// The gradient of the summed loss by parameter `i`, by central differences.
inline double difference_gradient(Model& model, const Batch& batch, std::size_t i, float step) {
  move_parameter(model, i, step);
  const double above = loss_of(model, batch);
  move_parameter(model, i, -2 * step);
  const double below = loss_of(model, batch);
  move_parameter(model, i, step);
  return (above - below) / (2.0 * static_cast<double>(step));
}

}  // namespace slackline::testing_support
