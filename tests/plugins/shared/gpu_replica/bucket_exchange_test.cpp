// Which all-reduces come of a backward pass, and that their order is right: on a device that
// computes nothing, but judges the order of all work.

#include "gpu_replica/bucket_exchange.h"

#include <slackline/error.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_cuda.h"

namespace slackline::gpu {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

/// Remembers the all-reduces, and forgets a wait if a test wants it to.
class Device final : public cuda::FakeRuntime {
 public:
  struct Reduced {
    const float* begin;
    std::size_t size;
    bool operator==(const Reduced&) const = default;
  };

  void enqueue(const cuda::Work& work, cudaStream_t stream,
               const std::function<void(cudaStream_t)>& call) override {
    if (work.name == "all-reduce") {
      const cuda::MemoryRange& range = work.writes.front();
      reduced.push_back({static_cast<const float*>(range.begin), range.bytes / sizeof(float)});
    }
    FakeRuntime::enqueue(work, stream, call);
  }
  void wait(cudaStream_t stream, cudaEvent_t event) override {
    if (waits++ != forgotten_wait) FakeRuntime::wait(stream, event);
  }

  std::vector<Reduced> reduced;
  int waits = 0;
  int forgotten_wait = -1;
};

/// Two ranks, of which nothing else is asked here.
class TwoRanks final : public Collective {
 public:
  [[nodiscard]] std::int32_t rank() const override { return 0; }
  [[nodiscard]] std::int32_t size() const override { return 2; }
  void all_reduce_sum(std::span<float>, void*) override {}
  void abort() noexcept override {}
};

/// A model whose stages are written by one kernel each, from the last to the first.
class Backward {
 public:
  Backward(std::vector<std::size_t> stages, const ExchangePlan& plan)
      : stages_(std::move(stages)),
        gradients_(device, sum()),
        exchange_(device, stream_.get(), collective_, gradients_.size(), plan) {}

  void step() {
    std::size_t end = gradients_.size();
    for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) {
      end -= *stage;
      const std::span<float> gradients = gradients_.span().subspan(end, *stage);
      const std::array writes{cuda::MemoryRange{gradients.data(), gradients.size_bytes()}};
      device.enqueue({"backward", {}, writes}, stream_.get(), {});
      exchange_.begin(gradients);
    }
    exchange_.finish();
    const std::array reads{gradients_.range()};
    device.enqueue({"update", reads, {}}, stream_.get(), {});
  }
  void captured_step() {
    device.begin_capture(stream_.get());
    step();
    graph_ = {device.end_capture(stream_.get()), cuda::Destroy{&device}};
    device.launch(graph_.get(), stream_.get());
    device.launch(graph_.get(), stream_.get());
  }

  /// The all-reduces of the last step: "at+size", in values.
  std::vector<std::string> reduced() {
    std::vector<std::string> found;
    for (const Device::Reduced& each : device.reduced) {
      found.push_back(text(each.begin - gradients_.data(), "+", each.size));
    }
    device.reduced.clear();
    return found;
  }

  Device device;

 private:
  [[nodiscard]] std::size_t sum() const {
    std::size_t total = 0;
    for (const std::size_t stage : stages_) total += stage;
    return total;
  }

  const std::vector<std::size_t> stages_;
  const cuda::Stream stream_ = cuda::make_stream(device);
  const cuda::DeviceBuffer<float> gradients_;
  TwoRanks collective_;
  BucketExchange exchange_;
  cuda::Graph graph_;
};

/// As ResNet-50's, in thousandths: stem, four stages, head.
const std::vector<std::size_t> kStages{64, 256, 1216, 7104, 14976, 2048};

std::vector<std::string> reduced_with(const ExchangePlan& plan) {
  Backward backward(kStages, plan);
  backward.step();
  const std::vector<std::string> first = backward.reduced();
  backward.step();
  EXPECT_EQ(backward.reduced(), first);
  return first;
}

TEST(BucketExchangeTest, OneBucketIsSummedBehindTheWholeBackwardPass) {
  EXPECT_THAT(reduced_with({.buckets = 1}), ElementsAre("0+25664"));
}

