#include "net_cpu/bf16.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include <gtest/gtest.h>

namespace slackline::net::cpu {
namespace {

float of_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }
float of_half(std::uint32_t bits) { return to_float(Bf16{static_cast<std::uint16_t>(bits)}); }

TEST(Bf16Test, WhatIsOneAlreadyStaysIt) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    if (std::isnan(of_half(bits))) continue;
    ASSERT_EQ(to_bf16(of_half(bits)).bits, bits);
  }
}

TEST(Bf16Test, GoesToTheNearestAndFromTheMiddleToTheEvenOne) {
  std::mt19937 words(1);
  for (int i = 0; i < 200'000; ++i) {
    auto bits = static_cast<std::uint32_t>(words());
    if (i % 3 == 0) bits = (bits & 0xffff0000u) | 0x8000u;  // a middle
    const float value = of_bits(bits);
    const std::uint32_t below = bits >> 16, above = below + 1;  // by size, with the sign apart
    if (!std::isfinite(value) || !std::isfinite(of_half(above))) continue;
    const double down = std::abs(static_cast<double>(value) - static_cast<double>(of_half(below)));
    const double up = std::abs(static_cast<double>(of_half(above)) - static_cast<double>(value));
    const std::uint32_t even = below % 2 == 0 ? below : above;
    ASSERT_EQ(to_bf16(value).bits, down < up   ? below
                                   : up < down ? above
                                               : even)
        << std::hex << bits;
  }
}

TEST(Bf16Test, MiddlesByHand) {
  EXPECT_EQ(to_bf16(of_bits(0x3f808000)).bits, 0x3f80) << "1 + 2^-8, down to the even one";
  EXPECT_EQ(to_bf16(of_bits(0x3f818000)).bits, 0x3f82) << "up to the even one";
  EXPECT_EQ(to_bf16(of_bits(0x3f808001)).bits, 0x3f81) << "just above the middle";
  EXPECT_EQ(to_bf16(of_bits(0xbf818000)).bits, 0xbf82) << "below 0 likewise";
  EXPECT_EQ(to_bf16(of_bits(0x00008000)).bits, 0x0000) << "where there is no exponent left";
  EXPECT_EQ(to_bf16(-0.0f).bits, 0x8000);
}

TEST(Bf16Test, InfinitiesStayAndWhatIsTooLargeBecomesOne) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(to_float(to_bf16(kInfinity)), kInfinity);
  EXPECT_EQ(to_float(to_bf16(-kInfinity)), -kInfinity);
  EXPECT_EQ(to_float(to_bf16(std::numeric_limits<float>::max())), kInfinity);
  EXPECT_EQ(to_float(to_bf16(of_bits(0x7f7f7fff))), of_bits(0x7f7f0000)) << "the largest finite";
}

TEST(Bf16Test, NoNumberBecomesOne) {
  // The last ones have all their bits in the lower half, or would carry into the sign.
  for (const std::uint32_t bits : {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xff800001u, 0x7f80ffffu,
                                   0x7fffffffu, 0xffffffffu}) {
    EXPECT_TRUE(std::isnan(to_float(to_bf16(of_bits(bits))))) << std::hex << bits;
    EXPECT_EQ(to_bf16(of_bits(bits)).bits >> 15, bits >> 31) << std::hex << bits;
  }
}

}  // namespace
}  // namespace slackline::net::cpu
