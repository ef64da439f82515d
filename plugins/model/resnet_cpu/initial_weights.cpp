#include "initial_weights.h"

#include <slackline/random.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include "nn/parameters.h"

namespace slackline {
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

}  // namespace

std::vector<float> initial_weights(const net::Program& program, net::TensorId id,
                                   std::uint64_t seed) {
  const net::Tensor& tensor = program.tensor(id);
  std::vector<float> weights(net::values_of(tensor.extents));
  const auto [out, in, height, width] = tensor.extents;
  const auto place = static_cast<std::uint32_t>(std::ranges::count_if(
      std::span(program.tensors).first(static_cast<std::size_t>(id)),
      [](const net::Tensor& t) { return t.kind == net::TensorKind::kParameter; }));
  if (tensor.is_kernel && tensor.name.starts_with("fc.")) {
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

}  // namespace slackline
