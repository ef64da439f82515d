#include "nn/softmax.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace slackline::nn {
namespace {

/// False for every label if a logit is not a number: diverged training is not to look correct.
bool is_highest(std::span<const float> logits, std::size_t label) {
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (i < label ? !(logits[i] < logits[label]) : !(logits[i] <= logits[label])) return false;
  }
  return true;
}

void add_result(double loss, bool is_correct, StepSums& sums) {
  sums.loss += loss;
  sums.correct += is_correct ? 1 : 0;
  ++sums.samples;
}

}  // namespace

// With the highest logit subtracted no exponential is above 1, and one of them is 1: the sum
// neither overflows nor vanishes.

void add_sample(std::span<const float> logits, std::int32_t label, StepSums& sums) {
  const auto at = static_cast<std::size_t>(label);
  const float highest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) total += static_cast<double>(std::exp(logit - highest));
  add_result(std::log(total) - static_cast<double>(logits[at] - highest), is_highest(logits, at),
             sums);
}

void add_sample_with_gradient(std::span<float> logits, std::int32_t label, float scale,
                              StepSums& sums) {
  const auto at = static_cast<std::size_t>(label);
  const float highest = *std::max_element(logits.begin(), logits.end());
  const float margin = logits[at] - highest;
  const bool is_correct = is_highest(logits, at);
  double total = 0;
  for (float& logit : logits) {
    logit = std::exp(logit - highest);
    total += static_cast<double>(logit);
  }
  const auto factor = static_cast<float>(static_cast<double>(scale) / total);
  for (float& logit : logits) logit *= factor;
  logits[at] -= scale;
  add_result(std::log(total) - static_cast<double>(margin), is_correct, sums);
}

}  // namespace slackline::nn
