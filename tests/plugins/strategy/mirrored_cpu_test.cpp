#include <slackline/error.h>
#include <slackline/random.h>
#include <slackline/simulated_clock.h>
#include <slackline/strategy.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ios>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "batch_streams.h"
#include "owned_batch.h"
#include "test_host.h"

namespace slackline {
namespace {

using std::chrono_literals::operator""ms;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_support::make_plugin;
using testing_support::OwnedBatch;
using testing_support::ScriptedStream;
using testing_support::TestHost;

constexpr ImageShape kShape{11, 9, 3};
constexpr std::int32_t kClasses = 5;
constexpr std::int32_t kMaxBatchSize = 6;
constexpr StepPlan kTrain{.kind = StepKind::kTrain, .rule = {.learning_rate = 0.01f}};
constexpr StepPlan kEvaluate{.kind = StepKind::kEvaluate, .rule = {}};

ModelSpec spec() { return {kShape, kMaxBatchSize, kClasses, 3, {}}; }

std::unique_ptr<OwnedBatch> made_up_batch(std::uint64_t index, std::size_t size) {
  return testing_support::made_up_batch(kShape, kClasses, index, size);
}

/// One batch for each device, or none, and what is to be done with them.
struct Task {
  std::vector<std::unique_ptr<OwnedBatch>> batches;
  StepPlan plan = kTrain;

  [[nodiscard]] std::vector<const Batch*> views() const {
    std::vector<const Batch*> all;
    for (const auto& batch : batches) all.push_back(batch == nullptr ? nullptr : &**batch);
    return all;
  }
  [[nodiscard]] std::int32_t samples() const {
    std::int32_t sum = 0;
    for (const Batch* batch : views()) sum += batch == nullptr ? 0 : batch->size;
    return sum;
  }
};

/// Steps of batches of changing sizes; every fourth is an evaluation, and the last two are the
/// uneven end of the data: there the last devices have no batch, then no device has one.
std::vector<Task> made_up_run(std::size_t devices, std::size_t steps) {
  std::vector<Task> run(steps);
  for (std::size_t i = 0; i < steps; ++i) {
    for (std::size_t device = 0; device < devices; ++device) {
      const std::uint64_t index = i * devices + device;
      run[i].batches.push_back(made_up_batch(index, 1 + (index * 5) % kMaxBatchSize));
    }
    if (i % 4 == 3) run[i].plan = kEvaluate;
  }
  run[steps - 2].plan = kTrain;
  for (std::size_t device = devices / 2; device < devices; ++device) {
    run[steps - 2].batches[device] = nullptr;
  }
  for (auto& batch : run[steps - 1].batches) batch = nullptr;
  return run;
}

/// Everything that can be seen of the parameters: what they make of one batch.
std::vector<double> look_into(Model& model) {
  const auto batch = made_up_batch(12345, kMaxBatchSize);
  StepSums sums;
  model.forward_backward(**batch, 1, sums);
  std::vector<double> seen(model.gradients().begin(), model.gradients().end());
  seen.push_back(sums.loss);
  return seen;
}

/// Makes models of a plugin, and keeps an eye on them.
class Models final : public ModelFactory {
 public:
  Models(std::string name, Host& host) : name_(std::move(name)), host_(host) {}
  std::unique_ptr<Model> make_model() override {
    auto model = make_plugin<Model>(name_, {}, host_);
    made.push_back(model.get());
    return model;
  }
  std::vector<Model*> made;

