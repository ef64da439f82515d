// Checkpoints of resnet_cpu in PyTorch, and torchvision's weights in resnet_cpu: the same logits.

#include <slackline/checkpoint.h>
#include <slackline/model.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "golden_case.h"
#include "golden_model.h"
#include "net_cpu/executor.h"
#include "openmp.h"
#include "owned_batch.h"
#include "temporary_folder.h"
#include "test_host.h"

namespace slackline::net {
namespace {

namespace fs = std::filesystem;
using testing_support::GoldenCase;
using testing_support::image_shape;
using testing_support::make_model;
using testing_support::OwnedBatch;

class TensorsTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { SLACKLINE_SKIP_OPENMP(); }

  const GoldenCase golden_{GetParam()};
  testing_support::TestHost host_;
};

/// What PyTorch's strict loading asks of a checkpoint, from the golden files: so it runs
/// everywhere.
TEST_P(TensorsTest, HaveTheNamesAndShapesOfPyTorch) {
  const auto list = [&](const char* key) { return nlohmann::json::parse(golden_.meta(key)); };
  const auto model = make_model(golden_, {}, 0, host_);
  auto parameters = nlohmann::json::array(), shapes = nlohmann::json::array();
  auto statistics = nlohmann::json::array();
  for (const TensorInfo& tensor : model->state().tensors()) {
    if (tensor.role == TensorRole::kParameter) {
      parameters.push_back(tensor.name);
      shapes.push_back(tensor.shape);
    } else if (tensor.role == TensorRole::kStatistic) {
      statistics.push_back(tensor.name);
    }
  }
  EXPECT_EQ(parameters, list("parameters"));
  EXPECT_EQ(shapes, list("shapes"));
  EXPECT_EQ(statistics, list("running"));
}

INSTANTIATE_TEST_SUITE_P(Cases, TensorsTest,
                         testing::Values("cifar20_same", "cifar56_same", "resnet18_symmetric",
                                         "resnet34_symmetric", "resnet50_symmetric"),
                         [](const auto& of_case) { return of_case.param; });

/// With the torch, torchvision and safetensors of the Python that SLACKLINE_TORCH_PYTHON names: the
/// only thing that skips it beside ThreadSanitizer. A Python without them fails it.
class ExchangeTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    SLACKLINE_SKIP_OPENMP();
    const char* const python = std::getenv("SLACKLINE_TORCH_PYTHON");
    if (python == nullptr) GTEST_SKIP() << "SLACKLINE_TORCH_PYTHON names no Python that has torch";
    python_ = python;
    model_ = make_model(golden_, {.momentum = 0.9f}, 0, host_);
  }

  /// Of batch 0, in inference mode, with the model's parameters and statistics.
  std::vector<std::vector<float>> logits() {
    const Program program = build_resnet(golden_.spec());
    cpu::Executor executor(program, {.threads = 2, .normalisation = GoldenCase::normalisation()});
    std::map<std::string, TensorId> ids;
    for (const TensorKind kind : {TensorKind::kParameter, TensorKind::kStatistic}) {
      for (const TensorId id : program.all(kind)) ids[program.tensor(id).name] = id;
    }
    const auto tensors = model_->state().tensors();
    std::vector<float> values;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto found = ids.find(tensors[i].name);
      if (found == ids.end()) continue;
      values.resize(tensors[i].size());
      model_->state().read(i, values);
      executor.write(found->second, values);
      ids.erase(found);
    }
    EXPECT_TRUE(ids.empty()) << ids.begin()->first << " is not in the model's state";

    const auto images = golden_.images(0);
    const auto labels = golden_.labels(0);
    StepSums sums;
    executor.evaluate({images, labels, 1}, sums);
    const auto& loss = std::get<SoftmaxLoss>(program.ops[program.forward_ops - 1]);
    values.resize(values_of(program.tensor(loss.logits).extents));
    executor.read(loss.logits, values);
    const auto classes = static_cast<std::ptrdiff_t>(golden_.spec().classes);
    std::vector<std::vector<float>> rows;
    for (auto row = values.begin(); row != values.end(); row += classes) {
      rows.emplace_back(row, row + classes);
    }
    return rows;
  }

  /// Runs compare_torch.py for the file and this case; expects success.
  void python(const fs::path& file, const std::string& more) {
    const ResnetSpec spec = golden_.spec();
    const std::string command = text(
        "'", python_, "' '", SLACKLINE_TEST_SOURCE_DIR, "/tests/golden/resnet/compare_torch.py' '",
        file.string(), "' --arch ", golden_.meta("arch"), " --classes ", spec.classes,
        " --padding ", golden_.meta("padding"), " --batch ", spec.batch_size, " --height ",
        spec.height, " --width ", spec.width, " --seed ", golden_.meta("seed"), " ", more);
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }

  void expect_pytorchs_logits(const fs::path& file) {
    const fs::path mine = folder_.write("logits.json", nlohmann::json{{"logits", logits()}}.dump());
    python(file, text("--logits '", mine.string(), "' --tolerance 5e-6"));
  }

  const GoldenCase golden_{GetParam()};
  testing_support::TestHost host_;
  testing_support::TemporaryFolder folder_;
  std::unique_ptr<Model> model_;

 private:
  std::string python_;
};

TEST_P(ExchangeTest, ACheckpointHasTheSameLogitsInPyTorch) {
  StepSums sums;
  for (std::uint64_t step = 0; step < 3; ++step) {
    OwnedBatch batch(image_shape(golden_), golden_.images(step), golden_.labels(step));
    model_->forward_backward(*batch, batch->size, sums);
    model_->update({.learning_rate = 0.01f});
  }
  LineFile lines(system_file_ops(), folder_.path() / "steps.jsonl");
  CheckpointFolder(system_file_ops(), folder_.path(), 1, lines).save({}, model_->state());
  ASSERT_EQ(checkpoint_files(folder_.path()).size(), 1u);
  expect_pytorchs_logits(checkpoint_files(folder_.path()).front());
}

TEST_P(ExchangeTest, WeightsOfPyTorchHaveTheSameLogitsHere) {
  const fs::path file = folder_.path() / "fresh.safetensors";
  python(file, "--fresh");
  load_weights(file, model_->state());
  expect_pytorchs_logits(file);
}

INSTANTIATE_TEST_SUITE_P(Cases, ExchangeTest,
                         testing::Values("cifar20_same", "resnet18_symmetric", "resnet50_symmetric",
                                         "resnet50_same"),
                         [](const auto& of_case) { return of_case.param; });

}  // namespace
}  // namespace slackline::net