TEST(BucketExchangeTest, ThreeBucketsAreTheLastStageTheOneBeforeAndTheRest) {
  EXPECT_THAT(reduced_with({.buckets = 3}), ElementsAre("8640+17024", "1536+7104", "0+1536"));
}

TEST(BucketExchangeTest, ManyBucketsAreTheModelsOwnPieces) {
  EXPECT_THAT(reduced_with({.buckets = 64}),
              ElementsAre("23616+2048", "8640+14976", "1536+7104", "320+1216", "64+256", "0+64"));
}

TEST(BucketExchangeTest, PacksAreEqualAndTheLastTakesTheRemainder) {
  // 25664 / 3 = 8554.67, which is 133 whole lines.
  EXPECT_THAT(reduced_with({.buckets = 1, .num_packs = 3}),
              ElementsAre("0+8512", "8512+8512", "17024+8640"));
  EXPECT_THAT(reduced_with({.buckets = 3, .num_packs = 2}),
              ElementsAre("8640+8512", "17152+8512", "1536+3520", "5056+3584", "0+768", "768+768"));
}

TEST(BucketExchangeTest, WhatIsSmallerThanItsPacksIsSummedAtOnce) {
  Backward backward({64, 128}, {.buckets = 2, .num_packs = 8});
  backward.step();
  EXPECT_THAT(backward.reduced(), ElementsAre("64+128", "0+64"));
}

TEST(BucketExchangeTest, SpansThatAreNoNeighboursShareNoBucket) {
  Device device;
  const cuda::Stream stream = cuda::make_stream(device);
  const cuda::DeviceBuffer<float> gradients(device, 300);
  device.fill(gradients.data(), 0, gradients.bytes(), stream.get());
  TwoRanks collective;
  BucketExchange exchange(device, stream.get(), collective, 300, {.buckets = 1});
  for (const std::size_t begin : {0u, 200u, 100u}) {
    exchange.begin(gradients.span().subspan(begin, 100));
  }
  exchange.finish();
  ASSERT_EQ(device.reduced.size(), 2u);
  EXPECT_EQ(device.reduced[0], (Device::Reduced{gradients.data(), 100}));
  EXPECT_EQ(device.reduced[1], (Device::Reduced{gradients.data() + 100, 200}));
}

class OrderTest : public testing::TestWithParam<ExchangePlan> {};
INSTANTIATE_TEST_SUITE_P(Plans, OrderTest,
                         testing::Values(ExchangePlan{.buckets = 1}, ExchangePlan{.buckets = 3},
                                         ExchangePlan{.buckets = 64},
                                         ExchangePlan{.buckets = 3, .num_packs = 4}),
                         [](const auto& test) {
                           return text(test.param.buckets, "_buckets_", test.param.num_packs,
                                       "_packs");
                         });

TEST_P(OrderTest, SumsWaitForTheirGradientsAndTheUpdateForTheSums) {
  Backward backward(kStages, GetParam());
  backward.device.begin_step();
  for (int i = 0; i < 3; ++i) backward.step();
  backward.captured_step();
  backward.device.end_step();
  EXPECT_THAT(backward.device.violations(), IsEmpty());
}

/// That the test above could fail.
TEST_P(OrderTest, EveryWaitIsNeeded) {
  Backward counting(kStages, GetParam());
  counting.step();
  const int waits = counting.device.waits;
  EXPECT_GE(waits, 2);
  for (int i = 0; i < waits; ++i) {
    Backward backward(kStages, GetParam());
    backward.device.forgotten_wait = i;
    backward.step();
    EXPECT_THAT(backward.device.violations(), Not(IsEmpty())) << "wait " << i;
  }
}

TEST_P(OrderTest, ACaptureTakesInTheOtherStreamAndEndsWithoutIt) {
  Backward backward(kStages, GetParam());
  backward.captured_step();
  EXPECT_THAT(backward.device.work(), Contains("all-reduce"));
  EXPECT_THAT(backward.device.violations(), IsEmpty());
}

}  // namespace
}  // namespace slackline::gpu
