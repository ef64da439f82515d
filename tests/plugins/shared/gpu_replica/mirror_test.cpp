// A replica that is one of several: what it does for the others, and what becomes of it without
// them.

#include <slackline/error.h>
#include <slackline/simulated_clock.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_cuda.h"
#include "gpu_replica/gpu_replica.h"

namespace slackline::gpu {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

/// A device that needs some questions to get done.
class SlowDevice final : public cuda::FakeRuntime {
 public:
  bool is_done(cudaEvent_t event) override {
    if (fails) throw DeviceError("an illegal memory access");
    if (questions_until_done-- > 0) return false;
    return FakeRuntime::is_done(event);
  }
  void synchronize(cudaEvent_t) override { ADD_FAILURE() << "a wait that nobody can end"; }
  void synchronize(cudaStream_t) override { ADD_FAILURE() << "a wait that nobody can end"; }

  bool fails = false;
  int questions_until_done = 0;
};

class OtherReplicas final : public Peers {
 public:
  explicit OtherReplicas(SimulatedClock& clock) : clock_(clock) {}
  void check() override {
    if (!lost.empty()) throw DeviceError(lost);
  }
  void pause() override {
    ++pauses;
    clock_.sleep(1ms);
    if (pauses == lost_at_pause) lost = "rank 1 (node7) is lost";
    check();
  }
  void await_loss() override {
    lost = lost_later;
    check();
  }
  void abort(const std::string& reason) noexcept override {
    aborts.push_back(reason);
    lost = "this rank has aborted";
    if (during_abort) during_abort();
  }

  std::string lost, lost_later;
  int pauses = 0;
  int lost_at_pause = -1;
  std::vector<std::string> aborts;
  std::function<void()> during_abort;

 private:
  SimulatedClock& clock_;
};

class NoExchange final : public GradientExchange {
 public:
  void begin(std::span<float>) override {}
  void finish() override {}
};

/// Writes down what it is asked for.
class NotingModel final : public Model {
 public:
  void build(const ModelSpec&) override {}
  void forward_backward(const Batch&, std::int32_t, StepSums&) override {}
  std::span<float> gradients() override { return {}; }
  std::span<float> statistics() override { return {}; }
  void update(const UpdateRule&) override {}
  void train(const ReplicaStep& step, StepSums& sums) override {
    if (fails) throw DeviceError("cannot launch");
    sums.samples = step.batch == nullptr ? 0 : step.batch->size;
    steps.push_back(text(sums.samples, " of ", step.global_batch_size, " at ", step.replicas,
                         step.exchange == nullptr ? ", alone" : ""));
  }
  void evaluate(const Batch& batch, StepSums& sums) override { sums.samples = batch.size; }
  TensorStore& state() override { return no_tensors(); }

  bool fails = false;
  std::vector<std::string> steps;
};

StepPlan of(std::int32_t samples, StepKind kind = StepKind::kTrain) {
  return {.kind = kind, .rule = {}, .samples = samples};
}

class MirrorTest : public testing::Test, private ModelFactory {
 protected:
  MirrorTest() {
    replica_->build(*this, {});
    replica_->join({.exchange = exchange_, .peers = others_, .replicas = 4});
    batch_.size = 8;
  }
  std::unique_ptr<Model> make_model() override {
    auto made = std::make_unique<NotingModel>();
    model_ = made.get();
    return made;
  }
  std::string finish() {
    try {
      return text(replica_->finish().samples, " samples");
    } catch (const DeviceError& error) {
      return error.what();
    }
  }

