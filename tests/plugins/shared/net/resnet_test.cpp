// Residual networks against the counts, names and shapes that upstream's and torchvision's have.

#include "net/resnet.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace slackline::net {
namespace {

using testing::ElementsAreArray;

Program resnet(std::int32_t depth, std::int64_t size = 224, std::int64_t classes = 1000,
               Padding padding = Padding::kSame, Fusion fusion = Fusion::kBatchNorm) {
  return build_resnet({.depth = depth,
                       .height = size,
                       .width = size,
                       .classes = classes,
                       .padding = padding,
                       .fusion = fusion});
}

std::size_t parameters(const Program& program) { return program.count(TensorKind::kParameter); }

template <class T>
std::vector<T> all_of(const Program& program) {
  std::vector<T> found;
  for (const Op& op : program.ops) {
    if (const T* one = std::get_if<T>(&op)) found.push_back(*one);
  }
  return found;
}

/// The convolution, by the name of its weights.
Conv conv(const Program& program, const std::string& name) {
  for (const Conv& found : all_of<Conv>(program)) {
    if (program.tensor(found.weight).name == name + ".weight") return found;
  }
  ADD_FAILURE() << "no convolution " << name;
  return {};
}

/// "112x112", and how its input is padded: top, left, bottom, right.
std::string look(const Program& program, TensorId y, const Window& w) {
  const Extents& e = program.tensor(y).extents;
  const auto word = [](std::int64_t number) { return std::to_string(number); };
  return word(e[2]) + "x" + word(e[3]) + " pad " + word(w.top) + word(w.left) + word(w.bottom) +
         word(w.right);
}
std::string look(const Program& program, const std::string& name) {
  const Conv found = conv(program, name);
  return look(program, found.y, found.window);
}
std::string look_of_pool(const Program& program) {
  const MaxPool pool = all_of<MaxPool>(program).at(0);
  return look(program, pool.y, pool.window);
}

/// Names of parameters and statistics in their order.
std::vector<std::string> state_names(const Program& program) {
  std::vector<std::string> names;
  for (const Tensor& tensor : program.tensors) {
    if (tensor.kind == TensorKind::kParameter || tensor.kind == TensorKind::kStatistic) {
      names.push_back(tensor.name);
    }
  }
  return names;
}

std::vector<std::string> starting_with(const std::string& prefix,
                                       const std::vector<std::string>& names) {
  std::vector<std::string> found;
  for (const std::string& name : names) {
    if (name.starts_with(prefix)) found.push_back(name);
  }
  return found;
}

TEST(ResnetTest, Resnet50HasUpstreamsCounts) {
  const Program program = resnet(50);
  EXPECT_EQ(parameters(program), 25'557'032u) << "torchvision's";
  EXPECT_EQ(parameters(resnet(50, 224, 1001)), 25'559'081u) << "tensorflow/models'";
  EXPECT_EQ(all_of<Conv>(program).size(), 53u);
  EXPECT_EQ(all_of<ConvBackwardWeights>(program).size(), 53u);
  EXPECT_EQ(all_of<ConvBackwardData>(program).size(), 52u) << "nobody needs that of the pixels";
  EXPECT_EQ(program.all(TensorKind::kParameter).size(), 161u);
  EXPECT_EQ(program.all(TensorKind::kGradient).size(), 161u);
  EXPECT_EQ(program.count(TensorKind::kGradient), 25'557'032u);
  EXPECT_EQ(program.count(TensorKind::kStatistic), 53'120u);
}

TEST(ResnetTest, OtherDepthsHaveTheirCounts) {
  EXPECT_EQ(parameters(resnet(18)), 11'689'512u) << "torchvision's";
  EXPECT_EQ(parameters(resnet(34)), 21'797'672u) << "torchvision's";
  // The stem, three stages of convolutions and norms, three projections, the dense layer:
  // (432 + 32) + 6 * (2304 + 32) + (4608 + 64 + 5 * (9216 + 64)) + (18432 + 128 + 5 * (36864 +
  // 128))
  // + (256 + 32 + 512 + 64 + 2048 + 128) + 650, and 12 more convolutions a stage.
  EXPECT_EQ(parameters(resnet(20, 32, 10)), 272'762u);
  EXPECT_EQ(parameters(resnet(56, 32, 10)), 272'762u + 12 * (2336 + 9280 + 36992));
  EXPECT_EQ(all_of<Conv>(resnet(20, 32, 10)).size(), 19u + 3u);
  EXPECT_EQ(all_of<Conv>(resnet(56, 32, 10)).size(), 55u + 3u);
  EXPECT_EQ(all_of<MaxPool>(resnet(20, 32, 10)).size(), 0u);
}

TEST(ResnetTest, FusionChangesNoParameter) {
  for (const std::int32_t depth : {18, 34, 50, 20, 56}) {
    const Program fused = resnet(depth),
                  separate = resnet(depth, 224, 1000, Padding::kSame, Fusion::kSeparate);
    EXPECT_EQ(state_names(fused), state_names(separate)) << depth;
    EXPECT_EQ(parameters(fused), parameters(separate)) << depth;
    EXPECT_TRUE(all_of<Relu>(fused).empty() && all_of<Add>(fused).empty()) << depth;
    // Only the pool, which two convolutions or a sum read, has no batch norm to add up for it.
    EXPECT_EQ(all_of<Accumulate>(fused).size(), all_of<MaxPool>(fused).size()) << depth;
    EXPECT_TRUE(std::ranges::none_of(all_of<BatchNorm>(separate), [](const BatchNorm& norm) {
      return norm.relu || norm.residual != kNone;
    })) << depth;
  }
}

TEST(ResnetTest, AnImageTakesFourGigaMultiplicationsForwardAndThriceThatForAStep) {
  const Program program = resnet(50);
  double forward = 0, step = 0;
  for (std::size_t i = 0; i < program.ops.size(); ++i) {
    const auto flop = static_cast<double>(flop_of(program, program.ops[i]));
    if (i < program.forward_ops) forward += flop;
    step += flop;
  }
  EXPECT_NEAR(forward / 2, 4.089e9, 0.0005e9);
  // The stem's convolution has no derivative by the pixels: 2 * 64 * 112 * 112 * 3 * 7 * 7.
  EXPECT_EQ(step, 3 * forward - 236'027'904.0);
  EXPECT_NEAR(step, 24.3e9, 0.05e9);
}

TEST(ResnetTest, FlopGrowWithTheBatch) {
  const Program one = build_resnet({.depth = 20, .batch_size = 1, .height = 32, .width = 32});
  const Program five = build_resnet({.depth = 20, .batch_size = 5, .height = 32, .width = 32});
  for (std::size_t i = 0; i < one.ops.size(); ++i) {
    EXPECT_EQ(5 * flop_of(one, one.ops[i]), flop_of(five, five.ops[i])) << i;
  }
}

TEST(ResnetTest, NamesAndTheirOrderAreTorchvisions) {
  const std::vector<std::string> names = state_names(resnet(50));
  ASSERT_EQ(names.size(), 161u + 106u);
  EXPECT_THAT(std::vector(names.begin(), names.begin() + 5),
              ElementsAreArray({"conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean",
                                "bn1.running_var"}));
  EXPECT_THAT(starting_with("layer2.0.", names),
              ElementsAreArray({"layer2.0.conv1.weight",
                                "layer2.0.bn1.weight",
                                "layer2.0.bn1.bias",
                                "layer2.0.bn1.running_mean",
                                "layer2.0.bn1.running_var",
                                "layer2.0.conv2.weight",
                                "layer2.0.bn2.weight",
                                "layer2.0.bn2.bias",
                                "layer2.0.bn2.running_mean",
                                "layer2.0.bn2.running_var",
                                "layer2.0.conv3.weight",
                                "layer2.0.bn3.weight",
                                "layer2.0.bn3.bias",
                                "layer2.0.bn3.running_mean",
                                "layer2.0.bn3.running_var",
                                "layer2.0.downsample.0.weight",
                                "layer2.0.downsample.1.weight",
                                "layer2.0.downsample.1.bias",
                                "layer2.0.downsample.1.running_mean",
                                "layer2.0.downsample.1.running_var"}));
  EXPECT_THAT(starting_with("layer4.2.", names),
              ElementsAreArray({"layer4.2.conv1.weight", "layer4.2.bn1.weight", "layer4.2.bn1.bias",
                                "layer4.2.bn1.running_mean", "layer4.2.bn1.running_var",
                                "layer4.2.conv2.weight", "layer4.2.bn2.weight", "layer4.2.bn2.bias",
                                "layer4.2.bn2.running_mean", "layer4.2.bn2.running_var",
                                "layer4.2.conv3.weight", "layer4.2.bn3.weight", "layer4.2.bn3.bias",
                                "layer4.2.bn3.running_mean", "layer4.2.bn3.running_var"}));
  EXPECT_THAT(std::vector(names.end() - 2, names.end()),
              ElementsAreArray({"fc.weight", "fc.bias"}));
}

TEST(ResnetTest, BlocksComeInOrderAndOnlyWhoseShapeChangesHasAProjection) {
  const auto projections = [](std::int32_t depth) {
    std::vector<std::string> found;
    for (const std::string& name : state_names(resnet(depth, 224))) {
      if (name.ends_with("downsample.0.weight")) found.push_back(name.substr(0, 8));
    }
    return found;
  };
  EXPECT_THAT(projections(50), ElementsAreArray({"layer1.0", "layer2.0", "layer3.0", "layer4.0"}));
  EXPECT_THAT(projections(34), ElementsAreArray({"layer2.0", "layer3.0", "layer4.0"}));
  EXPECT_THAT(projections(20), ElementsAreArray({"layer1.0", "layer2.0", "layer3.0"}))
      << "upstream's network for CIFAR projects in every first block";
  std::vector<std::string> blocks;
  for (const std::string& name : state_names(resnet(34))) {
    if (name.ends_with(".conv1.weight")) blocks.push_back(name.substr(5, 3));
  }
  EXPECT_THAT(blocks, ElementsAreArray({"1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "3.0",
                                        "3.1", "3.2", "3.3", "3.4", "3.5", "4.0", "4.1", "4.2"}));
}

TEST(ResnetTest, TheStrideOfABottleneckIsOnIts3x3Convolution) {
  const Program program = resnet(50);
  EXPECT_EQ(conv(program, "layer2.0.conv1").window.stride, 1);
  EXPECT_EQ(conv(program, "layer2.0.conv2").window.stride, 2);
  EXPECT_EQ(conv(program, "layer2.0.conv3").window.stride, 1);
  EXPECT_EQ(conv(program, "layer2.0.downsample.0").window.stride, 2);
  EXPECT_EQ(conv(program, "layer2.1.conv2").window.stride, 1);
  EXPECT_EQ(conv(resnet(18), "layer2.0.conv1").window.stride, 2);
  EXPECT_EQ(conv(resnet(18), "layer2.0.conv2").window.stride, 1);
}

TEST(ResnetTest, SamePaddingOfEvenImagesIsAtTheBottomAndTheRight) {
  const Program program = resnet(50, 224);
  EXPECT_EQ(look(program, "conv1"), "112x112 pad 3333") << "explicit in upstream";
  EXPECT_EQ(look_of_pool(program), "56x56 pad 0011");
  EXPECT_EQ(look(program, "layer1.0.conv2"), "56x56 pad 1111");
  EXPECT_EQ(look(program, "layer2.0.conv2"), "28x28 pad 0011");
  EXPECT_EQ(look(program, "layer2.0.downsample.0"), "28x28 pad 0000");
  EXPECT_EQ(look(program, "layer3.0.conv2"), "14x14 pad 0011");
  EXPECT_EQ(look(program, "layer4.0.conv2"), "7x7 pad 0011");
  EXPECT_EQ(look(program, "layer4.0.downsample.0"), "7x7 pad 0000");
  const Program cifar = resnet(20, 32, 10);
  EXPECT_EQ(look(cifar, "conv1"), "32x32 pad 1111");
  EXPECT_EQ(look(cifar, "layer1.0.downsample.0"), "32x32 pad 0000");
  EXPECT_EQ(look(cifar, "layer2.0.conv1"), "16x16 pad 0011");
  EXPECT_EQ(look(cifar, "layer3.0.conv1"), "8x8 pad 0011");
}

TEST(ResnetTest, SamePaddingOfOddImagesIsOnAllSides) {
  const Program program = resnet(50, 225);
  EXPECT_EQ(look(program, "conv1"), "113x113 pad 3333");
  EXPECT_EQ(look_of_pool(program), "57x57 pad 1111");
  EXPECT_EQ(look(program, "layer2.0.conv2"), "29x29 pad 1111");
  EXPECT_EQ(look(program, "layer2.0.downsample.0"), "29x29 pad 0000");
  EXPECT_EQ(look(program, "layer4.0.conv2"), "8x8 pad 1111");
  EXPECT_EQ(look(resnet(20, 33, 10), "layer2.0.conv1"), "17x17 pad 1111");
}

TEST(ResnetTest, SamePaddingLooksAtHeightAndWidthApart) {
  const Program program = build_resnet({.depth = 20, .height = 32, .width = 33, .classes = 10});
  EXPECT_EQ(look(program, "layer2.0.conv1"), "16x17 pad 0111");
}

TEST(ResnetTest, SymmetricPaddingIsHalfTheKernelEverywhere) {
  const Program even = resnet(50, 224, 1000, Padding::kSymmetric);
  EXPECT_EQ(look(even, "conv1"), "112x112 pad 3333");
  EXPECT_EQ(look_of_pool(even), "56x56 pad 1111");
  EXPECT_EQ(look(even, "layer2.0.conv2"), "28x28 pad 1111");
  EXPECT_EQ(look(even, "layer2.0.downsample.0"), "28x28 pad 0000");
  EXPECT_EQ(look(even, "layer4.0.conv2"), "7x7 pad 1111");
  const Program odd = resnet(50, 225, 1000, Padding::kSymmetric);
  EXPECT_EQ(look_of_pool(odd), "57x57 pad 1111");
  EXPECT_EQ(look(odd, "layer2.0.conv2"), "29x29 pad 1111");
  EXPECT_EQ(look(odd, "layer2.0.downsample.0"), "29x29 pad 0000");
}

TEST(ResnetTest, SmallestImagesLeaveAPixelInTheLastStage) {
  for (const std::int32_t depth : {18, 34, 50, 20, 56}) {
    const Program program = resnet(depth, smallest_image(depth));
    const Extents& last = program.tensor(all_of<AveragePool>(program).at(0).x).extents;
    EXPECT_GE(last[2], 1) << depth;
    EXPECT_GE(last[3], 1) << depth;
  }
}

TEST(ResnetTest, KernelsAndTheDenseBiasAreDecayedAndNothingElse) {
  const Program program = resnet(50);
  for (const TensorId id : program.all(TensorKind::kParameter)) {
    const Tensor& tensor = program.tensor(id);
    const Tensor& gradient = program.tensor(tensor.gradient);
    EXPECT_EQ(gradient.name, "gradient." + tensor.name);
    EXPECT_EQ(gradient.extents, tensor.extents);
    EXPECT_EQ(gradient.kind, TensorKind::kGradient);
    const bool is_conv = tensor.name.find("conv") != std::string::npos ||
                         tensor.name.ends_with("downsample.0.weight");
    const bool is_dense = tensor.name.starts_with("fc.");
    EXPECT_EQ(tensor.is_kernel, is_conv || tensor.name == "fc.weight") << tensor.name;
    EXPECT_EQ(tensor.is_decayed, is_conv || is_dense) << tensor.name;
  }
}

TEST(ResnetTest, OnlyTheseDepthsExist) {
  for (const std::int32_t depth : {18, 34, 50, 20, 56}) EXPECT_TRUE(is_resnet_depth(depth));
  for (const std::int32_t depth : {0, -18, 19, 21, 32, 44, 101, 110, 152}) {
    EXPECT_FALSE(is_resnet_depth(depth)) << depth;
  }
}

}  // namespace
}  // namespace slackline::net
