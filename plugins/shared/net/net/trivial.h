#pragma once

#include <cstdint>
#include <vector>

#include "net/program.h"
#include "net/reference.h"

namespace slackline::net {

struct TrivialSpec {
  std::int64_t batch_size = 1;  ///< the largest
  std::int64_t height = 224, width = 224;
  std::int64_t classes = 1001;
};

/// A training step of upstream's trivial model: all pixels to one number, that number to the
/// classes. Parameters, their order and names are those of the model plugin `trivial`, which is
/// this on the CPU: net_cpu takes no pixels for the input of a dense layer.
[[nodiscard]] Program build_trivial(const TrivialSpec& spec);

/// What a parameter of it starts with: the values of that plugin, which counts the layers where
/// net::initial_values() counts parameters.
[[nodiscard]] std::vector<float> trivial_initial_values(const Program& program, TensorId id,
                                                        std::uint64_t seed);

/// Pixels without the means that upstream's preprocessing subtracts.
[[nodiscard]] Normalisation trivial_normalisation();

}  // namespace slackline::net