 private:
  const std::string name_;
  Host& host_;
};

std::string finish(Strategy& strategy) {
  try {
    const StepSums sums = strategy.finish();
    return text(std::hexfloat, sums.loss, "/", sums.correct, "/", sums.samples);
  } catch (const Error& error) {
    return error.what();
  }
}

/// What became of a run: the sums or error of every step, and the parameters of every replica.
struct Outcome {
  std::vector<std::string> steps;
  std::vector<std::vector<double>> replicas;
  bool operator==(const Outcome&) const = default;
};

/// With how many steps in flight at once.
Outcome outcome_of(Strategy& strategy, Models& models, const std::vector<Task>& run,
                   std::size_t in_flight = 2) {
  strategy.build(models, spec());
  Outcome outcome;
  for (std::size_t i = 0; i < run.size(); ++i) {
    if (i >= in_flight) outcome.steps.push_back(finish(strategy));
    strategy.submit(run[i].views(), run[i].plan);
  }
  while (outcome.steps.size() < run.size()) outcome.steps.push_back(finish(strategy));
  for (Model* model : models.made) outcome.replicas.push_back(look_into(*model));
  return outcome;
}

/// One model that accumulates the batches of a step one after another, by hand.
Outcome accumulated(Model& model, const std::vector<Task>& run, std::size_t replicas) {
  model.build(spec());
  Outcome outcome;
  for (const Task& task : run) {
    StepSums total;
    std::vector<float> gradients;
    for (const Batch* batch : task.views()) {
      StepSums sums;
      model.forward_backward(*batch, task.samples(), sums);
      total += sums;
      if (gradients.empty()) {
        gradients.assign(model.gradients().begin(), model.gradients().end());
      } else {
        std::ranges::transform(gradients, model.gradients(), gradients.begin(), std::plus<>());
      }
    }
    std::ranges::copy(gradients, model.gradients().begin());
    model.update(task.plan.rule);
    outcome.steps.push_back(
        text(std::hexfloat, total.loss, "/", total.correct, "/", total.samples));
  }
  outcome.replicas.assign(replicas, look_into(model));
  return outcome;
}

constexpr const char* kExecutions[] = {"threads", "virtual"};

Outcome mirrored(const std::string& model, std::size_t replicas, const std::string& execution,
                 const std::vector<Task>& run, std::size_t in_flight = 2) {
  TestHost host;
  Models models(model, host);
  const auto strategy = make_plugin<Strategy>(
      "mirrored_cpu", {{"replicas", static_cast<int>(replicas)}, {"execution", execution}}, host);
  return outcome_of(*strategy, models, run, in_flight);
}

TEST(MirroredCpuTest, ReplicasAreTheMicroBatchesThatOneDeviceAccumulatesToTheLastBit) {
  for (const std::size_t replicas : {2u, 3u, 4u}) {
    std::vector<Task> run(6);
    for (std::size_t i = 0; i < run.size() * replicas; ++i) {
      run[i / replicas].batches.push_back(made_up_batch(i, 1 + i % kMaxBatchSize));
    }
    for (const char* model : {"linear", "trivial"}) {
      TestHost host;
      const auto by_hand = make_plugin<Model>(model, {}, host);
      const Outcome expected = accumulated(*by_hand, run, replicas);
      for (const char* execution : kExecutions) {
        EXPECT_EQ(mirrored(model, replicas, execution, run), expected)
            << replicas << " replicas of " << model << ", " << execution;
      }
    }
  }
}

TEST(MirroredCpuTest, ThreadsAndVirtualReplicasGiveTheSameBitsAndEqualReplicas) {
  for (const std::size_t replicas : {2u, 3u, 5u}) {
    for (const char* model : {"linear", "trivial"}) {
      const std::vector<Task> run = made_up_run(replicas, 20);
      const Outcome threads = mirrored(model, replicas, "threads", run);
      EXPECT_EQ(mirrored(model, replicas, "virtual", run), threads) << replicas << " of " << model;
      EXPECT_EQ(threads.replicas.size(), replicas);
      EXPECT_THAT(threads.replicas, Each(threads.replicas[0]));
    }
  }
}

TEST(MirroredCpuTest, StepsInFlightDoNotChangeTheResult) {
  const std::vector<Task> run = made_up_run(3, 20);
  EXPECT_EQ(mirrored("trivial", 3, "threads", run, 20), mirrored("trivial", 3, "threads", run, 1));
}

TEST(MirroredCpuTest, ASingleReplicaGivesTheBitsOfOneDevice) {
  const std::vector<Task> run = made_up_run(1, 20);
  for (const char* model : {"linear", "trivial"}) {
    TestHost host;
    Models models(model, host);
    const auto one_device = make_plugin<Strategy>("one_device", {}, host);
    const Outcome expected = outcome_of(*one_device, models, run);
    for (const char* execution : kExecutions) {
      EXPECT_EQ(mirrored(model, 1, execution, run), expected) << model << ", " << execution;
    }
  }
}

TEST(MirroredCpuTest, ABadBatchFailsItsStepAndChangesNoReplica) {
  for (const char* execution : kExecutions) {
    std::vector<Task> with_bad = made_up_run(3, 8);
    std::vector<Task> without = made_up_run(3, 8);
    const std::vector<std::int32_t> bad(2, 99);
    const std::vector<std::uint8_t> pixels(2 * kShape.size());
    with_bad[1].batches[1] = std::make_unique<OwnedBatch>(kShape, pixels, bad);
    with_bad[3].batches[2] = std::make_unique<OwnedBatch>(kShape, pixels, bad);
    for (auto& batch : without[1].batches) batch = nullptr;
    const Outcome failed = mirrored("trivial", 3, execution, with_bad);
    Outcome expected = mirrored("trivial", 3, execution, without);

    EXPECT_THAT(failed.steps[1], HasSubstr("sample 0: label 99 is not in 0..4")) << execution;
    EXPECT_THAT(failed.steps[3], HasSubstr("sample 0: label 99 is not in 0..4")) << execution;
    expected.steps[1] = failed.steps[1];
    expected.steps[3] = failed.steps[3];
    EXPECT_EQ(failed, expected) << execution << ": as if the failed steps had not been";
  }
}

TEST(MirroredCpuTest, OfSeveralBadBatchesTheFirstReplicasIsTold) {
  for (const char* execution : kExecutions) {
    std::vector<Task> run(1);
    for (const std::int32_t label : {7, 8, 9}) {
      run[0].batches.push_back(std::make_unique<OwnedBatch>(
          kShape, std::vector<std::uint8_t>(kShape.size()), std::vector<std::int32_t>{label}));
    }
    EXPECT_THAT(mirrored("linear", 3, execution, run).steps[0], HasSubstr("label 7 is not in 0..4"))
        << execution;
  }
}

TEST(MirroredCpuTest, ThereAreTwoReplicasUnlessSaidOtherwise) {
  TestHost host;
  const auto strategy = make_plugin<Strategy>("mirrored_cpu", {}, host);
  EXPECT_EQ(strategy->device_count(), 2);
  EXPECT_EQ(strategy->launch_threads_per_device(), 0);
}

TEST(MirroredCpuTest, TheDevicesReadTheHostsMemory) {
  TestHost host;
  ScriptedStream batches;
  const auto strategy = make_plugin<Strategy>("mirrored_cpu", {}, host);
  EXPECT_EQ(strategy->upload(batches, 0), nullptr);
  EXPECT_EQ(strategy->upload(batches, 1), nullptr);
}

/// A model of one parameter whose replicas take different times: 10 ms for the first, 20 ms for the
/// second, and so on. Its gradient is 1.
class SlowModel final : public Model {
 public:
  SlowModel(Clock& clock, std::vector<std::string>& log, std::int32_t update_fails_at)
      : clock_(clock), log_(log), update_fails_at_(update_fails_at) {}

