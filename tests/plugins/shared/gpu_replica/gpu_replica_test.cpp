// A replica and its uploads on a device that computes nothing, but judges the order of all work.

#include "gpu_replica/gpu_replica.h"

#include <slackline/error.h>
#include <slackline/live_span.h>
#include <slackline/simulated_clock.h>

#include <array>
#include <chrono>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_cuda.h"
#include "gpu_replica/upload_stream.h"
#include "nvtx_recorder.h"
#include "test_host.h"

namespace slackline::gpu {
namespace {

using namespace std::chrono_literals;
using slackline::testing_support::TestHost;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr ImageShape kShape{.height = 4, .width = 4, .channels = 3};
constexpr std::int32_t kBatch = 8;

/// A device that needs some questions to get done, each of which may take long.
class SlowDevice final : public cuda::FakeRuntime {
 public:
  explicit SlowDevice(SimulatedClock& clock) : clock_(clock) {}
  bool is_done(cudaEvent_t event) override {
    if (questions_until_done == 0) return FakeRuntime::is_done(event);
    if (questions_until_done != kHangs) --questions_until_done;
    clock_.sleep(time_of_question);
    return false;
  }
  void synchronize(cudaEvent_t event) override {
    ++unlimited_waits;
    FakeRuntime::synchronize(event);
  }
  void synchronize(cudaStream_t stream) override {
    ++unlimited_waits;
    FakeRuntime::synchronize(stream);
  }

  static constexpr int kHangs = std::numeric_limits<int>::max();
  int questions_until_done = 0;
  std::chrono::seconds time_of_question{1};
  int unlimited_waits = 0;

 private:
  SimulatedClock& clock_;
};

/// Batches in memory that is used in turns, as a reader's is.
class HostBatches final : public BatchStream {
 public:
  HostBatches(cuda::FakeRuntime& cuda, int slots) : cuda_(cuda) {
    for (int i = 0; i < slots; ++i) {
      slots_.push_back({std::vector<std::uint8_t>(kBatch * kShape.size()),
                        std::vector<std::int32_t>(kBatch),
                        {},
                        false});
    }
  }

  const Batch* next() override {
    for (Slot& slot : slots_) {
      if (slot.is_lent) continue;
      const std::int32_t size = next_size;
      slot.is_lent = true;
      cuda_.host_access({slot.pixels.data(), slot.pixels.size()}, true);
      std::ranges::fill(slot.pixels, static_cast<std::uint8_t>(made_));
      std::ranges::fill(slot.labels, label);
      slot.batch.shape = kShape;
      slot.batch.size = size;
      slot.batch.index = made_++;
      slot.batch.images =
          std::span(slot.pixels).first(static_cast<std::size_t>(size) * kShape.size());
      slot.batch.labels = std::span(slot.labels).first(static_cast<std::size_t>(size));
      return &slot.batch;
    }
    throw DataError("all lent");
  }
  void give_back(const Batch* batch) noexcept override {
    for (Slot& slot : slots_) {
      if (&slot.batch == batch) slot.is_lent = false;
    }
  }
  void cancel() noexcept override { is_cancelled = true; }

  std::int32_t next_size = kBatch;
  std::int32_t label = 0;
  bool is_cancelled = false;

 private:
  struct Slot {
    std::vector<std::uint8_t> pixels;
    std::vector<std::int32_t> labels;
    Batch batch;
    bool is_lent;
  };
  cuda::FakeRuntime& cuda_;
  std::deque<Slot> slots_;
  std::uint64_t made_ = 0;
};

/// Reads the batch on the device, and answers with its first pixel as the loss.
class PixelModel final : public Model {
 public:
  PixelModel(cuda::FakeRuntime& cuda, int& destroyed)
      : cuda_(cuda), destroyed_(destroyed), sums_(cuda, 1) {}
  ~PixelModel() override { ++destroyed_; }

