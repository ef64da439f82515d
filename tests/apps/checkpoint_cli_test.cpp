// slackline checkpoint, and the exit codes of --resume.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "temporary_folder.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class CheckpointCliTest : public testing::Test {
 protected:
  int slackline(const std::string& arguments) {
    const std::string command = "cd '" + folder_.path().string() + "' && '" +
                                std::string(SLACKLINE_TEST_BINARY_DIR) + "/bin/slackline' " +
                                arguments + " >out 2>err </dev/null";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream in(folder_.path() / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  /// A run of seven steps in the folder `run`, with checkpoints at the fifth and the last.
  int run(const std::string& more = "") {
    return slackline("run '" + std::string(SLACKLINE_TEST_SOURCE_DIR) +
                     "/configs/digits_linear.toml' --dir run --set run.steps=7 "
                     "--set eval.every_epochs=0 --set checkpoint.every_steps=5 " +
                     more);
  }
  void damage(const std::string& name) {
    std::string bytes = read(name);
    bytes[bytes.size() / 2] ^= 1;
    std::ofstream(folder_.path() / name, std::ios::binary) << bytes;
  }

  testing_support::TemporaryFolder folder_;
  const std::string newest_ = "run/checkpoints/step-000000007.safetensors";
};

TEST_F(CheckpointCliTest, VerifyJudgesAFileARunOrItsFolder) {
  ASSERT_EQ(run(), 0) << read("err");
  for (const std::string path : {"run", "run/", "run/checkpoints", "run/checkpoints/"}) {
    EXPECT_EQ(slackline("checkpoint verify " + path), 0) << path << read("err");
    EXPECT_THAT(read("out"), AllOf(HasSubstr("step-000000005.safetensors: ok, step 5, 5 tensors"),
                                   HasSubstr("step-000000007.safetensors: ok, step 7")));
  }
  damage(newest_);
  EXPECT_EQ(slackline("checkpoint verify run"), 65);
  EXPECT_THAT(read("out"), HasSubstr("step-000000005.safetensors: ok"));
  EXPECT_THAT(read("err"), HasSubstr("step-000000007.safetensors: is damaged: its checksum is"));
  EXPECT_EQ(slackline("checkpoint verify " + newest_), 65);
  EXPECT_EQ(slackline("checkpoint verify ."), 65);
  EXPECT_THAT(read("err"), HasSubstr(".: holds no checkpoint"));
  EXPECT_EQ(slackline("checkpoint verify absent"), 74);
}

TEST_F(CheckpointCliTest, InfoTellsStateAndTensors) {
  ASSERT_EQ(run(), 0) << read("err");
  EXPECT_EQ(slackline("checkpoint info " + newest_), 0);
  EXPECT_THAT(read("out"), AllOf(HasSubstr("configuration  digits_linear, seed 1"),
                                 HasSubstr("trained        7 steps, 224 samples; epoch 0, 7 steps"),
                                 HasSubstr("  weight  F32 [588, 10]\n"),
                                 HasSubstr("  slackline.momentum.bias  F32 [10]\n")));
  EXPECT_EQ(slackline("checkpoint info --json " + newest_), 0);
  const auto json = nlohmann::json::parse(read("out"));
  EXPECT_EQ(json["steps"], 7);
  EXPECT_EQ(json["tensors"][0]["shape"], nlohmann::json::array({588, 10}));
  EXPECT_THAT(std::string(json["toml"]), HasSubstr("plugin = \"linear\""));
  EXPECT_EQ(slackline("checkpoint info " + newest_ + ".x"), 74);
  EXPECT_EQ(slackline("checkpoint"), 64);
}

TEST_F(CheckpointCliTest, ResumingSaysByItsExitCodeWhyItCannot) {
  ASSERT_EQ(run(), 0) << read("err");
  EXPECT_EQ(slackline("run --resume run --set model.grid=[7,7]"), 78);
  EXPECT_THAT(read("err"), HasSubstr("model.grid: [14, 14] then, [7, 7] now"));
  EXPECT_EQ(slackline("run --resume run --resume-anyway --set model.grid=[7,7]"), 65)
      << "its tensors still do not fit";
  EXPECT_THAT(read("err"), HasSubstr("weight is [588, 10], and the model's is [147, 10]"));
  EXPECT_EQ(slackline("run --resume run --resume-anyway --set run.steps=9 --set run.seed=5"), 0);
  EXPECT_THAT(read("out"), HasSubstr("run.seed: 1 then, 5 now"));
  EXPECT_EQ(slackline("run --resume-anyway run"), 64);
  damage("run/checkpoints/step-000000009.safetensors");
  damage(newest_);
  EXPECT_EQ(slackline("run --resume run"), 65);
  EXPECT_THAT(read("err"), HasSubstr("no checkpoint is good"));
  fs::remove_all(folder_.path() / "run/checkpoints");
  EXPECT_EQ(slackline("run --resume run"), 74);
  EXPECT_THAT(read("err"), HasSubstr("there is no checkpoint"));
}

TEST_F(CheckpointCliTest, CheckLooksAtTheWeightsToo) {
  ASSERT_EQ(run(), 0) << read("err");
  const std::string check = "check '" + std::string(SLACKLINE_TEST_SOURCE_DIR) +
                            "/configs/digits_linear.toml' --set \"run.weights='" + newest_ + "'\"";
  EXPECT_EQ(slackline(check), 0) << read("err");
  EXPECT_EQ(slackline(check + " --set model.grid=[7,7]"), 65);
  EXPECT_THAT(read("err"), HasSubstr("1 tensor does not fit the model"));
}

}  // namespace
}  // namespace slackline
