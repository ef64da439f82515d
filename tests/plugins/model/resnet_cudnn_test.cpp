// What the model plugin reports of itself, with a GPU; what it computes is
// tests/plugins/shared/net_cuda's. Without one, these tests are skipped.

#include <slackline/model.h>

#include <filesystem>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "cuda/handles.h"
#include "cuda/runtime.h"
#include "cudnn/target.h"
#include "temporary_folder.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing_support::make_plugin;
using testing_support::OptionArguments;
using testing_support::TemporaryFolder;
using testing_support::TestHost;

class ResnetCudnnTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = cuda::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
  }

  /// Of a small model, once it is built.
  static std::map<std::string, double> reports(OptionArguments options = {}) {
    TestHost host;
    const cuda::Stream stream = cuda::make_stream(cuda::runtime());
    options.emplace_back("depth", 20);
    const auto model = make_plugin<Model>("resnet_cudnn", options, host);
    model->build({.image = {32, 32, 3},
                  .max_batch_size = 8,
                  .num_classes = 10,
                  .device = {.kind = DeviceKind::kCuda, .stream = stream.get()}});
    return host.reports;
  }
};

TEST_F(ResnetCudnnTest, ReportsWhichCudnnItUses) {
  EXPECT_EQ(reports().at("cudnn"), static_cast<double>(cudnn::library_version()));
}

TEST_F(ResnetCudnnTest, MeasuresPlansOnceForAFile) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "plans.json";
  EXPECT_GT(reports({{"plan_cache", file.string()}}).at("plans_measured"), 0);
  EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_EQ(reports({{"plan_cache", file.string()}}).at("plans_measured"), 0);
}

}  // namespace
}  // namespace slackline