  void build(const ModelSpec& spec) override { spec_ = spec; }
  void forward_backward(const Batch& batch, std::int32_t, StepSums& sums) override {
    if (fails) throw DeviceError("model: no luck");
    auto* const stream = static_cast<cudaStream_t>(spec_.device.stream);
    const std::array reads{cuda::MemoryRange{batch.images.data(), batch.images.size_bytes()},
                           cuda::MemoryRange{batch.labels.data(), batch.labels.size_bytes()}};
    const std::array writes{sums_.range()};
    cuda_.enqueue({"step", reads, writes}, stream, {});
    *sums_.data() = {.loss = static_cast<double>(batch.images[0]), .samples = batch.size};
    cuda_.copy(&sums, sums_.data(), sizeof(sums), stream);
  }
  std::span<float> gradients() override { return {}; }
  std::span<float> statistics() override { return {}; }
  void update(const UpdateRule& rule) override { rate = rule.learning_rate; }
  void evaluate(const Batch& batch, StepSums& sums) override { forward_backward(batch, 1, sums); }
  TensorStore& state() override { return no_tensors(); }

  bool fails = false;
  float rate = 0;
  [[nodiscard]] const ModelSpec& spec() const { return spec_; }

 private:
  cuda::FakeRuntime& cuda_;
  int& destroyed_;
  cuda::DeviceBuffer<StepSums> sums_;
  ModelSpec spec_;
};

class GpuReplicaTest : public testing::Test, private ModelFactory {
 protected:
  GpuReplicaTest() { make(300s); }

  void make(std::chrono::seconds limit) {
    upload_.reset();
    replica_.reset();
    const StepDeadline deadline{.clock = clock_, .limit = limit};
    replica_.emplace(cuda_, 3, deadline);
    ModelSpec spec;
    spec.image = kShape;
    spec.max_batch_size = kBatch;
    spec.num_classes = 10;
    replica_->build(*this, spec);
    upload_.emplace(host_batches_, replica_->spec(), cuda_, host_.track("device 3 upload"),
                    deadline);
  }

  std::unique_ptr<Model> make_model() override {
    auto made = std::make_unique<PixelModel>(cuda_, destroyed_models_);
    model_ = made.get();
    return made;
  }

  const Batch* submit(StepKind kind = StepKind::kTrain) {
    const Batch* const batch = upload_->next();
    replica_->submit(batch, {.kind = kind, .rule = {.learning_rate = 0.5f}});
    return batch;
  }
  void submit_step(std::uint64_t number) {
    replica_->submit(upload_->next(), {.rule = {.learning_rate = 0.5f, .step = number}});
  }
  std::string error_of_finish() {
    try {
      (void)replica_->finish();
      return "nothing was thrown";
    } catch (const DeviceError& error) {
      return error.what();
    }
  }
  [[nodiscard]] std::chrono::nanoseconds now() const { return clock_.now().time_since_epoch(); }
  StepSums finish(const Batch* batch) {
    const StepSums sums = replica_->finish();
    upload_->give_back(batch);
    return sums;
  }