  void build(const ModelSpec& spec) override { spec_ = spec; }
  void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                        StepSums& sums) override {
    clock_.work(10ms * (spec_.device.index + 1));
    log(text("train ", batch.index, " of ", global_batch_size));
    gradients_[0] = 1;
    sums.samples = batch.size;
  }
  std::span<float> gradients() override { return gradients_; }
  std::span<float> statistics() override { return {}; }
  TensorStore& state() override { return no_tensors(); }
  void update(const UpdateRule&) override {
    if (spec_.device.index == update_fails_at_) throw DeviceError("device lost");
    log(text("update by ", gradients_[0]));
  }
  void evaluate(const Batch& batch, StepSums& sums) override {
    clock_.work(10ms * (spec_.device.index + 1));
    log(text("evaluate ", batch.index));
    sums.samples = batch.size;
  }
  [[nodiscard]] const ModelSpec& built_for() const { return spec_; }

 private:
  /// Threads of a simulated clock run one at a time, so that they may share a log.
  void log(const std::string& line) { log_.push_back(text(spec_.device.index, ": ", line)); }

  Clock& clock_;
  std::vector<std::string>& log_;
  const std::int32_t update_fails_at_;
  ModelSpec spec_;
  std::array<float, 1> gradients_{};
};

class SlowModels final : public ModelFactory {
 public:
  explicit SlowModels(Clock& clock) : clock_(clock) {}
  std::unique_ptr<Model> make_model() override {
    auto model = std::make_unique<SlowModel>(clock_, log, update_fails_at);
    made.push_back(model.get());
    return model;
  }
  std::vector<SlowModel*> made;
  std::vector<std::string> log;
  std::int32_t update_fails_at = -1;

