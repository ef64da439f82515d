// What the program tells of plugins that need a GPU, whether there is one or not.

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "cuda/runtime.h"
#include "test_host.h"

namespace slackline {
namespace {

/// Kind and name.
class GpuPluginsTest : public testing::TestWithParam<std::pair<const char*, const char*>> {};
INSTANTIATE_TEST_SUITE_P(, GpuPluginsTest,
                         testing::Values(std::pair("model", "trivial_cuda"),
                                         std::pair("model", "resnet_cudnn"),
                                         std::pair("strategy", "one_gpu")),
                         [](const auto& plugin) { return plugin.param.second; });

TEST_P(GpuPluginsTest, AreListedWithTheReasonWhyTheyCannotRunHere) {
  const PluginListing listing = testing_support::listing_of(GetParam().first, GetParam().second);
  EXPECT_EQ(listing.problem, "");
  EXPECT_EQ(listing.unavailable, cuda::why_unavailable());
}

}  // namespace
}  // namespace slackline
