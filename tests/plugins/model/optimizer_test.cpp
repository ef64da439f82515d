// The updates of flat buffers, against plain loops in double.

#include "nn/optimizer.h"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include <gtest/gtest.h>

namespace slackline::nn {
namespace {

std::vector<float> made_up(std::size_t count, std::uint32_t seed, float scale = 1) {
  std::mt19937 words(seed);
  std::vector<float> all(count);
  for (float& value : all) value = scale * (static_cast<float>(words() % 20001) / 10000.0f - 1.0f);
  return all;
}

/// Every length of a rest, with and without blocks before it.
std::vector<std::size_t> sizes() {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i <= 100; ++i) all.push_back(i);
  all.push_back(4611);
  return all;
}

TEST(SgdMomentumTest, IsKerassFormWithDecayInTheGradient) {
  constexpr float kRate = 0.3f, kMomentum = 0.9f, kDecay = 0.02f;
  for (const std::size_t count : sizes()) {
    const auto gradients = made_up(count, 1);
    auto velocities = made_up(count, 2);
    auto values = made_up(count, 3);
    const auto velocities_before = velocities;
    const auto values_before = values;
    sgd_momentum(gradients, kRate, kMomentum, kDecay, velocities, values);
    for (std::size_t i = 0; i < count; ++i) {
      const double velocity =
          double(kMomentum) * double(velocities_before[i]) -
          double(kRate) * (double(gradients[i]) + double(kDecay) * double(values_before[i]));
      ASSERT_NEAR(velocities[i], velocity, 5e-7) << i << " of " << count;
      ASSERT_NEAR(values[i], double(values_before[i]) + velocity, 5e-7) << i << " of " << count;
    }
  }
}

TEST(SgdMomentumTest, ExactNumbersStayExact) {
  std::vector<float> values = {2, -4}, velocities = {8, 0};
  sgd_momentum(std::vector<float>{1, 2}, 0.5f, 0.25f, 0.5f, velocities, values);
  EXPECT_EQ(velocities, (std::vector<float>{2 - 0.5f * (1 + 1), 0 - 0.5f * (2 - 2)}));
  EXPECT_EQ(values, (std::vector<float>{3, -4}));
}

TEST(SgdMomentumTest, ARateOfZeroChangesNoParameterThatRests) {
  const auto gradients = made_up(100, 1);
  const auto before = made_up(100, 2);
  auto values = before;
  std::vector<float> velocities(100, 0.0f);
  sgd_momentum(gradients, 0, 0.9f, 0.1f, velocities, values);
  EXPECT_EQ(values, before);
}

TEST(SumOfSquaresTest, IsThatOfDoubles) {
  for (const std::size_t count : sizes()) {
    const auto values = made_up(count, 7, 1000);
    double expected = 0;
    for (const float value : values) expected += double(value) * double(value);
    EXPECT_NEAR(sum_of_squares(values), expected, 1e-12 * expected) << count;
  }
}

TEST(SumOfSquaresTest, DoesNotOverflowAsFloatsWould) {
  const std::vector<float> values(40, 1e30f);
  EXPECT_NEAR(sum_of_squares(values) / 4e61, 1, 1e-6);
  EXPECT_GT(sum_of_squares(std::vector<float>(3, 1e-30f)), 0);
}

TEST(SumOfSquaresTest, HasTheBitsOfSixteenRunningSums) {
  // The order that optimizer.cpp promises, written down a second time: a CPU with wider registers
  // must not add up in another.
  const auto values = made_up(4611, 9, 3.7f);
  std::vector<double> sums(16);
  for (std::size_t i = 0; i < values.size(); ++i) {
    sums[i % 16] += double(values[i]) * double(values[i]);
  }
  double expected = 0;
  for (const double sum : sums) expected += sum;
  EXPECT_EQ(std::bit_cast<std::uint64_t>(sum_of_squares(values)),
            std::bit_cast<std::uint64_t>(expected));
}

TEST(LarsRateTest, IsTrustTimesTheRatioOfNorms) {
  // |w| = 5, |g| = 13: 2 * 0.1 * 5 / (13 + 0.4 * 5).
  const std::vector<float> values = {3, 0, 4}, gradients = {5, 12, 0};
  EXPECT_FLOAT_EQ(lars_rate(gradients, values, 2, 0.1f, 0.4f), 1.0f / 15);
  EXPECT_FLOAT_EQ(lars_rate(gradients, values, 2, 0.1f, 0), 1.0f / 13);
  for (const std::size_t count : sizes()) {
    if (count == 0) continue;
    const auto w = made_up(count, 4);
    const auto g = made_up(count, 5, 0.01f);
    double w_squares = 0, g_squares = 0;
    for (const float value : w) w_squares += double(value) * double(value);
    for (const float value : g) g_squares += double(value) * double(value);
    const double expected =
        10 * 0.001 * std::sqrt(w_squares) / (std::sqrt(g_squares) + 1e-4 * std::sqrt(w_squares));
    EXPECT_NEAR(lars_rate(g, w, 10, 0.001f, 1e-4f), expected, 1e-6 * expected) << count;
  }
}

TEST(LarsRateTest, WithoutParametersOrGradientsItIsTheRate) {
  const std::vector<float> some = {1, 2}, none = {0, 0};
  EXPECT_EQ(lars_rate(some, none, 0.5f, 0.001f, 0.1f), 0.5f);
  EXPECT_EQ(lars_rate(none, some, 0.5f, 0.001f, 0.1f), 0.5f);
  EXPECT_EQ(lars_rate(none, some, 0.5f, 0.001f, 0), 0.5f) << "and no division by 0";
  EXPECT_EQ(lars_rate({}, {}, 0.5f, 0.001f, 0), 0.5f);
}

}  // namespace
}  // namespace slackline::nn
