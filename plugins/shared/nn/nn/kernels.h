#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

/// Loops over floats and pixels. Their results have the same bits on every x86-64 CPU: wide ones
/// run them in wider registers, but every sum is taken in the same order.
namespace slackline::nn {

/// Pixels of three channels are handled in blocks of so many bytes: sixteen pixels.
inline constexpr std::size_t kPixelBlock = 48;

/// sum of (pixels[i] - means[i % 3]) * weights[i]. The first pixel is a red one; as many weights as
/// pixels.
[[nodiscard]] double dot_centered(std::span<const std::uint8_t> pixels,
                                  std::span<const float> weights, const float (&means)[3]);

/// out[i] += scale * (pixels[i] - means[i % 3]).
void add_centered(std::span<const std::uint8_t> pixels, float scale, const float (&means)[3],
                  std::span<float> out);

/// sums[i] += pixels[i].
void add_pixels(std::span<const std::uint8_t> pixels, std::span<std::uint32_t> sums);

/// out[i] += scale * values[i].
void add_scaled(std::span<const float> values, float scale, std::span<float> out);

/// velocities[i] = momentum * velocities[i] - learning_rate * gradients[i]; values[i] +=
/// velocities[i].
void momentum_step(std::span<const float> gradients, float learning_rate, float momentum,
                   std::span<float> velocities, std::span<float> values);

}  // namespace slackline::nn
