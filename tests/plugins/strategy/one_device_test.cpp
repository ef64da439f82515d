#include <slackline/error.h>
#include <slackline/strategy.h>

#include <array>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "batch_streams.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing_support::make_plugin;
using testing_support::ScriptedStream;
using testing_support::TestHost;

/// What a model was asked to do, and what it is to do wrong; shared by a test and its model.
class Ledger {
 public:
  /// The model fails at the batch with this index.
  void fail_at(std::uint64_t index, std::string reason) { failures_[index] = std::move(reason); }

  /// Holds the model back at its next call until open().
  void shut() {
    const std::lock_guard lock(mutex_);
    is_open_ = false;
  }
  void open() {
    {
      const std::lock_guard lock(mutex_);
      is_open_ = true;
    }
    changed_.notify_all();
  }
  /// Waits until the model waits for open().
  void wait_until_held() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_held_; });
  }

  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  [[nodiscard]] std::thread::id thread() const {
    const std::lock_guard lock(mutex_);
    return thread_;
  }

  // The model's side.
  void write(std::string line) {
    std::unique_lock lock(mutex_);
    thread_ = std::this_thread::get_id();
    is_held_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_open_; });
    is_held_ = false;
    lines_.push_back(std::move(line));
  }
  void fail_if_told(std::uint64_t index) const {
    const auto found = failures_.find(index);
    if (found != failures_.end()) throw DataError(found->second);
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::map<std::uint64_t, std::string> failures_;
  std::thread::id thread_;
  bool is_open_ = true;
  bool is_held_ = false;
};

/// Writes down every call. Its loss for a batch is ten times the index, negative in evaluation.
class LedgerModel final : public Model {
 public:
  explicit LedgerModel(Ledger& ledger) : ledger_(ledger) {}

  void build(const ModelSpec& spec) override {
    EXPECT_EQ(spec.device.kind, DeviceKind::kCpu);
    if (spec.num_classes == 0) throw ConfigError("no classes");
  }
  void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                        StepSums& sums) override {
    ledger_.write(text("train ", batch.index, " of ", global_batch_size));
    ledger_.fail_if_told(batch.index);
    sums = {10.0 * static_cast<double>(batch.index), 1, batch.size};
  }
  std::span<float> gradients() override { return {}; }
  std::span<float> statistics() override { return {}; }
  TensorStore& state() override { return no_tensors(); }
  void update(const UpdateRule& rule) override {
    ledger_.write(text("update ", rule.learning_rate));
  }
  void evaluate(const Batch& batch, StepSums& sums) override {
    ledger_.write(text("evaluate ", batch.index));
    ledger_.fail_if_told(batch.index);
    sums = {-10.0 * static_cast<double>(batch.index), 2, batch.size};
  }

 private:
  Ledger& ledger_;
};

class LedgerModels final : public ModelFactory {
 public:
  explicit LedgerModels(Ledger& ledger) : ledger_(ledger) {}
  std::unique_ptr<Model> make_model() override { return std::make_unique<LedgerModel>(ledger_); }

 private:
  Ledger& ledger_;
};

constexpr StepPlan kTrain{.kind = StepKind::kTrain, .rule = {.learning_rate = 0.5f}};
constexpr StepPlan kEvaluate{.kind = StepKind::kEvaluate, .rule = {}};

class OneDeviceTest : public testing::Test {
 protected:
  OneDeviceTest() {
    for (std::size_t i = 0; i < batches_.size(); ++i) {
      batches_[i].index = i;
      batches_[i].size = static_cast<std::int32_t>(i + 1);
    }
    strategy_->build(models_, spec());
  }

  static ModelSpec spec() { return {{2, 2, 3}, 32, 10, 1, {}}; }

  void submit(std::size_t batch, const StepPlan& plan = kTrain) {
    const std::array<const Batch*, 1> one = {&batches_[batch]};
    strategy_->submit(one, plan);
  }
  /// "loss/correct/samples" of the oldest step, or why it failed.
  std::string finish() {
    try {
      const StepSums sums = strategy_->finish();
      return text(sums.loss, "/", sums.correct, "/", sums.samples);
    } catch (const Error& error) {
      return error.what();
    }
  }
  void destroy() { strategy_.reset(); }

  Ledger ledger_;
  LedgerModels models_{ledger_};
  TestHost host_;
  std::array<Batch, 40> batches_;
  std::unique_ptr<Strategy> strategy_ = make_plugin<Strategy>("one_device", {}, host_);
};

TEST_F(OneDeviceTest, HasOneDevice) { EXPECT_EQ(strategy_->device_count(), 1); }

TEST_F(OneDeviceTest, AStepTrainsOnTheWholeBatchAndReturnsTheModelsSums) {
  submit(3);
  EXPECT_EQ(finish(), "30/1/4");
  EXPECT_EQ(ledger_.lines(), (std::vector<std::string>{"train 3 of 4", "update 0.5"}));
}

