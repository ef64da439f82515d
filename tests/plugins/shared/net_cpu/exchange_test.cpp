// Checkpoints of resnet_cpu in PyTorch, and torchvision's weights in resnet_cpu: the same logits.

#include <slackline/checkpoint.h>
#include <slackline/model.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "golden_case.h"
#include "net_cpu/executor.h"
#include "openmp.h"
#include "owned_batch.h"
#include "temporary_folder.h"
#include "test_host.h"

namespace slackline::net {
namespace {

namespace fs = std::filesystem;
using testing_support::GoldenCase;
using testing_support::OwnedBatch;

/// With the torch, torchvision and safetensors of the Python that SLACKLINE_TORCH_PYTHON names.
class ExchangeTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    SLACKLINE_SKIP_OPENMP();
    const char* const python = std::getenv("SLACKLINE_TORCH_PYTHON");
    if (python == nullptr) GTEST_SKIP() << "SLACKLINE_TORCH_PYTHON names no Python that has torch";
    python_ = python;
    const ResnetSpec spec = golden_.spec();
    model_ = testing_support::make_plugin<Model>(
        "resnet_cpu",
        {{"depth", spec.depth},
         {"padding", std::string(spec.padding == Padding::kSame ? "same" : "symmetric")},
         {"std", std::vector<double>{58, 58, 58}}},
        host_);
    model_->build({.image = shape_,
                   .max_batch_size = static_cast<std::int32_t>(spec.batch_size),
                   .num_classes = static_cast<std::int32_t>(spec.classes),
                   .seed = 1,
                   .device = {},
                   .optimizer = {.momentum = 0.9f},
                   .cpu_threads = 2});
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
  const ImageShape shape_{static_cast<std::int32_t>(golden_.spec().height),
                          static_cast<std::int32_t>(golden_.spec().width), 3};
  testing_support::TestHost host_;
  testing_support::TemporaryFolder folder_;
  std::unique_ptr<Model> model_;

 private:
  std::string python_;
};

TEST_P(ExchangeTest, ACheckpointHasTheSameLogitsInPyTorch) {
  StepSums sums;
  for (std::uint64_t step = 0; step < 3; ++step) {
    OwnedBatch batch(shape_, golden_.images(step), golden_.labels(step));
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
