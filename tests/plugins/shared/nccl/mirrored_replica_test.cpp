// A rank's replica with what keeps it in step, on a device that computes nothing and an NCCL that
// keeps count, in simulated time.

#include "nccl/mirrored_replica.h"

#include <slackline/error.h>
#include <slackline/simulated_clock.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_cuda.h"
#include "fake_nccl.h"

namespace slackline::nccl {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

/// Calls NCCL where its turn comes, and may never get done.
class Device final : public cuda::FakeRuntime {
 public:
  explicit Device(FakeNccl& nccl) : nccl_(nccl) {}
  void use_device(int) override { nccl_.use_device(); }
  bool is_done(cudaEvent_t event) override { return !hangs && FakeRuntime::is_done(event); }
  bool hangs = false;

 protected:
  std::function<void()> effect_of(const cuda::Work&, cudaStream_t stream,
                                  const std::function<void(cudaStream_t)>& call) override {
    return [call, stream] {
      if (call) call(stream);
    };
  }

 private:
  FakeNccl& nccl_;
};

/// Two gradients and a statistic, in the device's memory, and a graph.
class SmallModel final : public Model {
 public:
  SmallModel(Device& device, FakeNccl& nccl)
      : device_(device), nccl_(nccl), gradients_(device, 128), statistics_(device, 1) {}
  ~SmallModel() override { nccl_.calls.emplace_back("graphs destroyed"); }

  void build(const ModelSpec& spec) override {
    stream_ = static_cast<cudaStream_t>(spec.device.stream);
    device_.fill(gradients_.data(), 0, gradients_.bytes(), stream_);
    device_.fill(statistics_.data(), 0, statistics_.bytes(), stream_);
  }
  void forward_backward(const Batch&, std::int32_t, StepSums&) override {}
  std::span<float> gradients() override { return gradients_.span(); }
  std::span<float> statistics() override { return statistics_.span(); }
  void update(const UpdateRule&) override {}
  void train(const ReplicaStep& step, StepSums& sums) override {
    if (fails) throw DeviceError("model: no luck");
    nccl_.calls.emplace_back("train");
    step.exchange->begin(gradients().subspan(64));
    step.exchange->begin(gradients().first(64));
    step.exchange->finish();
    sums.samples = step.batch == nullptr ? 0 : step.batch->size;
  }
  void evaluate(const Batch& batch, StepSums& sums) override {
    nccl_.calls.emplace_back("evaluate");
    sums.samples = batch.size;
  }
  TensorStore& state() override { return no_tensors(); }

  bool fails = false;

 private:
  Device& device_;
  FakeNccl& nccl_;
  cudaStream_t stream_ = nullptr;
  cuda::DeviceBuffer<float> gradients_, statistics_;
};

class MirroredReplicaTest : public testing::Test, private ModelFactory {
 protected:
  MirroredReplicaTest() {
    replica_->build(*this, {});
    batch_.size = 8;
  }
  ~MirroredReplicaTest() override {
    replica_.reset();
    EXPECT_THAT(nccl_.misuse, IsEmpty());
    EXPECT_THAT(device_.violations(), IsEmpty());
  }
  std::unique_ptr<Model> make_model() override {
    auto made = std::make_unique<SmallModel>(device_, nccl_);
    model_ = made.get();
    return made;
  }
  void connect() {
    replica_->connect(
        nccl_, ranks_, {}, {.buckets = 2},
        [this] {
          if (!lost_.empty()) throw DeviceError(lost_);
        },
        clock_);
    nccl_.calls.clear();
  }
  void others_finish_with(const StepSums& first, const StepSums& last) {
    ranks_.others.clear();
    for (const StepSums& each : {first, last}) {
      const auto bytes = std::as_bytes(std::span(&each, 1));
      ranks_.others.emplace_back(bytes.begin(), bytes.end());
    }
  }
  StepSums step(StepKind kind) {
    replica_->submit(&batch_, {.kind = kind, .rule = {}, .samples = 24});
    return replica_->finish();
  }
  std::string finish() {
    try {
      return text(replica_->finish().samples, " samples");
    } catch (const DeviceError& error) {
      return error.what();
    }
  }

