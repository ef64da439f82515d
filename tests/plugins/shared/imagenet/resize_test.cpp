// The resize kernels against each other and at their edges; golden_test.cpp compares them with
// TensorFlow.

#include "imagenet/resize.h"

#include <slackline/random.h>

#include <gtest/gtest.h>

#include "collect.h"

namespace slackline {
namespace {

using namespace testing_support;
using imagenet::Axis;
using imagenet::Resize;
using imagenet::Sampling;

std::vector<std::uint8_t> noise(int height, int width) {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(height * width * 3));
  Philox words({1, 2}, {0, 0, 0, 0});
  for (auto& value : pixels) value = static_cast<std::uint8_t>(words());
  return pixels;
}

std::vector<std::uint8_t> mirrored(const std::vector<std::uint8_t>& pixels, int width) {
  std::vector<std::uint8_t> out(pixels.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const std::size_t pixel = i / 3;
    const auto wide = static_cast<std::size_t>(width);
    const std::size_t x = wide - 1 - pixel % wide;
    out[(pixel / wide * wide + x) * 3 + i % 3] = pixels[i];
  }
  return out;
}

struct Sizes {
  int in_height, in_width, height, width;
};
const Sizes kSizes[] = {{350, 300, 224, 224}, {100, 77, 224, 224}, {17, 33, 32, 31},
                        {300, 1, 32, 33},     {1, 300, 30, 34},    {1, 1, 5, 3},
                        {224, 224, 224, 224}, {37, 41, 1, 1},      {64, 64, 8, 2},
                        {9, 1000, 7, 5}};

TEST(Resize, VectorCodeGivesThePortableCodesBytes) {
  for (const Sizes& s : kSizes) {
    const auto pixels = noise(s.in_height, s.in_width);
    for (const Sampling sampling : {Sampling::kLegacy, Sampling::kHalfPixel}) {
      for (const bool flip : {false, true}) {
        const Resize plan{{s.in_height, s.height, 0, s.height},
                          {s.in_width, s.width, 0, s.width},
                          sampling,
                          flip};
        const auto usable = imagenet::resize_kernels::usable_kernels();
        const auto expected = resize<std::uint8_t>(pixels, plan, &usable.back());
        for (const auto& kernels : usable) {
          EXPECT_EQ(resize<std::uint8_t>(pixels, plan, &kernels), expected)
              << kernels.name << ": " << s.in_height << "x" << s.in_width << " to " << s.height
              << "x" << s.width;
        }
      }
    }
  }
}

TEST(Resize, AFlipMirrorsTheInputNotTheOutput) {
  for (const Sizes& s : kSizes) {
    const auto pixels = noise(s.in_height, s.in_width);
    Resize plan{{s.in_height, s.height, 0, s.height},
                {s.in_width, s.width, 0, s.width},
                Sampling::kLegacy,
                true};
    const auto flipped = resize<float>(pixels, plan);
    plan.flip = false;
    EXPECT_EQ(flipped, resize<float>(mirrored(pixels, s.in_width), plan));
  }
}

TEST(Resize, APartIsThatPartOfTheWhole) {
  const auto pixels = noise(90, 120);
  for (const Sampling sampling : {Sampling::kLegacy, Sampling::kHalfPixel}) {
    const auto whole =
        resize<std::uint8_t>(pixels, {{90, 64, 0, 64}, {120, 85, 0, 85}, sampling, false});
    const auto part =
        resize<std::uint8_t>(pixels, {{90, 64, 20, 31}, {120, 85, 30, 33}, sampling, false});
    for (int y = 0; y < 31; ++y) {
      for (int i = 0; i < 33 * 3; ++i) {
        ASSERT_EQ(part[static_cast<std::size_t>(y * 99 + i)],
                  whole[static_cast<std::size_t>(((y + 20) * 85 + 30) * 3 + i)]);
      }
    }
  }
}

TEST(Resize, NothingIsWrittenBehindTheOutput) {
  constexpr std::uint8_t kGuard = 0x5A;
  const auto pixels = noise(20, 20);
  for (int width = 1; width < 20; ++width) {
    const auto size = static_cast<std::size_t>(4 * width * 3);
    std::vector<std::uint8_t> out(size + 32, kGuard);
    Scratch scratch;
    imagenet::RowResizer resizer(
        {{10, 4, 0, 4}, {10, width, 0, width}, Sampling::kHalfPixel, false}, scratch, out.data());
    for (int y = 0; y < resizer.needed().height; ++y) resizer.row(y, pixels.data() + 300 + y * 30);
    for (std::size_t i = size; i < out.size(); ++i) ASSERT_EQ(out[i], kGuard) << width;
  }
}

TEST(Resize, OnlyTheNeededPartOfTheInputIsAskedFor) {
  Scratch scratch;
  std::vector<std::uint8_t> out(10 * 10 * 3);
  const imagenet::RowResizer resizer(
      {{100, 50, 20, 10}, {100, 50, 30, 10}, Sampling::kLegacy, false}, scratch, out.data());
  EXPECT_EQ(resizer.needed(), (imagenet::Window{40, 60, 19, 19}));
  const imagenet::RowResizer flipped(
      {{100, 50, 20, 10}, {100, 50, 30, 10}, Sampling::kLegacy, true}, scratch, out.data());
  EXPECT_EQ(flipped.needed(), (imagenet::Window{40, 21, 19, 19}));
}

}  // namespace
}  // namespace slackline
