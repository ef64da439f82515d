#pragma once

#include <cstdint>

#include "net_cuda/kernels.h"

namespace slackline {

enum class LossScaling : std::uint8_t { kNone, kFixed, kDynamic };

/// What the loss is multiplied by to begin with. `asked` is the user's; 0 takes upstream's.
[[nodiscard]] inline float initial_loss_scale(net::cuda::Precision precision, LossScaling scaling,
                                              double asked) {
  if (precision != net::cuda::Precision::kFloat16 || scaling == LossScaling::kNone) return 1;
  if (asked > 0) return static_cast<float>(asked);
  return scaling == LossScaling::kDynamic ? 32768 : 128;
}

}  // namespace slackline