  SimulatedClock clock_{1};
  FakeNccl nccl_;
  Device device_{nccl_};
  FakeRanks ranks_{1, 3};
  SmallModel* model_ = nullptr;
  std::string lost_;
  Batch batch_;
  std::unique_ptr<MirroredReplica> replica_ = std::make_unique<MirroredReplica>(
      device_, 0, gpu::StepDeadline{.clock = clock_, .limit = 2s});
};

TEST_F(MirroredReplicaTest, GradientsAreSummedInBucketsAndTheStepsSumsAddedInTheRanksOrder) {
  connect();
  others_finish_with({.loss = 1e16, .samples = 8}, {.loss = -1e16, .samples = 5});
  const StepSums sums = step(StepKind::kTrain);
  EXPECT_THAT(nccl_.calls, ElementsAre("train", "sum of 64 from 0", "sum of 64 from 0"));
  EXPECT_EQ(sums.samples, 21);
  EXPECT_EQ(sums.loss, 0);
}

TEST_F(MirroredReplicaTest, StatisticsAreAveragedBeforeTheyAreUsedIfTheyMayDiffer) {
  connect();
  (void)step(StepKind::kEvaluate);
  (void)replica_->state();
  EXPECT_THAT(nccl_.calls, ElementsAre("evaluate"));
  (void)step(StepKind::kTrain);
  nccl_.calls.clear();
  (void)step(StepKind::kEvaluate);
  (void)step(StepKind::kEvaluate);
  (void)replica_->state();
  EXPECT_THAT(nccl_.calls, ElementsAre("mean of 1 from 0", "evaluate", "evaluate"));
  (void)step(StepKind::kTrain);
  nccl_.calls.clear();
  (void)replica_->state();
  EXPECT_THAT(nccl_.calls, ElementsAre("mean of 1 from 0"));
}

TEST_F(MirroredReplicaTest, StatisticsAreAveragedByARankWithoutABatch) {
  connect();
  (void)step(StepKind::kTrain);
  nccl_.calls.clear();
  replica_->submit(nullptr, {.kind = StepKind::kEvaluate, .rule = {}, .samples = 16});
  (void)replica_->finish();
  EXPECT_THAT(nccl_.calls, ElementsAre("mean of 1 from 0"));
}

TEST_F(MirroredReplicaTest, WhoCannotConnectTellsTheOthersWhy) {
  nccl_.settled = ncclSystemError;
  EXPECT_THROW(connect(), DeviceError);
  EXPECT_THAT(
      ranks_.aborts,
      ElementsAre("NCCL cannot connect rank 1 of 3: remote process exited (2): socket 7 was "
                  "closed"));
}

TEST_F(MirroredReplicaTest, ADeviceThatWaitsForALostRankDoesNotKeepThisOne) {
  connect();
  device_.hangs = true;
  nccl_.during_end = [this] { device_.hangs = false; };
  replica_->submit(&batch_, {.kind = StepKind::kTrain, .rule = {}, .samples = 24});
  lost_ = "training: rank 2 (node2) is lost";
  const Clock::Time before = clock_.now();
  EXPECT_EQ(finish(), lost_);
  EXPECT_LT(clock_.now() - before, 100ms);
  clock_.sleep(1s);
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(MirroredReplicaTest, AStepThatDoesNotEndIsToldToTheOthersAndNcclEndsIt) {
  connect();
  device_.hangs = true;
  nccl_.during_end = [this] { device_.hangs = false; };
  replica_->submit(&batch_, {.kind = StepKind::kTrain, .rule = {.step = 9}, .samples = 24});
  const std::string error = finish();
  EXPECT_THAT(error, testing::StartsWith("device 0: step 9 (of steps.jsonl, from 0) has not ended "
                                         "within 2 s ([strategy] step_deadline_s)"));
  EXPECT_THAT(ranks_.aborts, ElementsAre(error));
  EXPECT_EQ(nccl_.count("abort"), 1);
  EXPECT_FALSE(device_.is_abandoned());
}

TEST_F(MirroredReplicaTest, AStoreIsNotWaitedForWithoutAllRanks) {
  connect();
  device_.hangs = true;
  lost_ = "training: rank 2 (node2) is lost";
  EXPECT_THROW((void)replica_->state(), DeviceError);
}

TEST_F(MirroredReplicaTest, AStepThatFailsHereIsToldToTheOthersWithItsReason) {
  connect();
  model_->fails = true;
  replica_->submit(&batch_, {.kind = StepKind::kTrain, .rule = {}, .samples = 24});
  EXPECT_THAT(ranks_.aborts, ElementsAre("model: no luck"));
  EXPECT_EQ(finish(), "model: no luck");
  clock_.sleep(1s);
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(MirroredReplicaTest, GraphsAreDestroyedBeforeTheCommunicatorThatTheyHold) {
  connect();
  (void)step(StepKind::kTrain);
  nccl_.calls.clear();
  replica_.reset();
  EXPECT_THAT(nccl_.calls, ElementsAre("graphs destroyed", "finalize", "destroy"));
}

TEST_F(MirroredReplicaTest, WithoutConnectItIsAlone) {
  replica_->submit(&batch_, {.kind = StepKind::kEvaluate, .rule = {}});
  EXPECT_EQ(finish(), "8 samples");
  (void)replica_->state();
  EXPECT_THAT(nccl_.calls, ElementsAre("evaluate"));
}

}  // namespace
}  // namespace slackline::nccl
