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

/// Every distinct convolution of one type, with its derivatives, for the sizes and paddings in use.
std::vector<Graph> graphs_of(cudnnDataType_t type) {
  std::vector<Graph> graphs;
  std::set<std::string> seen;
  const auto add = [&](const Graph& graph) {
    if (seen.insert(graph.signature()).second) graphs.push_back(graph);
  };
  for (const std::int64_t n : {32, 256}) {
    for (const auto padding : {net::Padding::kSame, net::Padding::kSymmetric}) {
      for (const Layer& layer : testing_support::resnet50_layers(type, n, padding)) {
        add(conv(layer.shape));
        add(conv_backward_weights(layer.shape));
        if (layer.has_backward_data) add(conv_backward_data(layer.shape));
      }
    }
  }
  return graphs;
}

TEST_P(ResnetPlans, ConvolutionsOfAllTypesSizesAndPaddingsHaveTheKnownEngines) {
  const Target target = testing_support::absent(GetParam());
  std::vector<std::string> lines;
  for (const auto type : {CUDNN_DATA_HALF, CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT}) {
    for (const Graph& graph : graphs_of(type)) {
      const Plan made = choose(graph, target, testing_support::of_resnet_cudnn()).plan;
      lines.push_back(text(graph.signature(), ": ", text_of(made.choice()), ", workspace ",
                           made.workspace_bytes()));
    }
  }
  Snapshot(GetParam()).compare(lines);
}

TEST_P(ResnetPlans, ConvolutionsOfFloat32HaveEnginesWithoutTf32) {
  const Target target = testing_support::absent(GetParam());
  Policy exact = testing_support::of_resnet_cudnn();
  exact.tf32 = false;
  for (const Graph& graph : graphs_of(CUDNN_DATA_FLOAT)) {
    EXPECT_NO_THROW((void)choose(graph, target, exact)) << graph.signature();
  }
}

TEST_P(ResnetPlans, WithoutTf32NoneIsLeftWithTheLastFallback) {
  const Target target = testing_support::absent(GetParam());
  Policy exact = testing_support::of_resnet_cudnn();
  exact.tf32 = false;
  const auto plan = [&](const Graph& graph) {
    EXPECT_NE(choose(graph, target, exact).plan.choice().engine, 0) << graph.signature();
  };
  for (const std::int64_t n : {256, 768}) {
    for (const Layer& layer :
         testing_support::resnet50_layers(CUDNN_DATA_FLOAT, n, net::Padding::kSame)) {
      plan(conv(layer.shape));
      plan(conv_backward_weights(layer.shape));
      if (layer.has_backward_data) plan(conv_backward_data(layer.shape));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, ResnetPlans, testing::Values("h100", "h200"),
                         [](const auto& gpu) { return gpu.param; });

}  // namespace
}  // namespace slackline::cudnn