 private:
  Clock& clock_;
};

/// Two replicas in simulated time.
class MirroredCpuTimeTest : public testing::Test {
 protected:
  MirroredCpuTimeTest() {
    for (std::size_t i = 0; i < batches_.size(); ++i) {
      batches_[i].index = i;
      batches_[i].size = static_cast<std::int32_t>(i + 1);
    }
  }

  void build(const std::string& execution = "threads") {
    strategy_ = make_plugin<Strategy>("mirrored_cpu", {{"execution", execution}}, host_);
    strategy_->build(models_, spec());
  }
  void submit(const Batch* first, const Batch* second, const StepPlan& plan = kTrain) {
    const std::array<const Batch*, 2> two = {first, second};
    strategy_->submit(two, plan);
  }
  [[nodiscard]] const Batch* batch(std::size_t index) const { return &batches_[index]; }
  [[nodiscard]] std::chrono::milliseconds passed() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(clock_.now() - begin_);
  }
  /// "name batch begin..end", in ms.
  std::vector<std::string> spans(const std::string& track) {
    std::vector<std::string> lines;
    for (const auto& span : host_.tracks[track].spans) {
      const auto ms = [&](Clock::Time time) { return (time - begin_) / 1ms; };
      lines.push_back(text(span.name, " ",
                           span.batch == TraceTrack::kNoBatch ? "-" : std::to_string(span.batch),
                           " ", ms(span.begin), "..", ms(span.end)));
    }
    return lines;
  }

  SimulatedClock clock_{4};
  const Clock::Time begin_ = clock_.now();
  TestHost host_{clock_};
  SlowModels models_{clock_};
  std::array<Batch, 8> batches_;
  std::unique_ptr<Strategy> strategy_;
};

TEST_F(MirroredCpuTimeTest, EachReplicaIsBuiltForItsDeviceFromTheSameSeed) {
  build();
  ASSERT_EQ(models_.made.size(), 2u);
  for (std::int32_t i = 0; i < 2; ++i) {
    const ModelSpec& built = models_.made[static_cast<std::size_t>(i)]->built_for();
    EXPECT_EQ(built.device.kind, DeviceKind::kCpu);
    EXPECT_EQ(built.device.index, i);
    EXPECT_EQ(built.device.stream, nullptr);
    EXPECT_EQ(built.seed, spec().seed);
    EXPECT_EQ(built.max_batch_size, kMaxBatchSize);
  }
}

TEST_F(MirroredCpuTimeTest, EachReplicaComputesItsBatchAndAllUpdateByTheSum) {
  build();
  submit(batch(1), batch(4));
  EXPECT_EQ(strategy_->finish().samples, 7);
  EXPECT_THAT(models_.log, testing::UnorderedElementsAre("0: train 1 of 7", "1: train 4 of 7",
                                                         "0: update by 2", "1: update by 2"));
}

TEST_F(MirroredCpuTimeTest, AReplicaWithoutABatchAddsNothing) {
  for (const char* execution : kExecutions) {
    build(execution);
    submit(batch(0), batch(1));
    static_cast<void>(strategy_->finish());
    models_.log.clear();
    submit(batch(2), nullptr);
    EXPECT_EQ(strategy_->finish().samples, 3) << execution;
    EXPECT_THAT(models_.log, testing::UnorderedElementsAre("0: train 2 of 3", "0: update by 1",
                                                           "1: update by 1"))
        << execution << ": the gradients of the step before must not come in again";
  }
}

TEST_F(MirroredCpuTimeTest, AStepWithoutAnySampleChangesNothing) {
  for (const char* execution : kExecutions) {
    build(execution);
    submit(nullptr, nullptr);
    EXPECT_EQ(strategy_->finish().samples, 0);
    EXPECT_TRUE(models_.log.empty()) << execution;
  }
}

TEST_F(MirroredCpuTimeTest, SubmitReturnsAtOnceAndFinishWaitsForTheSlowestReplica) {
  build();
  for (const std::size_t i : {0u, 2u, 4u}) submit(batch(i), batch(i + 1));
  EXPECT_EQ(passed(), 0ms);
  for (const auto end : {20ms, 40ms, 60ms}) {
    static_cast<void>(strategy_->finish());
    EXPECT_EQ(passed(), end);
  }
}

