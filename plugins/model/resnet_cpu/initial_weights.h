#pragma once

#include <cstdint>
#include <vector>

#include "net/program.h"

namespace slackline {

/// What parameter `id` starts with, dense: as upstream's Keras model. It depends on `seed` and the
/// parameter's place among the parameters alone, whatever else the program has.
///
/// Kernels of convolutions: Keras's he_normal, a normal distribution that is cut off at two
/// standard deviations and then has the variance 2 / fan_in (He et al., 2015). The dense kernel:
/// Glorot's uniform one. Scales of batch norm 1, biases 0.
[[nodiscard]] std::vector<float> initial_weights(const net::Program& program, net::TensorId id,
                                                 std::uint64_t seed);

}  // namespace slackline
