#pragma once

#include <cstdint>

#include "net/program.h"
#include "net/reference.h"

namespace slackline::net {

struct TrivialSpec {
  std::int64_t batch_size = 1;  ///< the largest
  std::int64_t height = 224, width = 224;
  std::int64_t classes = 1001;
};

/// A training step of upstream's trivial model: all pixels to one number, that number to the
/// classes. Parameters, their order, names and initial
/// values are those of the model plugin `trivial`, which is this on the CPU: net_cpu does not take
/// pixels for the input of a dense layer.
[[nodiscard]] Program build_trivial(const TrivialSpec& spec);

/// Pixels without the means that upstream's preprocessing subtracts.
[[nodiscard]] Normalisation trivial_normalisation();

}  // namespace slackline::net
