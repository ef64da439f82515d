// cuDNN's plans for ResNet-50, made for GPUs that are not there, against what they were before.

#include <slackline/error.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "absent_gpus.h"

namespace slackline::cudnn {
namespace {

using testing_support::Layer;

/// One line a graph, "signature: engine 62 (2=3 14=2), workspace 131", behind one that names cuDNN.
///
/// To write the files anew after a change of cuDNN, run these tests with
/// SLACKLINE_UPDATE_SNAPSHOTS=1 and read the difference.
class Snapshot {
 public:
  explicit Snapshot(const std::string& gpu)
      : file_(testing_support::folder() / "snapshots" / (gpu + ".txt")) {
    std::ifstream in(file_);
    std::getline(in, version_);
    for (std::string line; std::getline(in, line);) lines_.push_back(line);
  }

  static std::string this_version() { return text("cuDNN ", library_version()); }

  void compare(const std::vector<std::string>& lines) const {
    if (std::getenv("SLACKLINE_UPDATE_SNAPSHOTS") != nullptr) {
      std::filesystem::create_directories(file_.parent_path());
      std::ofstream out(file_);
      out << this_version() << "\n";
      for (const std::string& line : lines) out << line << "\n";
      GTEST_SKIP() << "wrote " << file_;
    }
    if (version_ != this_version()) {
      GTEST_SKIP() << "all plans were made, but not compared: " << file_ << " is of '" << version_
                   << "', and this is " << this_version()
                   << ". To write it anew, run this with SLACKLINE_UPDATE_SNAPSHOTS=1";
    }
    EXPECT_EQ(lines.size(), lines_.size());
    for (std::size_t i = 0; i < std::min(lines.size(), lines_.size()); ++i) {
      EXPECT_EQ(lines[i], lines_[i]) << "line " << i + 2 << " of " << file_;
    }
  }

 private:
  const std::filesystem::path file_;
  std::string version_;
  std::vector<std::string> lines_;
};

class ResnetPlans : public testing::TestWithParam<std::string> {};

TEST_P(ResnetPlans, ConvolutionsOfAllTypesSizesAndPaddingsHaveTheKnownEngines) {
  const Target target = testing_support::absent(GetParam());
  std::vector<std::string> lines;
  std::set<std::string> seen;
  const auto plan = [&](const Graph& graph) {
    if (!seen.insert(graph.signature()).second) return;
    const Plan made = choose(graph, target, testing_support::precompiled()).plan;
    lines.push_back(text(graph.signature(), ": ", text_of(made.choice()), ", workspace ",
                         made.workspace_bytes()));
  };
  for (const auto type : {CUDNN_DATA_HALF, CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT}) {
    for (const std::int64_t n : {32, 256}) {
      for (const auto padding : {net::Padding::kSame, net::Padding::kSymmetric}) {
        for (const Layer& layer : testing_support::resnet50_layers(type, n, padding)) {
          plan(conv(layer.shape));
          plan(conv_backward_weights(layer.shape));
          if (layer.has_backward_data) plan(conv_backward_data(layer.shape));
        }
      }
    }
  }
  Snapshot(GetParam()).compare(lines);
}

INSTANTIATE_TEST_SUITE_P(, ResnetPlans, testing::Values("h100", "h200"),
                         [](const auto& gpu) { return gpu.param; });

}  // namespace
}  // namespace slackline::cudnn
