// The strategy within one process: which of the run's it is, and what it does alone.

#include <slackline/error.h>
#include <slackline/strategy.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "made_up_run.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing_support::batch_of;
using testing_support::describe;
using testing_support::made_up_spec;
using testing_support::make_plugin;
using testing_support::OptionArguments;
using testing_support::plan_of;
using testing_support::TestHost;

/// Makes the linear model, and remembers what it is told of it.
class Models final : public ModelFactory {
 public:
  std::unique_ptr<Model> make_model() override {
    /// The linear model, which tells what it was built with.
    class Watched final : public Model {
     public:
      Watched(std::unique_ptr<Model> model, ModelSpec& seen)
          : model_(std::move(model)), seen_(seen) {}
      void build(const ModelSpec& spec) override { model_->build(seen_ = spec); }
      void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                            StepSums& sums) override {
        model_->forward_backward(batch, global_batch_size, sums);
      }
      std::span<float> gradients() override { return model_->gradients(); }
      std::span<float> statistics() override { return model_->statistics(); }
      void update(const UpdateRule& rule) override { model_->update(rule); }
      void evaluate(const Batch& batch, StepSums& sums) override { model_->evaluate(batch, sums); }
      TensorStore& state() override { return model_->state(); }

     private:
      std::unique_ptr<Model> model_;
      ModelSpec& seen_;
    };
    return std::make_unique<Watched>(make_plugin<Model>("linear", {}, host_), built);
  }
  ModelSpec built;

 private:
  TestHost host_;
};

class MultiWorkerTest : public testing::Test {
 protected:
  ~MultiWorkerTest() override {
    for (const auto& [name, value] : variables_) ::unsetenv(name.c_str());
  }
  void launched_as(const std::string& rank, const std::string& size) {
    set("SLACKLINE_RANK", rank);
    set("SLACKLINE_SIZE", size);
    set("SLACKLINE_RENDEZVOUS", "file:/nowhere");
  }
  void set(const std::string& name, const std::string& value) {
    variables_[name] = value;
    ::setenv(name.c_str(), value.c_str(), 1);
  }

  std::unique_ptr<Strategy> make(const OptionArguments& options = {}) {
    return make_plugin<Strategy>("multi_worker", options, host_);
  }
  std::string place(const OptionArguments& options = {}) {
    try {
      const RankPlan plan = make(options)->ranks();
      return text(plan.rank, " of ", plan.size, plan.is_launched ? "" : ", not launched");
    } catch (const ConfigError& error) {
      return error.what();
    }
  }
  /// The sums of the made-up run's first steps as one rank of one trains them, and what that gives.
  std::string train(Strategy& strategy) {
    std::string all;
    for (std::size_t step = 0; step < 10; ++step) {
      const auto batch = batch_of(step, 0);
      const Batch* const view = &**batch;
      strategy.submit(std::span(&view, 1),
                      {.kind = plan_of(step, 1).kind, .rule = plan_of(step, 1).rule});
      all += describe(strategy.finish());
    }
    return all + describe(strategy.state());
  }
  std::string of_one_device() {
    Models models;
    const auto strategy = make_plugin<Strategy>("one_device", {}, host_);
    strategy->build(models, made_up_spec());
    return train(*strategy);
  }

  TestHost host_;
  Models models_;
  std::map<std::string, std::string> variables_;
};

TEST_F(MultiWorkerTest, WithoutALauncherItIsAsManyAsItsProcessesSay) {
  EXPECT_EQ(place(), "0 of 1");
  EXPECT_EQ(place({{"processes", 1}}), "0 of 1");
  EXPECT_EQ(place({{"processes", 3}}), "0 of 3, not launched");
}

TEST_F(MultiWorkerTest, WithALauncherItIsWhatThatSays) {
  launched_as("2", "3");
  EXPECT_EQ(place(), "2 of 3");
  EXPECT_EQ(place({{"processes", 3}}), "2 of 3");
}

