#include "net/training.h"

#include <slackline/random.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <string>

#include "nn/parameters.h"

namespace slackline::net {
namespace {

/// The standard deviation of a standard normal distribution that is cut off at two; what Keras
/// divides by.
constexpr double kCutOffDeviation = 0.87962566103423978;

/// By Box and Muller (1958), drawn again where it is beyond two.
float cut_off_normal(Philox& words) {
  for (;;) {
    const double above_0 = 1.0 - static_cast<double>(uniform_float(words));
    const double angle = 2 * std::numbers::pi * static_cast<double>(uniform_float(words));
    const double normal = std::sqrt(-2 * std::log(above_0)) * std::cos(angle);
    if (std::abs(normal) <= 2) return static_cast<float>(normal);
  }
}

bool is_dense(const Tensor& kernel) { return kernel.name.starts_with("fc"); }

/// PyTorch has no dimensions for what one value a channel is, and two for a dense kernel.
std::vector<std::int64_t> shape_of(const Tensor& tensor) {
  const Extents& e = tensor.extents;
  if (!tensor.is_kernel) return {e[0]};
  if (is_dense(tensor)) return {e[0], e[1]};
  return {e.begin(), e.end()};
}

}  // namespace

std::vector<float> initial_values(const Program& program, TensorId id, std::uint64_t seed) {
  const Tensor& tensor = program.tensor(id);
  std::vector<float> weights(values_of(tensor.extents));
  if (tensor.kind == TensorKind::kStatistic) {
    if (tensor.name.ends_with(".running_var")) weights.assign(weights.size(), 1.0f);
    return weights;
  }
  const auto [out, in, height, width] = tensor.extents;
  const auto place = static_cast<std::uint32_t>(
      std::ranges::count_if(std::span(program.tensors).first(static_cast<std::size_t>(id)),
                            [](const Tensor& t) { return t.kind == TensorKind::kParameter; }));
  if (tensor.is_kernel && is_dense(tensor)) {
    nn::fill_glorot_uniform(weights, static_cast<std::size_t>(in), static_cast<std::size_t>(out),
                            seed, place);
  } else if (tensor.is_kernel) {
    Philox words({static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
                 {0, 0xffffffffu, place, 0});
    const auto fan_in = static_cast<double>(in * height * width);
    const auto deviation = static_cast<float>(std::sqrt(2 / fan_in) / kCutOffDeviation);
    for (float& weight : weights) weight = deviation * cut_off_normal(words);
  } else if (tensor.name.ends_with(".weight")) {
    weights.assign(weights.size(), 1.0f);
  }
  return weights;
}

float decay_of(const Tensor& parameter, const OptimizerSpec& optimizer) {
  if (optimizer.kind == OptimizerKind::kLars && !parameter.is_kernel) return 0;
  if (optimizer.decay_form == WeightDecay::kTorch) return optimizer.weight_decay;
  return parameter.is_decayed ? 2 * optimizer.weight_decay : 0;
}

std::vector<StoredTensor> stored_tensors(const Program& program) {
  std::vector<StoredTensor> stored;
  const auto add = [&](TensorKind kind, TensorRole role, const std::string& prefix) {
    for (const TensorId id : program.all(kind)) {
      const Tensor& tensor = program.tensor(id);
      stored.push_back(
          {{.name = prefix + tensor.name, .shape = shape_of(tensor), .role = role}, id});
    }
  };
  add(TensorKind::kParameter, TensorRole::kParameter, "");
  add(TensorKind::kStatistic, TensorRole::kStatistic, "");
  add(TensorKind::kParameter, TensorRole::kSlot, "momentum.");
  add(TensorKind::kParameter, TensorRole::kGradient, "gradient.");
  return stored;
}

}  // namespace slackline::net
