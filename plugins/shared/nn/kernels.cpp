#include "nn/kernels.h"

#include <array>
#include <cassert>

#include "wide_clones.h"

namespace slackline::nn {
namespace {

constexpr std::size_t kBlock = kPixelBlock;
using Lanes = std::array<float, kBlock>;

/// The means in the pattern of a block of pixels.
Lanes spread(const float (&means)[3]) {
  Lanes lanes{};
  for (std::size_t i = 0; i < kBlock; ++i) lanes[i] = means[i % 3];
  return lanes;
}

// Every loop below goes through full blocks, whose fixed length lets the compiler use vectors at
// any level of optimisation, and then through the rest.

SLACKLINE_WIDE_CLONES
double dot_centered_raw(const std::uint8_t* __restrict pixels, const float* __restrict weights,
                        std::size_t count, const Lanes& means) {
  Lanes sums{};
  std::size_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    for (std::size_t k = 0; k < kBlock; ++k) {
      sums[k] += (static_cast<float>(pixels[i + k]) - means[k]) * weights[i + k];
    }
  }
  for (std::size_t k = 0; i + k < count; ++k) {
    sums[k] += (static_cast<float>(pixels[i + k]) - means[k]) * weights[i + k];
  }
  double total = 0;
  for (const float sum : sums) total += static_cast<double>(sum);
  return total;
}

SLACKLINE_WIDE_CLONES
void add_centered_raw(const std::uint8_t* __restrict pixels, float scale, std::size_t count,
                      const Lanes& means, float* __restrict out) {
  std::size_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    for (std::size_t k = 0; k < kBlock; ++k) {
      out[i + k] += scale * (static_cast<float>(pixels[i + k]) - means[k]);
    }
  }
  for (std::size_t k = 0; i + k < count; ++k) {
    out[i + k] += scale * (static_cast<float>(pixels[i + k]) - means[k]);
  }
}

SLACKLINE_WIDE_CLONES
void add_pixels_raw(const std::uint8_t* __restrict pixels, std::size_t count,
                    std::uint32_t* __restrict sums) {
  std::size_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    for (std::size_t k = 0; k < kBlock; ++k) sums[i + k] += pixels[i + k];
  }
  for (; i < count; ++i) sums[i] += pixels[i];
}

SLACKLINE_WIDE_CLONES
void add_scaled_raw(const float* __restrict values, float scale, std::size_t count,
                    float* __restrict out) {
  std::size_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    for (std::size_t k = 0; k < kBlock; ++k) out[i + k] += scale * values[i + k];
  }
  for (; i < count; ++i) out[i] += scale * values[i];
}

SLACKLINE_WIDE_CLONES
void momentum_step_raw(const float* __restrict gradients, std::size_t count, float learning_rate,
                       float momentum, float* __restrict velocities, float* __restrict values) {
  std::size_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    for (std::size_t k = i; k < i + kBlock; ++k) {
      velocities[k] = momentum * velocities[k] - learning_rate * gradients[k];
      values[k] += velocities[k];
    }
  }
  for (; i < count; ++i) {
    velocities[i] = momentum * velocities[i] - learning_rate * gradients[i];
    values[i] += velocities[i];
  }
}

}  // namespace

double dot_centered(std::span<const std::uint8_t> pixels, std::span<const float> weights,
                    const float (&means)[3]) {
  assert(pixels.size() == weights.size());
  return dot_centered_raw(pixels.data(), weights.data(), pixels.size(), spread(means));
}

void add_centered(std::span<const std::uint8_t> pixels, float scale, const float (&means)[3],
                  std::span<float> out) {
  assert(pixels.size() == out.size());
  add_centered_raw(pixels.data(), scale, pixels.size(), spread(means), out.data());
}

void add_pixels(std::span<const std::uint8_t> pixels, std::span<std::uint32_t> sums) {
  assert(pixels.size() == sums.size());
  add_pixels_raw(pixels.data(), pixels.size(), sums.data());
}

void add_scaled(std::span<const float> values, float scale, std::span<float> out) {
  assert(values.size() == out.size());
  add_scaled_raw(values.data(), scale, values.size(), out.data());
}

void momentum_step(std::span<const float> gradients, float learning_rate, float momentum,
                   std::span<float> velocities, std::span<float> values) {
  assert(gradients.size() == values.size() && velocities.size() == values.size());
  momentum_step_raw(gradients.data(), gradients.size(), learning_rate, momentum, velocities.data(),
                    values.data());
}

}  // namespace slackline::nn
