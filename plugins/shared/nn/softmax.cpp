#include "nn/softmax.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace slackline::nn {
namespace {

constexpr std::size_t kBehindAll = std::numeric_limits<std::size_t>::max();

/// How many logits are ahead of the label's; of equal ones, those of lower classes are. kBehindAll
/// if a logit is not a number: diverged training is not to look correct.
std::size_t rank_of(std::span<const float> logits, std::size_t label) {
  std::size_t ahead = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const bool is_behind = i < label ? logits[i] < logits[label] : logits[i] <= logits[label];
    if (std::isnan(logits[i])) return kBehindAll;
    ahead += is_behind ? 0 : 1;
  }
  return ahead;
}

void add_result(double loss, std::size_t rank, StepSums& sums) {
  sums.loss += loss;
  sums.correct += rank == 0 ? 1 : 0;
  sums.correct_top5 += rank < 5 ? 1 : 0;
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
  add_result(std::log(total) - static_cast<double>(logits[at] - highest), rank_of(logits, at),
             sums);
}

void add_sample_with_gradient(std::span<float> logits, std::int32_t label, float scale,
                              StepSums& sums) {
  const auto at = static_cast<std::size_t>(label);
  const float highest = *std::max_element(logits.begin(), logits.end());
  const float margin = logits[at] - highest;
  const std::size_t rank = rank_of(logits, at);
  double total = 0;
  for (float& logit : logits) {
    logit = std::exp(logit - highest);
    total += static_cast<double>(logit);
  }
  const auto factor = static_cast<float>(static_cast<double>(scale) / total);
  for (float& logit : logits) logit *= factor;
  logits[at] -= scale;
  add_result(std::log(total) - static_cast<double>(margin), rank, sums);
}

}  // namespace slackline::nn