TEST_F(MirroredCpuTimeTest, VirtualReplicasComputeOneAfterAnother) {
  build("virtual");
  submit(batch(0), batch(1));
  EXPECT_EQ(passed(), 0ms);
  static_cast<void>(strategy_->finish());
  EXPECT_EQ(passed(), 30ms);
  EXPECT_THAT(models_.log, ElementsAre("0: train 0 of 3", "1: train 1 of 3", "0: update by 2",
                                       "1: update by 2"));
  EXPECT_THAT(spans("replica 0"), ElementsAre("step 0 0..10"));
  EXPECT_THAT(spans("replica 1"), ElementsAre("step 1 10..30"));
}

TEST_F(MirroredCpuTimeTest, TheTimelineShowsTheStepsAndTheWaitForTheSlowerReplica) {
  build();
  submit(batch(0), batch(1));
  submit(batch(2), nullptr);
  submit(batch(4), batch(5), kEvaluate);
  for (int i = 0; i < 3; ++i) static_cast<void>(strategy_->finish());
  EXPECT_THAT(spans("replica 0"),
              ElementsAre("all-reduce - 10..20", "step 0 0..20", "all-reduce - 30..30",
                          "step 2 20..30", "step 4 30..40"));
  EXPECT_THAT(spans("replica 1"),
              ElementsAre("all-reduce - 20..20", "step 1 0..20", "all-reduce - 20..30",
                          "step - 20..30", "step 5 30..50"));
  EXPECT_EQ(host_.reports.at("straggler"), 10) << "in the one step for which both had a batch";
}

TEST_F(MirroredCpuTimeTest, AReplicaThatFailsToUpdateEndsItForAll) {
  models_.update_fails_at = 1;
  for (const char* execution : kExecutions) {
    build(execution);
    submit(batch(0), batch(1));
    submit(batch(2), batch(3));
    submit(batch(4), batch(5), kEvaluate);
    EXPECT_EQ(finish(*strategy_), "device lost") << execution;
    EXPECT_THROW(static_cast<void>(strategy_->finish()), DeviceError) << execution;
    EXPECT_THAT(finish(*strategy_), HasSubstr("a replica failed to update its parameters"))
        << execution;
    submit(batch(6), batch(7));
    EXPECT_THROW(static_cast<void>(strategy_->finish()), DeviceError) << execution;
    EXPECT_EQ(std::ranges::count(models_.log, "0: update by 2"), 1)
        << execution << ": the other replica must not train on alone";
    models_.log.clear();
  }
}

TEST_F(MirroredCpuTimeTest, DestructionEndsTheStepThatIsComputedAndForgetsThoseBehind) {
  build();
  for (const std::size_t i : {0u, 2u, 4u}) submit(batch(i), batch(i + 1));
  clock_.sleep(15ms);  // one replica waits in the all-reduce, the other still computes
  strategy_.reset();
  EXPECT_EQ(passed(), 20ms);
  EXPECT_THAT(models_.log, testing::UnorderedElementsAre("0: train 0 of 3", "1: train 1 of 3",
                                                         "0: update by 2", "1: update by 2"));
}

TEST_F(MirroredCpuTimeTest, DestructionLetsNoReplicaWaitForOneThatHasLeft) {
  build();
  submit(batch(0), batch(1), kEvaluate);
  submit(batch(2), batch(3));
  submit(batch(4), batch(5));
  clock_.sleep(15ms);  // one replica has begun to train, the other evaluates
  strategy_.reset();
  EXPECT_EQ(passed(), 40ms);
  EXPECT_EQ(std::ranges::count(models_.log, "0: update by 2"), 1);
  EXPECT_EQ(std::ranges::count(models_.log, "1: update by 2"), 1);
}

