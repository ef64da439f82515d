// Steps of a replica that shares its gradients, on a device that computes nothing, but judges the
// order of all work. Plans are cuDNN's own, made from the properties of an H100.

#include <slackline/collective.h>
#include <slackline/error.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../cudnn/absent_gpus.h"
#include "../net/all_resnets.h"
#include "fake_cuda.h"
#include "gpu_replica/bucket_exchange.h"
#include "net/resnet.h"
#include "net_cuda/trainer.h"

namespace slackline::net::cuda {
namespace {

using gpu::BucketExchange;
using gpu::ExchangePlan;
using slackline::cuda::PinnedBuffer;
using slackline::cuda::Stream;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

/// Forgets a wait, or fails, if a test wants it to.
class Device final : public slackline::cuda::FakeRuntime {
 public:
  void wait(cudaStream_t stream, cudaEvent_t event) override {
    if (waits++ != forgotten_wait) FakeRuntime::wait(stream, event);
  }
  void enqueue(const slackline::cuda::Work& work, cudaStream_t stream,
               const std::function<void(cudaStream_t)>& call) override {
    if (work.name == failing) throw DeviceError("cannot enqueue it");
    FakeRuntime::enqueue(work, stream, call);
  }

  int waits = 0;
  int forgotten_wait = -1;
  std::string failing;  ///< work that cannot be enqueued
};

class TwoRanks final : public Collective {
 public:
  [[nodiscard]] std::int32_t rank() const override { return 0; }
  [[nodiscard]] std::int32_t size() const override { return 2; }
  void all_reduce_sum(std::span<float>, void*) override {}
  void abort() noexcept override {}
};

struct Case {
  Precision precision = Precision::kFloat16;
  Launch launch = Launch::kGraph;
  ExchangePlan plan = {};
};

constexpr std::int32_t kBatch = 16;

/// One of two replicas of CIFAR's network.
class Replica {
 public:
  explicit Replica(const Case& with = {})
      : target_(cudnn::testing_support::absent("h100")),
        executor_(
            build_resnet(
                {.depth = 20, .batch_size = kBatch, .height = 32, .width = 32, .classes = 10}),
            {.precision = with.precision,
             .optimizer = {.weight_decay = 1e-4f, .momentum = 0.9f},
             .loss_scale = 128,
             .policy = cudnn::testing_support::precompiled()},
            target_, cuda, stream_.get()),
        trainer_(executor_, with.launch, cuda, stream_.get()),
        exchange_(cuda, stream_.get(), collective_, executor_.gradients().size(), with.plan),
        images_(cuda, std::size_t{kBatch} * 32 * 32 * 3),
        labels_(cuda, kBatch),
        sums_(cuda, 1) {
    cuda.fill(images_.data(), 0, images_.bytes(), stream_.get());
    cuda.fill(labels_.data(), 0, labels_.bytes(), stream_.get());
    cuda.synchronize(stream_.get());
    cuda.clear();
  }

  void train(std::int32_t size, std::int32_t global_batch_size) {
    cuda.forget(executor_.layout().arena_bytes);
    const DeviceBatch batch{images_.data(), labels_.data(), size};
    trainer_.train(size == 0 ? DeviceBatch{} : batch, global_batch_size, {.learning_rate = 0.1f},
                   *sums_.data(), exchange_, 2);
  }
  void evaluate(std::int32_t size) {
    cuda.forget(executor_.layout().arena_bytes);
    trainer_.evaluate({images_.data(), labels_.data(), size}, *sums_.data());
  }
  Executor& executor() { return executor_; }
  StepSums& sums() { return *sums_.data(); }

  /// Where a name stands in the device's work; its first or last place.
  std::ptrdiff_t first(const std::string& name) {
    return std::ranges::find(cuda.work(), name) - cuda.work().begin();
  }
  std::ptrdiff_t last(const std::string& name) {
    const std::vector<std::string>& work = cuda.work();
    return std::find(work.rbegin(), work.rend(), name).base() - work.begin() - 1;
  }
  std::ptrdiff_t count(const std::string& name) { return std::ranges::count(cuda.work(), name); }

