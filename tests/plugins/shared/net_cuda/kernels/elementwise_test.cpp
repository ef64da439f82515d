// Kernels that work value by value, run on the CPU.

#include "bodies/elementwise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "operation_case.h"

namespace slackline::net::cuda {
namespace {

using testing::Each;

/// Less than a vector, less than a block, a block, and what is left over of several.
constexpr std::size_t kSizes[] = {1, 7, 8, 24, 4096, 8192, 8200, 20'011};

template <class T>
class ElementwiseKernelsTest : public testing::Test {
 protected:
  std::vector<T> made_up_values(std::size_t size) {
    std::vector<T> values(size);
    for (T& value : values) value = stored<T>(made_up(words_));
    return values;
  }
  /// The bits of `f` of floats, rounded once.
  template <class Function, class... Inputs>
  static std::vector<T> rounded(Function f, const std::vector<T>& first, const Inputs&... others) {
    std::vector<T> values(first.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      values[i] =
          bodies::from_float<T>(f(bodies::to_float(first[i]), bodies::to_float(others[i])...));
    }
    return values;
  }
  static std::string bytes(const std::vector<T>& values) {
    std::string bytes;
    append_bytes(bytes, values);
    return bytes;
  }

  std::mt19937 words_{7};
};
TYPED_TEST_SUITE(ElementwiseKernelsTest, Types);

TYPED_TEST(ElementwiseKernelsTest, EveryValueIsRoundedOnce) {
  using T = TypeParam;
  for (const std::size_t size : kSizes) {
    const std::vector<T> a = this->made_up_values(size), b = this->made_up_values(size);
    const auto count = static_cast<std::int64_t>(size);
    std::vector<T> y = poisoned<T>(size);
    bodies::elementwise<bodies::ReluOf, T>(EmulatedLaunch(3), y.data(), count, a.data());
    EXPECT_EQ(this->bytes(y),
              this->bytes(this->rounded([](float x) { return std::max(x, 0.0f); }, a)))
        << "relu of " << size;
    y = poisoned<T>(size);
    bodies::elementwise<bodies::SumOf, T>(EmulatedLaunch(3), y.data(), count, a.data(), b.data());
    EXPECT_EQ(this->bytes(y), this->bytes(this->rounded(std::plus<float>(), a, b)))
        << "sum of " << size;
    y = poisoned<T>(size);
    bodies::elementwise<bodies::ReluDerivative, T>(EmulatedLaunch(3), y.data(), count, a.data(),
                                                   b.data());
    EXPECT_EQ(this->bytes(y),
              this->bytes(this->rounded([](float dy, float of) { return of > 0 ? dy : 0; }, a, b)))
        << "derivative of " << size;
  }
}

TYPED_TEST(ElementwiseKernelsTest, ResultsMayBeInPlace) {
  using T = TypeParam;
  constexpr std::size_t kSize = 8200;
  const std::vector<T> a = this->made_up_values(kSize), b = this->made_up_values(kSize);
  std::vector<T> y = a;
  bodies::elementwise<bodies::SumOf, T>(EmulatedLaunch(3), y.data(), kSize, b.data(), y.data());
  EXPECT_EQ(this->bytes(y), this->bytes(this->rounded(std::plus<float>(), b, a)));
  y = a;
  bodies::elementwise<bodies::ReluDerivative, T>(EmulatedLaunch(3), y.data(), kSize, y.data(),
                                                 b.data());
  EXPECT_EQ(this->bytes(y),
            this->bytes(this->rounded([](float dy, float of) { return of > 0 ? dy : 0; }, a, b)));
}

TYPED_TEST(ElementwiseKernelsTest, NothingIsWrittenBehindTheLastValue) {
  using T = TypeParam;
  const std::vector<T> a = this->made_up_values(8300);
  std::vector<T> y = poisoned<T>(8300);
  bodies::elementwise<bodies::ReluOf, T>(EmulatedLaunch(), y.data(), 8203, a.data());
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(std::isnan(value_of(y[i])), i >= 8203) << i;
}

TYPED_TEST(ElementwiseKernelsTest, WhatIsNotANumberPassesTheReluAndNotItsDerivative) {
  using T = TypeParam;
  const std::vector<T> poison = poisoned<T>(8192), dy(8192, stored<T>(3));
  std::vector<T> y(8192);
  bodies::elementwise<bodies::ReluOf, T>(EmulatedLaunch(), y.data(), 8192, poison.data());
  for (const T value : y) ASSERT_TRUE(std::isnan(value_of(value)));
  bodies::elementwise<bodies::ReluDerivative, T>(EmulatedLaunch(), y.data(), 8192, dy.data(),
                                                 poison.data());
  for (const T value : y) ASSERT_EQ(value_of(value), 0);
}

TYPED_TEST(ElementwiseKernelsTest, PixelsAreNormalisedToTheBitAndTheFourthChannelIsZero) {
  using T = TypeParam;
  const Normalisation normalisation{{123.68f, 116.78f, 103.94f}, {1, 1 / 57.12f, 1 / 57.375f}};
  for (const std::size_t pixels : {1, 2, 255, 1024, 1027}) {
    std::vector<std::uint8_t> images(pixels * 3);
    for (std::uint8_t& value : images) value = static_cast<std::uint8_t>(this->words_());
    std::vector<T> y = poisoned<T>(pixels * kPixelChannels);
    bodies::ingest<T>(
        EmulatedLaunch(3),
        IngestArgs{images.data(), static_cast<std::int64_t>(pixels), normalisation, y.data()});
    for (std::size_t i = 0; i < pixels; ++i) {
      for (std::size_t c = 0; c < 3; ++c) {
        const T expected = bodies::from_float<T>(normalisation.apply(images[i * 3 + c], c));
        ASSERT_EQ(value_of(y[i * 4 + c]), value_of(expected)) << i << " of " << pixels;
      }
      ASSERT_EQ(value_of(y[i * 4 + 3]), 0) << i << " of " << pixels;
    }
  }
}

/// The conversions of CUDA's headers on the host, on which all of these tests stand.
TEST(ConversionTest, RoundsToNearestEvenAndKeepsWhatIsNotFinite) {
  const auto half = [](float value) { return value_of(bodies::from_float<__half>(value)); };
  const auto bfloat = [](float value) {
    return value_of(bodies::from_float<__nv_bfloat16>(value));
  };
  EXPECT_EQ(half(1 + 0x1p-11f), 1);
  EXPECT_EQ(half(1 + 0x3p-11f), 1 + 0x1p-9);
  EXPECT_EQ(half(65504), 65504);
  EXPECT_EQ(half(65520), std::numeric_limits<double>::infinity());
  EXPECT_EQ(half(0x1p-24f), 0x1p-24);
  EXPECT_EQ(half(0x1p-26f), 0);
  EXPECT_EQ(bfloat(1 + 0x1p-8f), 1);
  EXPECT_EQ(bfloat(1 + 0x3p-8f), 1 + 0x1p-6);
  EXPECT_EQ(bfloat(-0x1p127f), -0x1p127);
  EXPECT_TRUE(std::isnan(half(std::nanf(""))));
  EXPECT_TRUE(std::isnan(bfloat(std::nanf(""))));
}

/// Pairs are converted by other functions than single values.
TYPED_TEST(ElementwiseKernelsTest, VectorsAreConvertedAsSingleValuesAre) {
  using T = TypeParam;
  constexpr int kWide = bodies::kWidth<T>;
  std::vector<float> special = {0,           -0.0f,       1 + 0x1p-11f, 1 + 0x3p-11f,
                                1 + 0x1p-8f, 1 + 0x3p-8f, 65519.9f,     -65520,
                                0x1p-25f,    1e-30f,      3e38f,        -HUGE_VALF};
  while (special.size() % kWide != 0) special.push_back(static_cast<float>(made_up(this->words_)));
  for (std::size_t i = 0; i < special.size(); i += kWide) {
    bodies::Floats<kWide> floats;
    std::copy_n(special.begin() + static_cast<std::ptrdiff_t>(i), kWide, floats.of);
    const bodies::Floats<kWide> back = bodies::unpack(bodies::pack<T>(floats));
    for (int k = 0; k < kWide; ++k) {
      EXPECT_EQ(back.of[k], bodies::to_float(bodies::from_float<T>(floats.of[k]))) << floats.of[k];
    }
  }
}

}  // namespace
}  // namespace slackline::net::cuda