  SimulatedClock clock_{1};
  SlowDevice device_;
  OtherReplicas others_{clock_};
  NoExchange exchange_;
  NotingModel* model_ = nullptr;
  Batch batch_;
  std::unique_ptr<GpuReplica> replica_ =
      std::make_unique<GpuReplica>(device_, 0, StepDeadline{.clock = clock_, .limit = 300s});
};

TEST_F(MirrorTest, AStepIsOfAllReplicasAndOneWithoutABatchTakesPart) {
  replica_->submit(&batch_, of(32));
  replica_->submit(nullptr, of(24));
  replica_->submit(nullptr, of(24, StepKind::kEvaluate));
  EXPECT_EQ(finish(), "8 samples");
  EXPECT_EQ(finish(), "0 samples");
  EXPECT_EQ(finish(), "0 samples");
  EXPECT_THAT(model_->steps, ElementsAre("8 of 32 at 4", "0 of 24 at 4"));
  EXPECT_THAT(device_.violations(), IsEmpty());
}

TEST_F(MirrorTest, TheWaitForTheDeviceIsOneThatALossCanEnd) {
  replica_->submit(&batch_, of(32));
  device_.questions_until_done = 3;
  EXPECT_EQ(finish(), "8 samples");
  EXPECT_EQ(others_.pauses, 3);
  replica_->submit(&batch_, of(32));
  device_.questions_until_done = 1'000'000;
  others_.lost_at_pause = 5;
  EXPECT_EQ(finish(), "rank 1 (node7) is lost");
}

TEST_F(MirrorTest, ADeviceThatFailsBecauseOfALossIsToldAsTheLoss) {
  replica_->submit(&batch_, of(32));
  device_.fails = true;
  others_.lost_later = "rank 1 (node7) is lost";
  EXPECT_EQ(finish(), "rank 1 (node7) is lost");
}

TEST_F(MirrorTest, ADeviceThatFailsWithoutALossIsToldAsItself) {
  replica_->submit(&batch_, of(32));
  device_.fails = true;
  EXPECT_EQ(finish(), "an illegal memory access");
}

TEST_F(MirrorTest, AStepThatIsDoneBecauseOfALossDoesNotCount) {
  replica_->submit(&batch_, of(32));
  others_.lost = "rank 2 (node8) is lost";
  EXPECT_EQ(finish(), "rank 2 (node8) is lost");
}

TEST_F(MirrorTest, BehindALossNothingIsLaunched) {
  others_.lost = "rank 2 (node8) is lost";
  replica_->submit(&batch_, of(32));
  EXPECT_EQ(finish(), "rank 2 (node8) is lost");
  EXPECT_THAT(model_->steps, IsEmpty());
}

TEST_F(MirrorTest, MemoryStaysUntilTheDeviceIsDoneWithAStepThatWasGivenUp) {
  replica_->submit(&batch_, of(32));
  others_.lost = "rank 1 (node7) is lost";
  EXPECT_EQ(finish(), others_.lost);
  device_.questions_until_done = 3;
  replica_.reset();
  EXPECT_EQ(device_.questions_until_done, -1) << "it was asked until it was";
  EXPECT_FALSE(device_.is_abandoned());
}

TEST_F(MirrorTest, AStepThatDoesNotEndIsToldToTheOthersWithItsReason) {
  replica_->submit(&batch_, of(32));
  device_.questions_until_done = 1'000'000'000;
  const std::string error = finish();
  EXPECT_THAT(error, StartsWith("device 0: step 0 (of steps.jsonl, from 0) has not ended within "
                                "300 s"));
  EXPECT_THAT(error, HasSubstr("or NCCL waits for another rank"));
  EXPECT_THAT(others_.aborts, ElementsAre(error));
  EXPECT_EQ(finish(), error);
  EXPECT_TRUE(device_.is_abandoned()) << "that did not help";
  const Clock::Time then = clock_.now();
  replica_.reset();
  EXPECT_EQ(clock_.now(), then);
}

TEST_F(MirrorTest, ADeviceWhichTheAbortSetsFreeIsLeftAsUsual) {
  replica_->submit(&batch_, of(32));
  device_.questions_until_done = 1'000'000'000;
  others_.during_abort = [this] { device_.questions_until_done = 5; };
  EXPECT_THAT(finish(), HasSubstr("has not ended within 300 s"));
  EXPECT_FALSE(device_.is_abandoned());
  replica_.reset();
  EXPECT_EQ(device_.allocated_bytes(), 0u);
}

TEST_F(MirrorTest, ADeviceWhichTheAbortMakesFailDoesNotHideTheReason) {
  replica_->submit(&batch_, of(32));
  device_.questions_until_done = 1'000'000'000;
  others_.during_abort = [this] { device_.fails = true; };
  EXPECT_THAT(finish(), HasSubstr("has not ended within 300 s"));
  EXPECT_FALSE(device_.is_abandoned());
}

TEST_F(MirrorTest, AFailureIsToldToTheOthersAtOnceAndEndsAllStepsHere) {
  replica_->submit(&batch_, of(32));
  model_->fails = true;
  replica_->submit(&batch_, of(32));
  EXPECT_THAT(others_.aborts, ElementsAre("cannot launch"));
  // Those before wait for others that will not come.
  EXPECT_EQ(finish(), "cannot launch");
  EXPECT_EQ(finish(), "cannot launch");
}

TEST_F(MirrorTest, WhatWasEnqueuedIsWaitedForInTheSameWay) {
  device_.questions_until_done = 2;
  replica_->wait();
  EXPECT_EQ(others_.pauses, 2);
  device_.questions_until_done = 1'000'000;
  others_.lost_at_pause = 4;
  EXPECT_THROW(replica_->wait(), DeviceError);
}

}  // namespace
}  // namespace slackline::gpu
