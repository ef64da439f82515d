#pragma once

#include <cstdint>

#include "bodies/body.h"
#include "net_cuda/kernels.h"

namespace slackline::net::cuda::bodies {

inline constexpr std::int32_t kGoodStepsToDouble = 2000;

/// The loss scale after a step: TensorFlow's DynamicLossScale, as upstream uses it. Gradients that
/// are not finite halve it, though not below 1, and their update is skipped; 2000 steps without any
/// double it, if twice as much is still a finite float. A fixed scale stays, and every update
/// happens.
SLACKLINE_BODY_AND_HOST LossScale next_loss_scale(LossScale now, bool is_finite, bool is_dynamic) {
  now.is_finite = 1;
  if (!is_dynamic) return now;
  if (!is_finite) {
    now.is_finite = 0;
    now.scale = now.scale > 2 ? now.scale / 2 : 1;
    now.good_steps = 0;
    ++now.skipped_steps;
  } else if (++now.good_steps >= kGoodStepsToDouble) {
    if (now.scale * 2 < kInfinity) now.scale *= 2;
    now.good_steps = 0;
  }
  return now;
}

}  // namespace slackline::net::cuda::bodies
