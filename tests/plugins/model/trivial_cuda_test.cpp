// What the model plugin says of itself; what it computes is tests/plugins/shared/net_cuda's.

#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/registry.h>

#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda/runtime.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing_support::make_plugin;
using testing_support::test_registry;
using testing_support::TestHost;

TEST(TrivialCudaTest, IsListedWithTheReasonWhyItCannotRunHere) {
  const auto all = test_registry().list();
  const auto found = std::ranges::find_if(all, [](const PluginListing& each) {
    return each.kind == "model" && each.name == "trivial_cuda";
  });
  ASSERT_NE(found, all.end());
  EXPECT_EQ(found->problem, "");
  EXPECT_EQ(found->unavailable, cuda::why_unavailable());
}

TEST(TrivialCudaTest, WithoutADriverItsUseIsADeviceError) {
  const std::string why = cuda::why_unavailable();
  if (why.empty()) GTEST_SKIP() << "there is a device";
  TestHost host;
  try {
    (void)make_plugin<Model>("trivial_cuda", {}, host);
    FAIL() << "was made without a device";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(why));
  }
}

TEST(TrivialCudaTest, RefusesTheCpu) {
  if (!cuda::why_unavailable().empty()) GTEST_SKIP() << cuda::why_unavailable();
  TestHost host;
  const auto model = make_plugin<Model>("trivial_cuda", {}, host);
  EXPECT_THROW(
      model->build({.image = {8, 8, 3}, .max_batch_size = 1, .num_classes = 2, .device = {}}),
      ConfigError);
}

}  // namespace
}  // namespace slackline
