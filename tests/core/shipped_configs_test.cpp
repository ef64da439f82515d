// The configurations of configs/, over the plugins of this build. Nothing is run, so neither their
// data nor a GPU need be there.

#include <slackline/config.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test_host.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;

/// Their names, without ".toml".
std::vector<std::string> shipped() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(SLACKLINE_TEST_SOURCE_DIR "/configs")) {
    names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

class ShippedConfigsTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!SLACKLINE_TEST_HAVE_CUDA && GetParam().find("gpu") != std::string::npos) {
      GTEST_SKIP() << "this build has no plugins for GPUs";
    }
    if (!SLACKLINE_TEST_HAVE_NCCL && GetParam() == "resnet50_gpu_mirrored") {
      GTEST_SKIP() << "this build has no NCCL";
    }
  }
};
INSTANTIATE_TEST_SUITE_P(, ShippedConfigsTest, testing::ValuesIn(shipped()),
                         [](const auto& name) { return name.param; });

TEST_P(ShippedConfigsTest, HasNoErrors) {
  const fs::path file = fs::path(SLACKLINE_TEST_SOURCE_DIR) / "configs" / (GetParam() + ".toml");
  EXPECT_EQ(Config::load({file, {}}, testing_support::test_registry()).name(), GetParam());
}

}  // namespace
}  // namespace slackline
