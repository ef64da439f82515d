// With a GPU: every engine of cuDNN that resnet_cudnn may take for ResNet-50 with 256 images of
// 224 x 224, whether it is cuDNN's first suggestion or the fastest in a plan cache. Other sizes,
// which the whole reference can compute, have other engines. Without a GPU, these tests are
// skipped.

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../cudnn/absent_gpus.h"
#include "cuda/handles.h"
#include "cudnn/choose.h"
#include "sampled_conv.h"

namespace slackline::net::cuda {
namespace {

using cudnn::testing_support::Layer;
using slackline::cuda::DeviceBuffer;
using slackline::cuda::runtime;
using slackline::cuda::Stream;
using slackline::cuda::why_unavailable;
using testing_support::ConvOnDevice;
using testing_support::ConvPass;
using testing_support::SampledConv;

constexpr std::size_t kLayers = 28;

/// Every distinct convolution of bench/gpu's network and of the configurations'.
std::vector<Layer> layers() {
  std::vector<Layer> out;
  std::set<std::string> seen;
  const auto add = [&](Padding padding, std::int64_t classes) {
    for (const Layer& layer :
         cudnn::testing_support::resnet50_layers(CUDNN_DATA_HALF, 256, padding, classes)) {
      if (seen.insert(conv(layer.shape).signature()).second) out.push_back(layer);
    }
  };
  add(Padding::kSymmetric, 1000);
  add(Padding::kSame, 1001);
  return out;
}

TEST(LargeConvsTest, AreAllThatResnet50Has) { EXPECT_EQ(layers().size(), kLayers); }

/// A test for each layer, so that processes can share them.
class DeviceConvsTest : public testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    if (!why_unavailable().empty()) GTEST_SKIP() << why_unavailable();
  }
};
INSTANTIATE_TEST_SUITE_P(, DeviceConvsTest, testing::Range(std::size_t{0}, kLayers));

/// Operands are exact and sums nearly so. What is left is the rounding of results, and of sums of
/// up to 3 million products for a weight, of which tensor cores cut bits off: at most some 6e-3, if
/// one of them adds all, 16 at a time. One wrong value of 256 would be an error of about 6e-2.
double tolerance_of(cudnnDataType_t type, ConvPass pass) {
  if (pass == ConvPass::kWeights || type == CUDNN_DATA_BFLOAT16) return 1e-2;
  return type == CUDNN_DATA_HALF ? 2e-3 : 1e-3;
}

TEST_P(DeviceConvsTest, AllCandidatesComputeWhatTheReferenceDoes) {
  constexpr std::size_t kCandidates = 12;  // as many as are timed for a plan cache
  const Layer layer = layers()[GetParam()];
  const Stream stream = slackline::cuda::make_stream(runtime());
  const cudnn::Target target = cudnn::Target::of_device();
  for (const ConvPass pass : {ConvPass::kForward, ConvPass::kData, ConvPass::kWeights}) {
    if (pass == ConvPass::kData && !layer.has_backward_data) continue;
    const SampledConv sampled(pass, layer.shape);
    for (const auto type : {CUDNN_DATA_HALF, CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT}) {
      ConvOnDevice on(sampled, type, runtime(), stream.get());
      const cudnn::Graph graph = on.graph();
      const cudnn::Candidates found =
          cudnn::candidates(graph, target, cudnn::testing_support::of_resnet_cudnn(), kCandidates);
      EXPECT_FALSE(found.plans.empty()) << graph.signature();
      for (const cudnn::Plan& plan : found.plans) {
        const DeviceBuffer<std::byte> workspace(runtime(), plan.workspace_bytes());
        const cudnn::BoundPlan bound = plan.bind(target, on.bindings(), workspace.data());
        SCOPED_TRACE(graph.signature() + ": " + text_of(plan.choice()));
        EXPECT_NO_THROW(EXPECT_LT(on.error_behind([&](cudaStream_t to) { bound.run(to); }),
                                  tolerance_of(type, pass)));
      }
    }
  }
}

}  // namespace
}  // namespace slackline::net::cuda