  SimulatedClock clock_{1};
  SlowDevice cuda_{clock_};
  TestHost host_{clock_};
  int destroyed_models_ = 0;
  PixelModel* model_ = nullptr;
  HostBatches host_batches_{cuda_, 3};
  std::optional<GpuReplica> replica_;
  std::optional<UploadStream> upload_;
};

TEST_F(GpuReplicaTest, StepsOnTheirWayKeepTheirBatchesAndSums) {
  // The first steps allocate what all others use again.
  std::deque<const Batch*> in_flight;
  for (int i = 0; i < 2; ++i) in_flight.push_back(submit());
  for (int i = 2; i < 40; ++i) {
    EXPECT_EQ(finish(in_flight.front()).loss, i - 2);
    in_flight.pop_front();
    in_flight.push_back(upload_->next());
    cuda_.begin_step();
    replica_->submit(in_flight.back(), {.rule = {.learning_rate = 0.5f}});
    cuda_.end_step();
  }
  EXPECT_EQ(finish(in_flight[0]).loss, 38);
  EXPECT_EQ(finish(in_flight[1]).loss, 39);
  EXPECT_THAT(cuda_.violations(), IsEmpty());
  EXPECT_EQ(model_->rate, 0.5f);
}

TEST_F(GpuReplicaTest, TheModelIsToldItsDevice) {
  EXPECT_EQ(model_->spec().device.kind, DeviceKind::kCuda);
  EXPECT_EQ(model_->spec().device.index, 3);
  EXPECT_NE(model_->spec().device.stream, nullptr);
}

TEST_F(GpuReplicaTest, ABatchIsOnTheDeviceWhenItComesAndTheHostsHasGoneBack) {
  for (int i = 0; i < 10; ++i) {  // more than the host has
    const Batch* const batch = upload_->next();
    EXPECT_EQ(batch->images[5], i);
    EXPECT_EQ(batch->index, static_cast<std::uint64_t>(i));
    EXPECT_EQ(batch->images.size(), kBatch * kShape.size());
    EXPECT_NE(batch->ready, nullptr);
    upload_->give_back(batch);
  }
  EXPECT_EQ(host_.tracks.at("device 3 upload").spans.size(), 10u);
  EXPECT_EQ(cuda_.pinned(), 1u);  // the host's first memory was always free
  upload_.reset();
  EXPECT_EQ(cuda_.pinned(), 0u);
  EXPECT_THAT(cuda_.violations(), IsEmpty());
}

TEST_F(GpuReplicaTest, ARestTrainsAndNoBatchIsNoStep) {
  host_batches_.next_size = 3;
  EXPECT_EQ(finish(submit()).samples, 3);
  replica_->submit(nullptr, {});
  EXPECT_EQ(replica_->finish().samples, 0);
  EXPECT_THAT(cuda_.violations(), IsEmpty());
}

TEST_F(GpuReplicaTest, ALabelOutsideTheClassesIsFoundBeforeItsCopy) {
  host_batches_.label = 10;
  try {
    (void)upload_->next();
    FAIL() << "nothing was thrown";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("label 10 is not in 0..9"));
  }
  host_batches_.label = 9;
  EXPECT_EQ(finish(submit()).samples, kBatch);  // the refused batch went back
}

TEST_F(GpuReplicaTest, WhatAStepThrowsComesWithItsFinish) {
  const Batch* const good = submit();
  model_->fails = true;
  const Batch* const bad = submit();
  model_->fails = false;
  const Batch* const behind = submit();
  EXPECT_EQ(finish(good).loss, 0);
  EXPECT_THROW((void)replica_->finish(), DeviceError);
  upload_->give_back(bad);
  EXPECT_EQ(finish(behind).loss, 2);
}

TEST_F(GpuReplicaTest, EvaluationUpdatesNothing) {
  (void)finish(submit(StepKind::kEvaluate));
  EXPECT_EQ(model_->rate, 0);
  (void)finish(submit());
  EXPECT_EQ(model_->rate, 0.5f);
}

TEST_F(GpuReplicaTest, ProfilersSeeStepsUploadsAndTheSpansOfTheHost) {
  if (!testing_support::NvtxRecorder::is_supported()) GTEST_SKIP() << "an older NVTX";
  const testing_support::NvtxRecorder recorder;
  (void)finish(submit());
  (void)finish(submit(StepKind::kEvaluate));
  { const LiveSpan span("read"); }
  EXPECT_EQ(recorder.said(), "(upload )(train )(upload )(evaluate )(read )");
}

TEST_F(GpuReplicaTest, AStepThatDoesNotEndIsNamedAndNothingIsWaitedForBehindIt) {
  submit_step(41);
  submit_step(42);
  cuda_.questions_until_done = SlowDevice::kHangs;
  const std::string error = error_of_finish();
  EXPECT_THAT(error, StartsWith("device 3: step 41 (of steps.jsonl, from 0) has not ended within "
                                "300 s ([strategy] step_deadline_s), because the GPU hangs"));
  EXPECT_GE(now(), 300s);
  EXPECT_LT(now(), 303s);
  const auto then = now();
  EXPECT_EQ(error_of_finish(), error) << "of the other step, too";
  const std::size_t allocated = cuda_.allocated_bytes(), pinned = cuda_.pinned();
  upload_.reset();
  replica_.reset();
  EXPECT_EQ(now(), then);
  EXPECT_EQ(cuda_.allocated_bytes(), allocated) << "the device may still use it";
  EXPECT_EQ(cuda_.pinned(), pinned);
  EXPECT_EQ(destroyed_models_, 0) << "its plugin has a runtime of its own, and cuDNN's handle";
  EXPECT_EQ(cuda_.unlimited_waits, 0);
}

TEST_F(GpuReplicaTest, AStepMayTakeAsLongAsTheDeadlineSays) {
  for (int i = 0; i < 3; ++i) submit_step(0);
  for (int i = 0; i < 3; ++i) {
    cuda_.questions_until_done = 290;
    EXPECT_EQ(error_of_finish(), "nothing was thrown") << "each step has the time for itself";
  }
}

TEST_F(GpuReplicaTest, AProcessThatWasStoppedAsksOnceMore) {
  submit_step(0);
  cuda_.questions_until_done = 1;
  cuda_.time_of_question = 1h;
  EXPECT_EQ(error_of_finish(), "nothing was thrown");
}

TEST_F(GpuReplicaTest, WithoutADeadlineTheDeviceIsWaitedForAsLongAsItTakes) {
  make(0s);
  submit_step(0);
  cuda_.questions_until_done = SlowDevice::kHangs;
  cuda_.unlimited_waits = 0;
  EXPECT_EQ(error_of_finish(), "nothing was thrown");
  EXPECT_EQ(cuda_.unlimited_waits, 1);
}

TEST_F(GpuReplicaTest, AnEvaluationThatDoesNotEndIsCalledSo) {
  (void)submit(StepKind::kEvaluate);
  cuda_.questions_until_done = SlowDevice::kHangs;
  EXPECT_THAT(error_of_finish(), StartsWith("device 3: a step of an evaluation has not ended"));
}

TEST_F(GpuReplicaTest, StepsThatNobodyFinishesAreWaitedForWithinTheDeadline) {
  submit_step(0);
  cuda_.questions_until_done = SlowDevice::kHangs;
  replica_.reset();
  EXPECT_GE(now(), 300s);
  EXPECT_LT(now(), 303s);
  EXPECT_TRUE(cuda_.is_abandoned());
}

TEST_F(GpuReplicaTest, AnUploadThatDoesNotEndIsNamedAndEndsTheStepsToo) {
  submit_step(0);
  cuda_.questions_until_done = SlowDevice::kHangs;
  try {
    (void)upload_->next();
    FAIL() << "nothing was thrown";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), StartsWith("device 3: the upload of batch 1 has not ended within"));
    EXPECT_EQ(error_of_finish(), error.what());
  }
  EXPECT_LT(now(), 310s);
}

TEST_F(GpuReplicaTest, AnUploadEndsWithTheDevice) {
  submit_step(0);
  cuda_.questions_until_done = SlowDevice::kHangs;
  const std::string error = error_of_finish();
  const auto then = now();
  EXPECT_THROW((void)upload_->next(), DeviceError);
  EXPECT_LT(now(), then + 3s);
}

TEST_F(GpuReplicaTest, CancelReachesTheHost) {
  upload_->cancel();
  EXPECT_TRUE(host_batches_.is_cancelled);
}

}  // namespace
}  // namespace slackline::gpu
