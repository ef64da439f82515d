#pragma once

#include <slackline/model.h>

#include <cstdint>
#include <vector>

#include "net/program.h"

/// What the training of a program starts from, and what its tensors are called: the same on every
/// device.
namespace slackline::net {

/// What parameter or statistic `id` starts with, dense: as upstream's Keras model. It depends on
/// `seed` and the parameter's place among the parameters alone, whatever else the program has.
///
/// Kernels of convolutions: Keras's he_normal, a normal distribution that is cut off at two
/// standard deviations and then has the variance 2 / fan_in (He et al., 2015). The dense kernel:
/// Glorot's uniform one. Scales and running variances of batch norm 1, biases and running means 0.
[[nodiscard]] std::vector<float> initial_values(const Program& program, TensorId id,
                                                std::uint64_t seed);

/// What multiplies the values of a parameter in its gradient.
[[nodiscard]] float decay_of(const Tensor& parameter, const OptimizerSpec& optimizer);

/// A tensor of a model's TensorStore, and which of the program's it is; a velocity's and a
/// gradient's is its parameter.
struct StoredTensor {
  TensorInfo info;
  TensorId id = kNone;
};
/// Parameters, statistics, velocities and gradients, in that order.
[[nodiscard]] std::vector<StoredTensor> stored_tensors(const Program& program);

}  // namespace slackline::net
