// Engines that are compiled at run time are suggested where there is a driver, and work where there
// is a device. CTest runs this also with the toolkit's stub for a driver: there they can be
// compiled, but not loaded.

#include <slackline/error.h>

#include <algorithm>
#include <string>

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absent_gpus.h"
#include "cuda/runtime.h"

namespace slackline::cudnn {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

bool has_driver() {
  void* const driver = dlopen("libcuda.so.1", RTLD_LAZY);
  if (driver != nullptr) dlclose(driver);
  return driver != nullptr;
}

/// Of bfloat16, there are no others.
Graph graph_of_runtime_engines() {
  return conv_sums({.type = CUDNN_DATA_BFLOAT16, .x = {32, 64, 56, 56}, .out_channels = 64});
}

TEST(RuntimeCompiledTest, NoPlanIsOfAnEngineThatCannotBeMade) {
  try {
    const Choice choice =
        choose(graph_of_runtime_engines(), testing_support::absent("h100"), Policy{});
    EXPECT_EQ(cuda::why_unavailable(), "");
    EXPECT_TRUE(choice.plan.notes().is_runtime_compiled);
  } catch (const DeviceError& error) {
    EXPECT_NE(cuda::why_unavailable(), "");
    EXPECT_THAT(error.what(), HasSubstr("no engine for conv_sums bf16 x=32x64x56x56"));
    EXPECT_THAT(error.what(), ContainsRegex(has_driver() ? "the last of .*, engine .*CUDNN_STATUS"
                                                         : "cuDNN suggests none"));
  }
}

TEST(RuntimeCompiledTest, WhereTheyAreExcludedNoneIsCompiled) {
  const Candidates found = candidates(graph_of_runtime_engines(), testing_support::absent("h100"),
                                      testing_support::precompiled(), 1);
  EXPECT_EQ(found.plans.size(), 0U);
  EXPECT_EQ(found.refused.empty(), !has_driver());
  for (const Refusal& each : found.refused) EXPECT_EQ(each.why, "is compiled at run time");
}

// What there is beside the precompiled engines, and for types that have no others.
TEST(RuntimeCompiledTest, TheyAreForBatchNormInOneAndForSumsInTheForwardPass) {
  if (!has_driver()) GTEST_SKIP() << "without a driver, cuDNN suggests none";
  const Target target = testing_support::absent("h100");
  const auto suggested = [&](const Graph& graph) {
    const Candidates found = candidates(graph, target, testing_support::precompiled(), 10'000);
    return std::ranges::count(found.refused, "is compiled at run time", &Refusal::why);
  };
  for (const auto type : {CUDNN_DATA_HALF, CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT}) {
    BatchNormShape norm{.type = type, .x = {256, 64, 56, 56}};
    EXPECT_GT(suggested(batch_norm(norm)), 0);
    EXPECT_GT(suggested(batch_norm_backward(norm)), 0);
    for (const bool has_residual : {false, true}) {
      norm.has_residual = has_residual;
      norm.relu = norm.has_mask = true;
      EXPECT_GT(suggested(batch_norm(norm)), 0);
      EXPECT_GT(suggested(batch_norm_backward(norm)), 0);
    }
    const ConvShape layer{.type = type, .x = {256, 256, 56, 56}, .out_channels = 64};
    EXPECT_GT(suggested(conv_sums(layer)), 0);
    EXPECT_GT(suggested(apply_conv_sums(layer)), 0);
    EXPECT_EQ(suggested(apply_conv_backward_weights(layer)), 0);
    EXPECT_EQ(suggested(conv_backward_data_sums(layer, Shortcut::kNone)), 0);
    for (const Shortcut shortcut : {Shortcut::kIdentity, Shortcut::kProjection}) {
      EXPECT_EQ(suggested(add_apply_conv_sums(layer, shortcut)), 0);
      EXPECT_EQ(suggested(conv_backward_data_sums(layer, shortcut)), 0);
    }
  }
}

}  // namespace
}  // namespace slackline::cudnn
