// Which graphs of convolutions with parts of batch norm have precompiled engines on SM 9.0: what an
// executor can fuse. Numbers are cuDNN 9.19's.

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absent_gpus.h"

namespace slackline::cudnn {
namespace {

using testing::ElementsAre;
using testing::Pair;
using testing_support::absent;
using testing_support::Layer;
using testing_support::precompiled;

constexpr std::size_t kAll = 10'000;

bool is_one_pixel(const net::Window& window) {
  return window.height == 1 && window.width == 1 && window.stride == 1;
}
bool is_first_or_dense(const ConvShape& shape) { return shape.x[1] == 4 || shape.x[2] == 1; }

/// All that the fused levels would want for a layer.
std::vector<Graph> fused_graphs(const ConvShape& shape) {
  std::vector<Graph> out = {conv_sums(shape), apply_conv_sums(shape),
                            apply_conv_backward_weights(shape),
                            conv_backward_data_sums(shape, Shortcut::kNone)};
  if (!is_one_pixel(shape.window)) return out;
  for (const Shortcut shortcut : {Shortcut::kIdentity, Shortcut::kProjection}) {
    out.push_back(add_apply_conv_sums(shape, shortcut));
    out.push_back(conv_backward_data_sums(shape, shortcut));
  }
  return out;
}

/// By the signature's first word, how many engines (with their knobs) there are; more than one
/// number if that is not the same for all layers.
std::map<std::string, std::set<std::size_t>> engines_for(const Target& target, cudnnDataType_t type,
                                                         std::int64_t n, net::Padding padding) {
  std::map<std::string, std::set<std::size_t>> out;
  for (const Layer& layer : testing_support::resnet50_layers(type, n, padding)) {
    if (is_first_or_dense(layer.shape)) continue;
    for (const Graph& graph : fused_graphs(layer.shape)) {
      const std::string& signature = graph.signature();
      out[signature.substr(0, signature.find(' '))].insert(
          candidates(graph, target, precompiled(), kAll).plans.size());
    }
  }
  return out;
}

/// Over GPUs that are not there.
template <class Param>
class OnAbsentGpu : public testing::TestWithParam<Param> {
 protected:
  explicit OnAbsentGpu(const std::string& gpu) : target_(absent(gpu)) {}

  [[nodiscard]] bool has_plan(const Graph& graph) const {
    return !candidates(graph, target_, precompiled(), 1).plans.empty();
  }