TEST_F(OneDeviceTest, AnEvaluationChangesNoParameters) {
  submit(3, kEvaluate);
  EXPECT_EQ(finish(), "-30/2/4");
  EXPECT_EQ(ledger_.lines(), (std::vector<std::string>{"evaluate 3"}));
}

TEST_F(OneDeviceTest, StepsAreComputedAndFinishedInOrder) {
  submit(1);
  submit(2, kEvaluate);
  EXPECT_EQ(finish(), "10/1/2");
  submit(3);
  EXPECT_EQ(finish(), "-20/2/3");
  EXPECT_EQ(finish(), "30/1/4");
  EXPECT_EQ(ledger_.lines(), (std::vector<std::string>{"train 1 of 2", "update 0.5", "evaluate 2",
                                                       "train 3 of 4", "update 0.5"}));
}

TEST_F(OneDeviceTest, SubmitReturnsWhileTheDeviceIsBusyHoweverManyStepsWait) {
  ledger_.shut();
  for (std::size_t i = 0; i < batches_.size(); ++i) submit(i, kEvaluate);
  EXPECT_TRUE(ledger_.lines().empty());
  ledger_.open();
  for (std::size_t i = 0; i < batches_.size(); ++i) {
    EXPECT_EQ(finish(), text(-10.0 * static_cast<double>(i) + 0.0, "/2/", i + 1));
  }
}

TEST_F(OneDeviceTest, StepsMayBeAddedWhileOneIsComputed) {
  submit(0);
  EXPECT_EQ(finish(), "0/1/1");
  ledger_.shut();
  submit(1);
  ledger_.wait_until_held();
  for (const std::size_t i : {2u, 3u, 4u, 5u}) submit(i);
  ledger_.open();
  for (const char* sums : {"10/1/2", "20/1/3", "30/1/4", "40/1/5", "50/1/6"}) {
    EXPECT_EQ(finish(), sums);
  }
}

TEST_F(OneDeviceTest, TheModelComputesOnAThreadOfItsOwn) {
  submit(0);
  EXPECT_EQ(finish(), "0/1/1");
  EXPECT_NE(ledger_.thread(), std::this_thread::get_id());
}

TEST_F(OneDeviceTest, AnErrorArrivesAtTheFinishOfItsStep) {
  ledger_.fail_at(2, "label 12 is not in 0..9");
  for (const std::size_t i : {1u, 2u, 3u}) submit(i);
  EXPECT_EQ(finish(), "10/1/2");
  EXPECT_EQ(finish(), "label 12 is not in 0..9");
  EXPECT_EQ(finish(), "30/1/4");
  EXPECT_EQ(ledger_.lines(), (std::vector<std::string>{"train 1 of 2", "update 0.5", "train 2 of 3",
                                                       "train 3 of 4", "update 0.5"}))
      << "a step that failed must not change the parameters";
}

TEST_F(OneDeviceTest, AStepWithoutABatchSumsToNothing) {
  const std::array<const Batch*, 1> none = {nullptr};
  strategy_->submit(none, kTrain);
  EXPECT_EQ(finish(), "0/0/0");
  EXPECT_TRUE(ledger_.lines().empty());
}

TEST_F(OneDeviceTest, DestructionForgetsTheStepsBehindTheOneThatIsComputed) {
  ledger_.shut();
  for (const std::size_t i : {1u, 2u, 3u}) submit(i, kEvaluate);
  ledger_.wait_until_held();
  std::thread opener([this] { ledger_.open(); });
  destroy();
  opener.join();
  EXPECT_GE(ledger_.lines().size(), 1u);
  EXPECT_EQ(ledger_.lines()[0], "evaluate 1");
}

TEST_F(OneDeviceTest, DestructionDoesNotNeedAStepOrItsFinish) {
  submit(1);
  destroy();
  const auto never_built = make_plugin<Strategy>("one_device", {}, host_);
}

TEST_F(OneDeviceTest, AModelThatCannotBeBuiltSaysSoAtOnce) {
  const auto strategy = make_plugin<Strategy>("one_device", {}, host_);
  ModelSpec bad = spec();
  bad.num_classes = 0;
  try {
    strategy->build(models_, bad);
    FAIL() << "built a model without classes";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "no classes");
  }
}

TEST_F(OneDeviceTest, TheDeviceReadsTheHostsMemory) {
  ScriptedStream host;
  EXPECT_EQ(strategy_->upload(host, 0), nullptr);
}

TEST_F(OneDeviceTest, TheTimelineHasASpanForEachStep) {
  submit(1);
  submit(2, kEvaluate);
  EXPECT_EQ(finish(), "10/1/2");
  EXPECT_EQ(finish(), "-20/2/3");
  const auto& spans = host_.tracks["replica 0"].spans;
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].name, "step");
  EXPECT_EQ(spans[0].batch, 1u);
  EXPECT_EQ(spans[1].batch, 2u);
}

}  // namespace
}  // namespace slackline
