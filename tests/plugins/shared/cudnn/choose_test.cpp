// Which of cuDNN's engines is taken, which are not, and what is said if there is none.

#include "cudnn/choose.h"

#include <slackline/error.h>

#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absent_gpus.h"

namespace slackline::cudnn {
namespace {

using testing::HasSubstr;
using testing_support::absent;
using testing_support::precompiled;

constexpr std::size_t kAll = 10'000;

/// The 3x3 convolution of ResNet-50's first stage.
ConvShape layer(cudnnDataType_t type) {
  return {.type = type,
          .x = {256, 64, 56, 56},
          .out_channels = 64,
          .window = {.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1}};
}

std::string error_of(const Graph& graph, const Policy& policy) {
  try {
    (void)choose(graph, absent("h100"), policy);
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ChooseTest, SignaturesSayWhatIsComputed) {
  EXPECT_EQ(conv(layer(CUDNN_DATA_HALF)).signature(),
            "conv_fwd fp16 x=256x64x56x56 w=64x64x3x3 pad=1,1,1,1 stride=1");
  EXPECT_EQ(conv_backward_weights(dense_shape(CUDNN_DATA_BFLOAT16, 32, 2048, 1001)).signature(),
            "conv_wgrad bf16 x=32x2048x1x1 w=1001x2048x1x1 pad=0,0,0,0 stride=1");
  EXPECT_EQ(conv_sums(space_to_depth_stem_shape(CUDNN_DATA_HALF, 32, 224, 224)).signature(),
            "conv_sums fp16 x=32x16x115x115 w=64x16x4x4 pad=0,0,0,0 stride=1");
  EXPECT_EQ(batch_norm({.type = CUDNN_DATA_FLOAT,
                        .x = {2, 8, 4, 4},
                        .has_residual = true,
                        .relu = true,
                        .has_mask = true})
                .signature(),
            "bn_fwd fp32 x=2x8x4x4 residual relu mask");
}

TEST(ChooseTest, CandidatesAreDifferentAndAsManyAsAskedFor) {
  const Graph graph = conv(layer(CUDNN_DATA_HALF));
  const Target target = absent("h100");
  const Candidates all = candidates(graph, target, precompiled(), kAll);
  ASSERT_GT(all.plans.size(), 10U);
  for (std::size_t i = 0; i < all.plans.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(all.plans[i].choice(), all.plans[j].choice());
  }
  const Candidates few = candidates(graph, target, precompiled(), 3);
  ASSERT_EQ(few.plans.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(few.plans[i].choice(), all.plans[i].choice());
  EXPECT_EQ(choose(graph, target, precompiled()).plan.choice(), all.plans.front().choice());
}

TEST(ChooseTest, TensorsThatDoNotFitAreRefusedWithTheSignature) {
  GraphBuilder graph("misfit");
  const Tensor x = graph.tensor(1, {8, 64, 14, 14}, CUDNN_DATA_HALF);
  const Tensor weight = graph.tensor(2, {64, 32, 1, 1}, CUDNN_DATA_HALF);
  const Tensor y = graph.tensor(3, {8, 32, 14, 14}, CUDNN_DATA_HALF);
  try {
    graph.conv({}, x, weight, y);
    FAIL() << "described";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), HasSubstr("cannot describe conv of misfit: CUDNN_STATUS_BAD_PARAM"));
  }
}

TEST(ChooseTest, AnErrorSaysWhatWasTriedAndWhyTheLastWasNotTaken) {
  Policy policy = precompiled();
  policy.max_workspace_bytes = 0;
  EXPECT_THAT(
      error_of(conv_sums(layer(CUDNN_DATA_HALF)), policy),
      testing::MatchesRegex("no engine for conv_sums fp16 x=256x64x56x56 w=64x64x3x3 pad=1,1,1,1 "
                            "stride=1 on NVIDIA H100 80GB HBM3 \\(workspace<=0 precompiled\\): the "
                            "last of 10, engine 2 \\(.*\\), needs .* bytes of workspace, more "
                            "than 0"));
}

TEST(ChooseTest, AnErrorSaysIfCudnnHasNoSuggestionsAtAll) {
  EXPECT_EQ(
      error_of(conv_sums(layer(CUDNN_DATA_BFLOAT16)), precompiled()),
      "no engine for conv_sums bf16 x=256x64x56x56 w=64x64x3x3 pad=1,1,1,1 stride=1 on NVIDIA "
      "H100 80GB HBM3 (workspace<=4294967296 precompiled): cuDNN suggests none");
}

TEST(ChooseTest, EnginesThatDoNotSumInFloat32AreRefused) {
  const Candidates found = candidates(conv_backward_weights(layer(CUDNN_DATA_HALF)), absent("h100"),
                                      precompiled(), kAll);
  EXPECT_GT(std::ranges::count(found.refused, "does not sum in float32", &Refusal::why), 0);
  for (const Plan& plan : found.plans) EXPECT_FALSE(plan.notes().sums_in_low_precision);
}

TEST(ChooseTest, PlansStayWithinTheWorkspace) {
  const Graph graph = conv_backward_weights(layer(CUDNN_DATA_HALF));
  const Target target = absent("h100");
  const auto has_room = [](std::size_t bytes) {
    return [bytes](const Plan& plan) { return plan.workspace_bytes() <= bytes; };
  };
  Policy policy = precompiled();
  const Candidates all = candidates(graph, target, policy, kAll);
  policy.max_workspace_bytes = 1 << 20;
  const Candidates small = candidates(graph, target, policy, kAll);
  EXPECT_TRUE(std::ranges::all_of(small.plans, has_room(1 << 20)));
  EXPECT_EQ(std::ranges::count_if(all.plans, has_room(1 << 20)), std::ssize(small.plans));
  EXPECT_LT(small.plans.size(), all.plans.size());
}

TEST(ChooseTest, DeterministicPlansAreOfDeterministicEngines) {
  const Graph graph = conv_backward_weights(layer(CUDNN_DATA_FLOAT));
  const Target target = absent("h100");
  Policy policy = precompiled();
  const auto is_nondeterministic = [](const Plan& plan) {
    return plan.notes().is_nondeterministic;
  };
  const Candidates all = candidates(graph, target, policy, kAll);
  policy.deterministic = true;
  const Candidates some = candidates(graph, target, policy, kAll);
  EXPECT_EQ(std::ranges::count_if(some.plans, is_nondeterministic), 0);
  EXPECT_GT(std::ranges::count_if(all.plans, is_nondeterministic), 0);
  EXPECT_EQ(std::ranges::count(some.refused, "is not deterministic", &Refusal::why),
            std::ranges::count_if(all.plans, is_nondeterministic));
}

TEST(ChooseTest, WithoutTf32NoFloat32ConvolutionUsesTensorCores) {
  const Target target = absent("h100");
  Policy policy = precompiled();
  policy.tf32 = false;
  for (const auto make : {conv, conv_backward_data, conv_backward_weights}) {
    const Graph graph = make(layer(CUDNN_DATA_FLOAT));
    EXPECT_TRUE(choose(graph, target, precompiled()).plan.notes().uses_tensor_cores);
    const Candidates exact = candidates(graph, target, policy, kAll);
    EXPECT_FALSE(exact.plans.empty()) << graph.signature();
    for (const Plan& plan : exact.plans) EXPECT_FALSE(plan.notes().uses_tensor_cores);
  }
  // float16 has no such question.
  EXPECT_TRUE(choose(conv(layer(CUDNN_DATA_HALF)), target, policy).plan.notes().uses_tensor_cores);
}

TEST(ChooseTest, APolicyIsNamed) {
  EXPECT_EQ(text_of(Policy{}), "workspace<=4294967296");
  EXPECT_EQ(text_of(Policy{.max_workspace_bytes = 1,
                           .deterministic = true,
                           .tf32 = false,
                           .runtime_compiled = false}),
            "workspace<=1 deterministic no_tf32 precompiled");
}

}  // namespace
}  // namespace slackline::cudnn