TEST_F(MultiWorkerTest, AnotherNumberThanTheLaunchersIsRefused) {
  launched_as("2", "3");
  EXPECT_EQ(
      place({{"processes", 4}}),
      "strategy multi_worker: processes is 4, but the launcher started 3 processes; make them "
      "the same, or processes 0, which is as many as there are");
}

TEST_F(MultiWorkerTest, ALauncherThatStartedOneIsOneToo) {
  launched_as("0", "1");
  EXPECT_EQ(place(), "0 of 1");
  EXPECT_EQ(
      place({{"processes", 2}}),
      "strategy multi_worker: processes is 2, but the launcher started 1 process; make them the "
      "same, or processes 0, which is as many as there are");
}

TEST_F(MultiWorkerTest, ALauncherThatMakesNoSenseIsRefused) {
  launched_as("3", "3");
  EXPECT_EQ(place(), "environment variable SLACKLINE_RANK is '3'; it must be a number in 0..2");
}

TEST_F(MultiWorkerTest, APlaceToMeetThatMakesNoSenseIsRefusedBeforeAnybodyGoesThere) {
  launched_as("0", "3");
  set("SLACKLINE_RENDEZVOUS", "node7:7000");
  EXPECT_EQ(place(), "rendezvous 'node7:7000' must be tcp://host:port, file:/path or local:/path");
}

TEST_F(MultiWorkerTest, AloneItIsOneDevice) {
  const auto strategy = make();
  strategy->build(models_, made_up_spec());
  EXPECT_EQ(strategy->connect("digest"), nullptr);
  EXPECT_EQ(train(*strategy), of_one_device());
}

TEST_F(MultiWorkerTest, WithoutTheOthersItIsOneDevice) {
  launched_as("1", "3");
  const auto strategy = make();
  strategy->build(models_, made_up_spec());
  EXPECT_EQ(train(*strategy), of_one_device());
}

TEST_F(MultiWorkerTest, AProcessThatIsNoRankCanBeBuiltAndTrainedButNotConnected) {
  const auto strategy = make({{"processes", 3}});
  strategy->build(models_, made_up_spec());
  EXPECT_EQ(train(*strategy), of_one_device());
  try {
    [[maybe_unused]] const Ranks* const ranks = strategy->connect("digest");
    FAIL() << "it is connected";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "strategy multi_worker: this process is none of the 3; `slackline run`, mpirun or "
                 "srun must start them");
  }
}

TEST_F(MultiWorkerTest, AStepWithoutAnySampleChangesNothing) {
  const auto strategy = make();
  strategy->build(models_, made_up_spec());
  const std::string before = train(*strategy);
  const std::string state = describe(strategy->state());
  const Batch* const none = nullptr;
  strategy->submit(std::span(&none, 1), {.rule = {.learning_rate = 1}});
  EXPECT_EQ(strategy->finish().samples, 0);
  EXPECT_EQ(describe(strategy->state()), state);
}

TEST_F(MultiWorkerTest, ALaunchedProcessComputesOnTheCpusThatItHas) {
  launched_as("1", "3");
  ModelSpec spec = made_up_spec();
  spec.cpu_threads = 7;
  const auto strategy = make();
  strategy->build(models_, spec);
  EXPECT_EQ(models_.built.cpu_threads, 7);
  EXPECT_EQ(models_.built.device.index, 1);
  EXPECT_EQ(models_.built.device.kind, DeviceKind::kCpu);
}

TEST_F(MultiWorkerTest, AProcessThatIsNoRankHasTheShareOfOne) {
  ModelSpec spec = made_up_spec();
  spec.cpu_threads = 7;
  make({{"processes", 3}})->build(models_, spec);
  EXPECT_EQ(models_.built.cpu_threads, 2);
  make({{"processes", 8}})->build(models_, spec);
  EXPECT_EQ(models_.built.cpu_threads, 1);
}

TEST_F(MultiWorkerTest, ThereIsOneDeviceThatReadsTheHostsMemory) {
  launched_as("1", "3");
  const auto strategy = make();
  EXPECT_EQ(strategy->device_count(), 1);
  EXPECT_EQ(strategy->launch_threads_per_device(), 0);
}

}  // namespace
}  // namespace slackline
