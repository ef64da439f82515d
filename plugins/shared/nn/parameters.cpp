#include "nn/parameters.h"

#include <slackline/random.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "nn/kernels.h"

namespace slackline::nn {

void Parameters::allocate(const std::vector<TensorInfo>& parameters, float momentum) {
  momentum_ = momentum;
  tensors_.clear();
  begins_.clear();
  std::size_t count = 0;
  for (const TensorRole role : {TensorRole::kParameter, TensorRole::kSlot, TensorRole::kGradient}) {
    count = 0;
    for (const TensorInfo& parameter : parameters) {
      TensorInfo info = parameter;
      info.role = role;
      if (role == TensorRole::kSlot) info.name = "momentum." + info.name;
      if (role == TensorRole::kGradient) info.name = "gradient." + info.name;
      tensors_.push_back(std::move(info));
      begins_.push_back(count);
      count += parameter.size();
    }
  }
  values_.assign(count, 0.0f);
  gradients_.assign(count, 0.0f);
  velocities_.assign(count, 0.0f);
}

void Parameters::update(const UpdateRule& rule) {
  momentum_step(gradients_, rule.learning_rate, momentum_, velocities_, values_);
}

std::span<float> Parameters::tensor(std::size_t index) {
  const TensorInfo& info = tensors_[index];
  std::vector<float>& array = info.role == TensorRole::kParameter ? values_
                              : info.role == TensorRole::kSlot    ? velocities_
                                                                  : gradients_;
  return std::span(array).subspan(begins_[index], info.size());
}

void Parameters::read(std::size_t index, std::span<float> values) {
  std::ranges::copy(tensor(index), values.begin());
}

void Parameters::write(std::size_t index, std::span<const float> values) {
  std::ranges::copy(values, tensor(index).begin());
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
