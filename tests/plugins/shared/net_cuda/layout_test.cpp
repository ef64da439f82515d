// Where everything lies on a device.

#include "net_cuda/layout.h"

#include <slackline/model.h>

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "../net/all_resnets.h"
#include "net/plan.h"

namespace slackline::net::cuda {
namespace {

Layout layout_of(const Program& program, Precision precision = Precision::kFloat16) {
  return make_layout(program, precision, {.weight_decay = 1e-4f});
}

class LayoutTest : public testing::TestWithParam<ResnetSpec> {
 protected:
  const Program program_ = build_resnet(GetParam());
};
INSTANTIATE_TEST_SUITE_P(All, LayoutTest, testing::ValuesIn(testing_support::all_resnets()));

TEST_P(LayoutTest, WhatLivesAtTheSameTimeDoesNotOverlap) {
  for (const Precision precision : {Precision::kFloat32, Precision::kBfloat16}) {
    const Layout layout = layout_of(program_, precision);
    const std::vector<Lifetime> lifetimes = lifetimes_of(program_);
    for (std::size_t i = 0; i < layout.bytes.size(); ++i) {
      EXPECT_LE(layout.bytes[i] == 0 ? 0 : layout.offsets[i] + layout.bytes[i], layout.arena_bytes);
      for (std::size_t j = 0; j < i; ++j) {
        if (layout.bytes[i] == 0 || layout.bytes[j] == 0 || !lifetimes[i].overlaps(lifetimes[j])) {
          continue;
        }
        EXPECT_TRUE(layout.offsets[i] + layout.bytes[i] <= layout.offsets[j] ||
                    layout.offsets[j] + layout.bytes[j] <= layout.offsets[i])
            << program_.tensors[i].name << " and " << program_.tensors[j].name;
      }
    }
  }
}

TEST_P(LayoutTest, PiecesCoverEveryParameterOnceAndNothingElse) {
  const Layout layout = layout_of(program_);
  std::vector<int> seen(layout.parameter_values);
  for (const Piece& piece : layout.pieces) {
    const TrainedTensor& tensor = layout.trained[static_cast<std::size_t>(piece.tensor)];
    EXPECT_GE(piece.begin, tensor.begin);
    EXPECT_LE(piece.begin + piece.size, tensor.begin + tensor.size);
    EXPECT_LE(piece.size, kPieceValues);
    for (std::int64_t i = 0; i < piece.size; ++i) {
      ++seen[static_cast<std::size_t>(piece.begin + i)];
    }
  }
  std::size_t values = 0;
  for (const TensorId id : program_.all(TensorKind::kParameter)) {
    const std::size_t begin = layout.offset(id);
    EXPECT_EQ(begin % Layout::kAlignment, 0u);
    EXPECT_EQ(layout.offset(program_.tensor(id).gradient), begin);
    const std::size_t size = values_of(layout.extents[static_cast<std::size_t>(id)]);
    for (std::size_t i = begin; i < begin + size; ++i) {
      ASSERT_EQ(seen[i], 1) << program_.tensor(id).name;
    }
    values += size;
  }
  EXPECT_EQ(static_cast<std::size_t>(std::accumulate(seen.begin(), seen.end(), 0)), values);
}

TEST_P(LayoutTest, OnlyThePixelsAndTheirKernelAreWidened) {
  const Layout layout = layout_of(program_);
  std::vector<std::string> widened;
  for (std::size_t i = 0; i < program_.tensors.size(); ++i) {
    if (layout.extents[i] != program_.tensors[i].extents) {
      EXPECT_EQ(program_.tensors[i].extents[1], 3);
      EXPECT_EQ(layout.extents[i][1], kPixelChannels);
      widened.push_back(program_.tensors[i].name);
    }
  }
  EXPECT_EQ(widened, (std::vector<std::string>{"images", "conv1.weight", "gradient.conv1.weight"}));
}

TEST(LayoutTest, ResNet50IsAsLargeAsItShouldBe) {
  const Program program = build_resnet({.depth = 50, .batch_size = 32, .classes = 1001});
  const Layout layout = layout_of(program);
  std::size_t values = 0;
  for (const TrainedTensor& tensor : layout.trained)
    values += static_cast<std::size_t>(tensor.size);
  EXPECT_EQ(layout.trained.size(), 161u);
  EXPECT_EQ(values, 25'559'081u + 64u * 7u * 7u);  // with the pixels' fourth channel
  EXPECT_EQ(layout.batch_size, 32);
  // The raw outputs of all convolutions alone are 22.2 MB a sample in fp16.
  EXPECT_GT(layout.arena_bytes, std::size_t{32} * 22'200'000);
  EXPECT_LT(layout.arena_bytes, std::size_t{32} * 60'000'000);
  const Layout single = layout_of(program, Precision::kFloat32);
  EXPECT_NEAR(static_cast<double>(single.arena_bytes), 2 * static_cast<double>(layout.arena_bytes),
              0.01 * static_cast<double>(single.arena_bytes));
}

TEST(LayoutTest, DecayIsForWhatItIsFor) {
  const Program program = build_resnet({.depth = 20, .height = 32, .width = 32, .classes = 10});
  const Layout layout = layout_of(program);
  std::size_t i = 0;
  for (const TensorId id : program.all(TensorKind::kParameter)) {
    const Tensor& tensor = program.tensor(id);
    EXPECT_EQ(layout.trained[i].decay, tensor.is_decayed ? 2e-4f : 0.0f) << tensor.name;
    EXPECT_EQ(layout.trained[i].is_kernel != 0, tensor.is_kernel) << tensor.name;
    ++i;
  }
}

TEST(LayoutTest, OrderIsChangedThereAndBack) {
  const Extents logical{2, 3, 2, 2};
  std::vector<float> values(values_of(logical));
  std::iota(values.begin(), values.end(), 1.0f);
  std::vector<float> device(2 * 2 * 2 * 4, -1.0f);
  to_device_order(logical, 4, values, device);
  // (k = 0, r = 0, s = 1): channels 0, 1, 2 are 4 values apart in logical order.
  EXPECT_EQ((std::vector<float>(device.begin() + 4, device.begin() + 8)),
            (std::vector<float>{2, 6, 10, 0}));
  std::vector<float> back(values.size());
  from_device_order(logical, 4, device, back);
  EXPECT_EQ(back, values);
}

}  // namespace
}  // namespace slackline::net::cuda
