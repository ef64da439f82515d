#include "nn/parameters.h"

#include <slackline/random.h>

#include <cmath>

#include "nn/kernels.h"

namespace slackline::nn {

void Parameters::allocate(std::size_t count) {
  values_.assign(count, 0.0f);
  gradients_.assign(count, 0.0f);
  velocities_.assign(count, 0.0f);
}

void Parameters::update(const UpdateRule& rule) {
  momentum_step(gradients_, rule.learning_rate, rule.momentum, velocities_, values_);
}

void fill_glorot_uniform(std::span<float> weights, std::size_t fan_in, std::size_t fan_out,
                         std::uint64_t seed, std::uint32_t tensor) {
  // The counter of the last operation in the last epoch, so that no sample draws the same words.
  Philox words({static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
               {0, 0xffffffffu, tensor, 0});
  const auto limit = static_cast<float>(std::sqrt(6.0 / static_cast<double>(fan_in + fan_out)));
  for (float& weight : weights) weight = limit * (2.0f * uniform_float(words) - 1.0f);
}

}  // namespace slackline::nn