/// A model of one parameter and three running means, which follow the index of the batch that it
/// trains on. Its loss in an evaluation is what the first mean is then.
class MeansModel final : public Model, public TensorStore {
 public:
  void build(const ModelSpec& spec) override {
    means_ = {1, 2, 3};
    weight_ = static_cast<float>(spec.seed);
  }
  void forward_backward(const Batch& batch, std::int32_t /*global_batch_size*/,
                        StepSums& sums) override {
    for (std::size_t i = 0; i < means_.size(); ++i) {
      means_[i] = 0.9f * means_[i] + 0.1f * static_cast<float>(batch.index * 7 + i);
    }
    sums = {.samples = batch.size};
  }
  std::span<float> gradients() override { return gradients_; }
  std::span<float> statistics() override { return means_; }
  void update(const UpdateRule&) override {}
  void evaluate(const Batch& batch, StepSums& sums) override {
    sums = {.loss = static_cast<double>(means_[0]), .samples = batch.size};
  }
  TensorStore& state() override { return *this; }

  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return kTensors; }
  void read(std::size_t index, std::span<float> values) override {
    std::ranges::copy(array(index), values.begin());
  }
  void write(std::size_t index, std::span<const float> values) override {
    std::ranges::copy(values, array(index).begin());
  }

 private:
  [[nodiscard]] std::span<float> array(std::size_t index) {
    return index == 0 ? std::span<float>(&weight_, 1) : means_;
  }

  static inline const std::array<TensorInfo, 2> kTensors{
      TensorInfo{.name = "weight", .shape = {1}, .role = TensorRole::kParameter},
      TensorInfo{.name = "means", .shape = {3}, .role = TensorRole::kStatistic}};
  std::array<float, 3> means_{};
  std::array<float, 1> gradients_{};
  float weight_ = 0;
};

class MeansModels final : public ModelFactory {
 public:
  std::unique_ptr<Model> make_model() override {
    auto model = std::make_unique<MeansModel>();
    made.push_back(model.get());
    return model;
  }
  std::vector<MeansModel*> made;
};

/// Replicas of MeansModel, and the means of each.
class MirroredStatistics {
 public:
  MirroredStatistics(std::size_t replicas, const std::string& execution)
      : strategy_(make_plugin<Strategy>(
            "mirrored_cpu", {{"replicas", static_cast<int>(replicas)}, {"execution", execution}},
            host_)) {
    strategy_->build(models_, spec());
  }

  /// Batches `index` and following, one for each replica; the last has none if `but_last`.
  StepSums step(const StepPlan& plan, std::uint64_t index, bool but_last = false) {
    std::vector<Batch> batches(models_.made.size());
    std::vector<const Batch*> views;
    for (Batch& batch : batches) {
      batch.index = index++;
      batch.size = 1;
      views.push_back(&batch);
    }
    if (but_last) views.back() = nullptr;
    strategy_->submit(views, plan);
    return strategy_->finish();
  }
  void train(std::size_t steps) {
    for (std::size_t i = 0; i < steps; ++i) step(kTrain, i * 100);
  }
  StepSums evaluate(bool but_last = false) { return step(kEvaluate, 0, but_last); }
  TensorStore& state() { return strategy_->state(); }

  [[nodiscard]] std::span<float> means(std::size_t replica) {
    return models_.made[replica]->statistics();
  }
  [[nodiscard]] std::vector<std::vector<float>> all() {
    std::vector<std::vector<float>> out;
    for (MeansModel* model : models_.made) {
      out.emplace_back(model->statistics().begin(), model->statistics().end());
    }
    return out;
  }
  /// What they come to: added up in the order of the replicas, then divided.
  [[nodiscard]] std::vector<float> average() {
    std::vector<float> sums(3);
    for (const std::vector<float>& each : all()) {
      std::ranges::transform(sums, each, sums.begin(), std::plus<>());
    }
    for (float& sum : sums) sum /= static_cast<float>(models_.made.size());
    return sums;
  }

 private:
  TestHost host_;
  MeansModels models_;
  std::unique_ptr<Strategy> strategy_;
};

TEST(MirroredCpuStatisticsTest, AreAveragedBeforeTheyAreUsedToTheSameBitsByThreadsAndInTurn) {
  for (const std::size_t replicas : {1u, 2u, 3u, 5u}) {
    std::vector<std::vector<float>> expected;
    for (const std::string execution : kExecutions) {
      for (const bool by_state : {false, true}) {
        MirroredStatistics run(replicas, execution);
        run.train(4);
        const std::vector<float> average = run.average();
        if (replicas > 1) {
          EXPECT_NE(run.all()[0], run.all()[1]) << "each saw other batches";
        }
        if (by_state) {
          std::vector<float> read(3);
          run.state().read(1, read);
          EXPECT_EQ(read, average) << execution;
        } else {
          const double loss = run.evaluate().loss;
          EXPECT_EQ(loss, static_cast<double>(average[0]) * static_cast<double>(replicas));
        }
        EXPECT_THAT(run.all(), Each(average)) << replicas << ", " << execution;
        if (expected.empty()) expected = run.all();
        EXPECT_EQ(run.all(), expected) << replicas << ", " << execution;
      }
    }
  }
}