  const Target target_;
};

class FusedPatternsInFloat16 : public OnAbsentGpu<std::tuple<std::string, std::int64_t>> {
 protected:
  FusedPatternsInFloat16() : OnAbsentGpu(std::get<0>(GetParam())) {}
  static std::int64_t n() { return std::get<1>(GetParam()); }
};

TEST_P(FusedPatternsInFloat16, AreAllThereWithSymmetricPadding) {
  EXPECT_THAT(
      engines_for(target_, CUDNN_DATA_HALF, n(), net::Padding::kSymmetric),
      ElementsAre(Pair("add_apply_conv_sums", ElementsAre(4)),
                  Pair("apply_add_apply_conv_sums", ElementsAre(2)),
                  Pair("apply_conv_sums", ElementsAre(9)),
                  Pair("apply_conv_wgrad", ElementsAre(11)),
                  Pair("conv_dgrad_add_sums", ElementsAre(2)),
                  Pair("conv_dgrad_add_two_sums", ElementsAre(1)),
                  Pair("conv_dgrad_sums", ElementsAre(9)), Pair("conv_sums", ElementsAre(10))));
}

// TensorFlow pads a 3x3 convolution of stride 2 at the bottom and the right alone.
TEST_P(FusedPatternsInFloat16, AreNotThereWherePaddingIsAtTwoSidesOnly) {
  int layers = 0;
  for (const Layer& layer :
       testing_support::resnet50_layers(CUDNN_DATA_HALF, n(), net::Padding::kSame)) {
    if (is_first_or_dense(layer.shape)) continue;
    const net::Window& window = layer.shape.window;
    const bool is_symmetric = window.top == window.bottom && window.left == window.right;
    layers += is_symmetric ? 0 : 1;
    for (const Graph& graph : fused_graphs(layer.shape)) {
      EXPECT_EQ(has_plan(graph), is_symmetric) << graph.signature();
    }
  }
  EXPECT_EQ(layers, 3);
}

// What a 3x3 window sees from there, a 4x4 window that starts a pixel earlier sees, too: with zeros
// in its first row and column it computes the same.
TEST_P(FusedPatternsInFloat16, AreThereForTheWindowOfFourPixelsThatCanStandInForThat) {
  for (Layer layer : testing_support::resnet50_layers(CUDNN_DATA_HALF, n(), net::Padding::kSame)) {
    net::Window& window = layer.shape.window;
    if (window.top == window.bottom) continue;
    const net::Extents y = layer.shape.y();
    window = {.height = 4, .width = 4, .stride = 2, .top = 1, .left = 1, .bottom = 1, .right = 1};
    EXPECT_EQ(layer.shape.y(), y);
    for (const Graph& graph : fused_graphs(layer.shape)) {
      EXPECT_TRUE(has_plan(graph)) << graph.signature();
    }
  }
}

TEST_P(FusedPatternsInFloat16, HaveAStemThatIsMadeOfSquaresOfPixels) {
  const ConvShape squares = space_to_depth_stem_shape(CUDNN_DATA_HALF, n(), 224, 224);
  const ConvShape pixels = {
      .x = {n(), 4, 224, 224},
      .out_channels = 64,
      .window = {
          .height = 7, .width = 7, .stride = 2, .top = 3, .left = 3, .bottom = 3, .right = 3}};
  EXPECT_EQ(squares.y(), pixels.y());
  EXPECT_TRUE(has_plan(conv_sums(squares)));
  EXPECT_TRUE(has_plan(conv_backward_weights(squares)));
  EXPECT_FALSE(has_plan(conv_sums(pixels)));
}

INSTANTIATE_TEST_SUITE_P(, FusedPatternsInFloat16,
                         testing::Combine(testing::Values("h100", "h200"),
                                          testing::Values(32, 256)),
                         [](const auto& test) {
                           return std::get<0>(test.param) + "_N" +
                                  std::to_string(std::get<1>(test.param));
                         });

class FusedPatternsTest : public OnAbsentGpu<std::string> {
 protected:
  FusedPatternsTest() : OnAbsentGpu(GetParam()) {}
};
INSTANTIATE_TEST_SUITE_P(, FusedPatternsTest, testing::Values("h100", "h200"),
                         [](const auto& gpu) { return gpu.param; });

TEST_P(FusedPatternsTest, OtherTypesHaveNone) {
  for (const auto type : {CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT}) {
    for (const auto& [name, engines] : engines_for(target_, type, 256, net::Padding::kSymmetric)) {
      EXPECT_THAT(engines, ElementsAre(0)) << name << " of type " << type;
    }
    const ConvShape stem = space_to_depth_stem_shape(type, 256, 224, 224);
    EXPECT_TRUE(has_plan(conv(stem)));
    EXPECT_TRUE(has_plan(conv_backward_weights(stem)));
    EXPECT_FALSE(has_plan(conv_sums(stem)));
  }
}

TEST_P(FusedPatternsTest, FinalizingBatchNormIsPrecompiledButForBfloat16) {
  for (const std::int64_t channels : {64, 2048}) {
    BatchNormFinalizeShape shape{.channels = channels, .count = 256 * 49};
    EXPECT_TRUE(has_plan(batch_norm_finalize(shape)));
    shape.type = CUDNN_DATA_FLOAT;
    EXPECT_TRUE(has_plan(batch_norm_finalize(shape)));
    shape.type = CUDNN_DATA_BFLOAT16;
    EXPECT_FALSE(has_plan(batch_norm_finalize(shape)));
  }
}

TEST_P(FusedPatternsTest, BatchNormInOneIsNeverPrecompiled) {
  for (const auto type : {CUDNN_DATA_HALF, CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT}) {
    for (const bool is_fused : {false, true}) {
      const BatchNormShape shape{.type = type,
                                 .x = {256, 64, 56, 56},
                                 .has_residual = is_fused,
                                 .relu = is_fused,
                                 .has_mask = is_fused};
      EXPECT_FALSE(has_plan(batch_norm(shape)));
      EXPECT_FALSE(has_plan(batch_norm_backward(shape)));
    }
  }
}

}  // namespace
}  // namespace slackline::cudnn
