#pragma once

#include <bit>
#include <cstdint>

namespace slackline::net::cpu {

// Always inlined: files compiled for newer CPUs include this, and their copies must not be linked
// into others.

/// The upper half of a float.
struct Bf16 {
  std::uint16_t bits = 0;
};

[[gnu::always_inline]] inline float to_float(float value) { return value; }
[[gnu::always_inline]] inline float to_float(Bf16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

/// Rounds to the nearest, ties to even, as the CPUs' own conversion does.
[[gnu::always_inline]] inline Bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {  // not a number, and to stay one
    return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
  }
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace slackline::net::cpu