TEST(MirroredCpuStatisticsTest, AreAveragedByAnEvaluationInWhichAReplicaHasNoBatch) {
  for (const char* execution : kExecutions) {
    MirroredStatistics run(3, execution);
    run.train(2);
    const std::vector<float> average = run.average();
    EXPECT_EQ(run.evaluate(true).samples, 2);
    EXPECT_THAT(run.all(), Each(average)) << execution << ": without it the others would wait";
  }
}

TEST(MirroredCpuStatisticsTest, AreNotAveragedAgainUntilSomethingWasTrained) {
  for (const char* execution : kExecutions) {
    for (const bool state_first : {false, true}) {
      MirroredStatistics run(2, execution);
      run.train(2);
      const auto use = [&run](bool by_state) {
        if (by_state) {
          static_cast<void>(run.state());
        } else {
          run.evaluate();
        }
      };
      use(state_first);
      run.means(0)[2] = 1000;  // so that another average would be seen
      const auto before = run.all();
      use(!state_first);
      use(false);
      use(true);
      EXPECT_EQ(run.all(), before) << execution;
      run.train(1);
      EXPECT_NE(run.all()[0], run.all()[1]);
      use(state_first);
      EXPECT_EQ(run.all()[0], run.all()[1]) << execution;
      EXPECT_GT(run.all()[1][2], 400) << execution;
    }
  }
}

TEST(MirroredCpuStatisticsTest, WritingTheStateWritesToAllReplicas) {
  for (const char* execution : kExecutions) {
    MirroredStatistics run(3, execution);
    run.train(2);
    TensorStore& state = run.state();
    ASSERT_EQ(state.tensors().size(), 2u);
    EXPECT_EQ(state.tensors()[1].name, "means");
    const std::vector<float> written = {0.1f, -2.5f, 1e30f};
    state.write(1, written);
    EXPECT_THAT(run.all(), Each(written)) << execution;
    run.evaluate();
    EXPECT_THAT(run.all(), Each(written)) << execution << ": an average of them would overflow";
    EXPECT_EQ(run.evaluate().loss, 3 * static_cast<double>(0.1f));
  }
}

TEST(MirroredCpuTest, AStateThatIsWrittenToAnotherRunMakesItsReplicasTheSame) {
  TestHost host;
  for (const char* execution : kExecutions) {
    const auto strategy_of = [&](Models& models) {
      auto strategy =
          make_plugin<Strategy>("mirrored_cpu", {{"replicas", 3}, {"execution", execution}}, host);
      strategy->build(models, spec());
      return strategy;
    };
    Models trained_models("linear", host), fresh_models("linear", host);
    const auto trained = strategy_of(trained_models);
    const auto fresh = strategy_of(fresh_models);
    for (const Task& task : made_up_run(3, 6)) {
      trained->submit(task.views(), task.plan);
      static_cast<void>(trained->finish());
    }
    EXPECT_NE(look_into(*fresh_models.made[0]), look_into(*trained_models.made[0]));
    TensorStore& from = trained->state();
    TensorStore& to = fresh->state();
    for (std::size_t i = 0; i < from.tensors().size(); ++i) {
      std::vector<float> values(from.tensors()[i].size());
      from.read(i, values);
      to.write(i, values);
    }
    const auto expected = look_into(*trained_models.made[0]);
    for (Model* model : fresh_models.made) EXPECT_EQ(look_into(*model), expected) << execution;
  }
}

TEST(MirroredCpuTest, ItMayBeDestroyedInAnyState) {
  const std::vector<Task> run = made_up_run(4, 12);
  for (const char* execution : kExecutions) {
    TestHost host;
    const auto never_built =
        make_plugin<Strategy>("mirrored_cpu", {{"execution", execution}}, host);
    for (std::size_t steps = 0; steps <= run.size(); ++steps) {
      Models models("linear", host);
      const auto strategy =
          make_plugin<Strategy>("mirrored_cpu", {{"replicas", 4}, {"execution", execution}}, host);
      strategy->build(models, spec());
      for (std::size_t i = 0; i < steps; ++i) strategy->submit(run[i].views(), run[i].plan);
      if (steps % 3 == 2) static_cast<void>(strategy->finish());
    }
  }
}

}  // namespace
}  // namespace slackline
