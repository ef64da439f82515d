#pragma once

#include <slackline/batch.h>
#include <slackline/model.h>

#include <cstdint>
#include <span>

namespace slackline::nn {

/// Softmax cross-entropy of one sample, in nats, added to `sums`. Finite for any finite logits.
/// The sample is correct if the label's logit is the highest, and correct in the top 5 if at most
/// four are higher; of equal ones, the first counts as the higher.
void add_sample(std::span<const float> logits, std::int32_t label, StepSums& sums);

/// The same; then overwrites each logit with `scale` times the derivative of the loss by it.
void add_sample_with_gradient(std::span<float> logits, std::int32_t label, float scale,
                              StepSums& sums);

}  // namespace slackline::nn