  Device cuda;

 private:
  const Stream stream_ = slackline::cuda::make_stream(cuda);
  const cudnn::Target target_;
  TwoRanks collective_;
  Executor executor_;
  Trainer trainer_;
  BucketExchange exchange_;
  DeviceBuffer<std::uint8_t> images_;
  DeviceBuffer<std::int32_t> labels_;
  PinnedBuffer<StepSums> sums_;
};

class ExchangeTest : public testing::TestWithParam<Case> {};

TEST_P(ExchangeTest, StepsOfEveryKindAreInOrderAndNeitherWaitNorAllocate) {
  Replica replica(GetParam());
  for (int round = 0; round < 4; ++round) {
    // The first round makes what a batch size needs, the second its graph.
    if (round > 0) replica.cuda.begin_step();
    replica.train(16, 32);
    replica.train(7, 23);
    replica.train(0, 16);
    replica.evaluate(16);
    replica.cuda.end_step();
  }
  EXPECT_THAT(replica.cuda.violations(), IsEmpty());
}

/// That the test above could fail.
TEST(ExchangeOrderTest, EveryWaitIsNeeded) {
  constexpr int kWaits = 4;  // of three buckets, and of the update
  for (const Launch launch : {Launch::kStream, Launch::kGraph}) {
    for (int i = 0; i < kWaits; ++i) {
      Replica replica({.launch = launch});
      // The first step is a stream's, the second a capture; then nobody asks for a wait any more.
      replica.cuda.forgotten_wait = kWaits + i;
      replica.train(16, 32);
      EXPECT_THAT(replica.cuda.violations(), IsEmpty());
      for (int step = 0; step < 2; ++step) replica.train(16, 32);
      EXPECT_EQ(replica.cuda.waits, launch == Launch::kStream ? 3 * kWaits : 2 * kWaits);
      EXPECT_THAT(replica.cuda.violations(), Not(IsEmpty())) << "wait " << i;
    }
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const Launch launch : {Launch::kStream, Launch::kGraph}) {
    for (const ExchangePlan& plan :
         {ExchangePlan{.buckets = 1}, ExchangePlan{.buckets = 3}, ExchangePlan{.buckets = 64},
          ExchangePlan{.buckets = 3, .num_packs = 4}}) {
      all.push_back({.launch = launch, .plan = plan});
    }
    all.push_back({.precision = Precision::kFloat32, .launch = launch});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, ExchangeTest, testing::ValuesIn(all_cases()), [](const auto& test) {
  const Case& of = test.param;
  return text(of.precision == Precision::kFloat32 ? "fp32_" : "fp16_", of.plan.buckets, "_buckets_",
              of.plan.num_packs, "_packs", of.launch == Launch::kStream ? "_stream" : "_graph");
});

TEST(ExchangeOrderTest, SumsBeginWhileTheBackwardPassGoesOn) {
  Replica replica({.launch = Launch::kStream, .plan = {.buckets = 64}});
  replica.train(16, 32);
  // Head, three stages, stem: each as soon as it is there; the head is so small that it shares a
  // bucket.
  EXPECT_EQ(replica.count("gather gradients"), 5);
  EXPECT_EQ(replica.count("all-reduce"), 4);
  EXPECT_GT(replica.first("all-reduce"), replica.last("conv weight grad layer3.0.conv1"));
  EXPECT_LT(replica.first("all-reduce"), replica.first("conv weight grad layer2.2.conv2"));
  EXPECT_LT(replica.last("all-reduce"), replica.first("update"));
  EXPECT_GT(replica.last("all-reduce"), replica.last("conv weight grad conv1"));
}

TEST(ExchangeOrderTest, OneBucketIsSummedBehindTheBackwardPass) {
  Replica replica({.launch = Launch::kStream, .plan = {.buckets = 1}});
  replica.train(16, 32);
  EXPECT_EQ(replica.count("all-reduce"), 1);
  EXPECT_GT(replica.first("all-reduce"), replica.last("conv weight grad conv1"));
}

TEST(ExchangeOrderTest, WithoutABatchTheSameIsSummedAndTheUpdateFollows) {
  Replica replica({.launch = Launch::kStream, .plan = {.buckets = 64}});
  replica.sums() = {.loss = 7};
  replica.train(0, 16);
  EXPECT_THAT(replica.cuda.work(),
              ElementsAre("copy", "fill", "all-reduce", "all-reduce", "all-reduce", "all-reduce",
                          "update"));  // the copy is the rate's
  EXPECT_EQ(replica.sums().loss, 0);
}

TEST(ExchangeOrderTest, OnlyStepsThatAreFullAtAllReplicasAreCaptured) {
  Replica replica;
  for (int step = 0; step < 3; ++step) {
    // As others may have these sizes for the first time, and this one for the third.
    replica.train(16, 23);
    replica.train(7, 23);
    replica.train(0, 16);
  }
  EXPECT_EQ(replica.cuda.graphs(), 0u);
  EXPECT_EQ(replica.count("graph"), 0);
  for (int step = 0; step < 3; ++step) replica.train(16, 32);
  EXPECT_EQ(replica.cuda.graphs(), 1u);
  EXPECT_EQ(replica.count("graph"), 2);
}

TEST(ExchangeOrderTest, ACaptureThatFailsIsEnded) {
  Replica replica;
  replica.train(16, 32);
  replica.cuda.failing = "all-reduce";
  EXPECT_THROW(replica.train(16, 32), DeviceError);
  EXPECT_EQ(replica.cuda.graphs(), 0u);
  replica.cuda.failing.clear();
  replica.cuda.clear();
  replica.evaluate(16);
  EXPECT_EQ(replica.count("softmax loss d logits"), 1);  // and is no part of a graph
  EXPECT_THAT(replica.cuda.violations(), IsEmpty());
}

TEST(GradientPartsTest, CoverAllGradientsWithoutOverlapFromTheLastStageToTheFirst) {
  for (const ResnetSpec& spec : testing_support::all_resnets()) {
    const Program program = build_resnet(spec);
    const Layout layout = make_layout(program, Precision::kFloat16, {});
    std::size_t end = layout.parameter_values, piece_end = layout.pieces.size();
    for (const GradientPart& part : layout.parts) {
      EXPECT_EQ(part.begin + part.size, end);
      EXPECT_EQ(part.first_piece + part.piece_count, piece_end);
      EXPECT_EQ(layout.pieces[part.first_piece].begin, static_cast<std::int64_t>(part.begin));
      end = part.begin;
      piece_end = part.first_piece;
    }
    EXPECT_EQ(end, 0u);
    EXPECT_EQ(piece_end, 0u);
    const bool is_cifar = spec.depth == 20 || spec.depth == 56;
    EXPECT_EQ(layout.parts.size(), is_cifar ? 5u : 6u) << spec.depth;
  }
}

TEST(GradientPartsTest, AreFinalBehindTheirLastOperationAndNotBefore) {
  const Program program = build_resnet({.depth = 50, .batch_size = 2});
  const Layout layout = make_layout(program, Precision::kFloat16, {});
  for (const GradientPart& part : layout.parts) {
    std::size_t last = 0;
    for (std::size_t op = 0; op < program.ops.size(); ++op) {
      for (const TensorId written : accesses_of(program.ops[op]).writes) {
        const std::size_t offset = layout.offset(written);
        const bool is_inside = offset >= part.begin && offset < part.begin + part.size;
        if (program.tensor(written).kind == TensorKind::kGradient && is_inside) last = op;
      }
    }
    EXPECT_EQ(part.last_op, last);
  }
  // What is summed first is most of it.
  EXPECT_GT(layout.parts[0].size + layout.parts[1].size, layout.parameter_values * 6 / 10);
}

}  // namespace
}  // namespace slackline::net::cuda
