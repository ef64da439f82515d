// Replicas that train together, through the executor as it is, with the GPU's kernels run by the
// CPU: what they hold behind a step is what one would hold that accumulates their batches.

#include <slackline/collective.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../cudnn/absent_gpus.h"
#include "../net/comparison.h"
#include "cpu_device.h"
#include "gpu_replica/bucket_exchange.h"
#include "net/resnet.h"
#include "net/training.h"
#include "net_cuda/trainer.h"
#include "nn/optimizer.h"

namespace slackline::net::cuda {
namespace {

using slackline::cuda::PinnedBuffer;
using slackline::cuda::Stream;
using testing::Each;
using testing::IsEmpty;
using testing::Not;
using testing_support::kNormalisation;
using testing_support::made_up_images;
using testing_support::made_up_labels;

constexpr float kMomentum = 0.9f, kDecay = 1e-3f, kRate = 0.1f;
constexpr std::int32_t kBatch = 3;
constexpr std::size_t kReplicas = 2;

/// Sums on the host: the device's memory is the CPU's.
class OnHost final : public Collective {
 public:
  explicit OnHost(std::unique_ptr<Collective> ranks) : ranks_(std::move(ranks)) {}
  [[nodiscard]] std::int32_t rank() const override { return ranks_->rank(); }
  [[nodiscard]] std::int32_t size() const override { return ranks_->size(); }
  void all_reduce_sum(std::span<float> values, void*) override {
    ranks_->all_reduce_sum(values, nullptr);
  }
  void abort() noexcept override { ranks_->abort(); }

 private:
  const std::unique_ptr<Collective> ranks_;
};

struct Case {
  Precision precision = Precision::kFloat32;
  Launch launch = Launch::kGraph;
  float loss_scale = 1;
  bool is_dynamic = false;
  gpu::ExchangePlan plan = {};
};

struct Samples {
  std::vector<std::uint8_t> images;
  std::vector<std::int32_t> labels;
};

class Replica {
 public:
  explicit Replica(const Case& with, std::unique_ptr<Collective> ranks = nullptr)
      : target_(cudnn::testing_support::absent("h100")),
        executor_(build_resnet(
                      {.depth = 20, .batch_size = kBatch, .height = 8, .width = 8, .classes = 10}),
                  {.precision = with.precision,
                   .normalisation = kNormalisation,
                   .optimizer = {.weight_decay = kDecay, .momentum = kMomentum},
                   .loss_scale = with.loss_scale,
                   .is_loss_scale_dynamic = with.is_dynamic,
                   .policy = cudnn::testing_support::precompiled()},
                  target_, device_, stream_.get()),
        trainer_(executor_, with.launch, device_, stream_.get()),
        images_(device_, std::size_t{kBatch} * 8 * 8 * 3),
        labels_(device_, kBatch),
        sums_(device_, 1) {
    device_.execute(executor_);
    executor_.set_initial_values(3);
    if (ranks == nullptr) return;
    collective_ = std::make_unique<OnHost>(std::move(ranks));
    exchange_ = std::make_unique<gpu::BucketExchange>(device_, stream_.get(), *collective_,
                                                      executor_.gradients().size(), with.plan);
  }

  /// Null samples are none.
  StepSums train(const Samples* samples, std::int32_t global_batch_size) {
    trainer_.train(upload(samples), global_batch_size, {.learning_rate = kRate}, *sums_.data(),
                   *exchange_, kReplicas);
    return *sums_.data();
  }
  void forward_backward(const Samples& samples, std::int32_t global_batch_size) {
    trainer_.forward_backward(upload(&samples), global_batch_size, *sums_.data());
  }

  [[nodiscard]] const Program& program() const { return executor_.program(); }
  [[nodiscard]] const Layout& layout() const { return executor_.layout(); }
  /// All of them, as they lie: the device computes at once.
  std::vector<float> gradients() { return copy_of(executor_.gradients()); }
  std::vector<float> values() { return copy_of(executor_.values()); }
  [[nodiscard]] const LossScale& loss_scale() { return *executor_.loss_scale(); }
  [[nodiscard]] const std::vector<std::string>& violations() const { return device_.violations(); }

 private:
  static std::vector<float> copy_of(std::span<float> array) { return {array.begin(), array.end()}; }

  DeviceBatch upload(const Samples* samples) {
    if (samples == nullptr) return {};
    const PinnedBuffer<std::uint8_t> images(device_, samples->images.size());
    const PinnedBuffer<std::int32_t> labels(device_, samples->labels.size());
    std::ranges::copy(samples->images, images.data());
    std::ranges::copy(samples->labels, labels.data());
    device_.copy(images_.data(), images.data(), images.bytes(), stream_.get());
    device_.copy(labels_.data(), labels.data(), labels.bytes(), stream_.get());
    device_.synchronize(stream_.get());
    return {images_.data(), labels_.data(), static_cast<std::int32_t>(samples->labels.size())};
  }

  CpuDevice device_;
  const Stream stream_ = slackline::cuda::make_stream(device_);
  const cudnn::Target target_;
  Executor executor_;
  Trainer trainer_;
  std::unique_ptr<Collective> collective_;
  std::unique_ptr<gpu::BucketExchange> exchange_;
  DeviceBuffer<std::uint8_t> images_;
  DeviceBuffer<std::int32_t> labels_;
  PinnedBuffer<StepSums> sums_;
};

/// Replicas, each on a device of its own.
class Replicas {
 public:
  explicit Replicas(const Case& with) {
    for (auto& ranks : make_thread_group(kReplicas, steady_clock())) {
      all_.push_back(std::make_unique<Replica>(with, std::move(ranks)));
    }
  }
  ~Replicas() {
    for (const auto& replica : all_) EXPECT_THAT(replica->violations(), IsEmpty());
  }
  Replicas(const Replicas&) = delete;
  Replicas& operator=(const Replicas&) = delete;

  void train(const std::array<const Samples*, kReplicas>& samples) {
    std::int32_t global = 0;
    for (const Samples* const each : samples) {
      global += each == nullptr ? 0 : static_cast<std::int32_t>(each->labels.size());
    }
    const auto train = [&](std::size_t i) { sums_[i] = all_[i]->train(samples[i], global); };
    std::thread other(train, 1);
    train(0);
    other.join();
  }
  Replica& operator[](std::size_t i) { return *all_[i]; }
  [[nodiscard]] const StepSums& sums(std::size_t i) const { return sums_[i]; }

 private:
  std::vector<std::unique_ptr<Replica>> all_;
  std::array<StepSums, kReplicas> sums_;
};

Samples made_up(std::size_t size, std::size_t skipped = 0) {
  const Program program =
      build_resnet({.depth = 20, .batch_size = kBatch, .height = 8, .width = 8, .classes = 10});
  auto images = made_up_images(program, static_cast<std::int64_t>(size + skipped));
  auto labels = made_up_labels(static_cast<std::int32_t>(size + skipped), 10);
  constexpr std::size_t kPixels = std::size_t{8} * 8 * 3;
  return {{images.begin() + static_cast<std::ptrdiff_t>(skipped * kPixels), images.end()},
          {labels.begin() + static_cast<std::ptrdiff_t>(skipped), labels.end()}};
}

/// What one would accumulate that computes the gradients of these batches one after another, each
/// from the initial values.
std::vector<float> accumulated(const Case& with, std::span<const Samples> batches,
                               std::int32_t global) {
  std::vector<float> sums;
  for (const Samples& batch : batches) {
    Replica alone(with);
    alone.forward_backward(batch, global);
    const std::vector<float> gradients = alone.gradients();
    if (sums.empty()) {
      sums = gradients;
    } else {
      std::ranges::transform(sums, gradients, sums.begin(), std::plus<>());
    }
  }
  return sums;
}

/// Initial values behind one update with these gradients, as the CPU does it.
std::vector<float> updated(const Case& with, const std::vector<float>& gradients) {
  Replica fresh(with);
  std::vector<float> values = fresh.values();
  std::vector<float> velocities(values.size());
  for (const TrainedTensor& tensor : fresh.layout().trained) {
    const auto part = [&](auto& array) {
      return std::span(array).subspan(static_cast<std::size_t>(tensor.begin),
                                      static_cast<std::size_t>(tensor.size));
    };
    nn::sgd_momentum(part(gradients), kRate, kMomentum, tensor.decay, part(velocities),
                     part(values));
  }
  return values;
}

TEST(ReplicasOnCpuTest, HaveTheSumsAndUpdatesOfOneThatAccumulatesTheirBatchesToTheBit) {
  const std::vector<Samples> batches{made_up(kBatch), made_up(kBatch, kBatch)};
  for (Case with : {Case{}, Case{.precision = Precision::kFloat16,
                            .launch = Launch::kStream,
                            .loss_scale = 128,
                            .plan = {.num_packs = 2}}}) {
    const std::vector<float> sums = accumulated(with, batches, 2 * kBatch);
    const std::vector<float> values = updated(with, sums);
    for (const std::int32_t buckets : {1, 3}) {
      with.plan.buckets = buckets;
      Replicas replicas(with);
      replicas.train({&batches[0], &batches[1]});
      for (std::size_t i = 0; i < kReplicas; ++i) {
        EXPECT_EQ(replicas[i].gradients(), sums) << "replica " << i << " of " << buckets;
        EXPECT_EQ(replicas[i].values(), values) << "replica " << i << " of " << buckets;
        EXPECT_EQ(replicas.sums(i).samples, kBatch);
      }
    }
  }
}

TEST(ReplicasOnCpuTest, WithoutABatchAddZeros) {
  const std::vector<Samples> batches{made_up(2)};
  const Case with{};
  Replicas replicas(with);
  replicas.train({&batches[0], nullptr});
  const std::vector<float> sums = accumulated(with, batches, 2);
  const std::vector<float> values = updated(with, sums);
  for (std::size_t i = 0; i < kReplicas; ++i) {
    EXPECT_EQ(replicas[i].gradients(), sums) << "replica " << i;
    EXPECT_EQ(replicas[i].values(), values) << "replica " << i;
  }
  EXPECT_EQ(replicas.sums(0).samples, 2);
  EXPECT_EQ(replicas.sums(1).samples, 0);
}

TEST(ReplicasOnCpuTest, WithoutABatchDoNotAddWhatTheyHadBefore) {
  const Samples batch = made_up(2);
  Replicas replicas(Case{});
  replicas.train({&batch, &batch});
  EXPECT_THAT(replicas[1].gradients(), Not(Each(0)));
  replicas.train({nullptr, nullptr});
  EXPECT_THAT(replicas[0].gradients(), Each(0));
  EXPECT_THAT(replicas[1].gradients(), Each(0));
}

TEST(ReplicasOnCpuTest, ComputeTheSameByGraphs) {
  const Samples first = made_up(kBatch), second = made_up(kBatch, kBatch), rest = made_up(1);
  const auto trained = [&](Launch launch) {
    Replicas replicas({.precision = Precision::kFloat16, .launch = launch, .loss_scale = 128});
    for (int step = 0; step < 3; ++step) replicas.train({&first, &second});
    replicas.train({nullptr, &rest});
    replicas.train({&second, &first});
    EXPECT_EQ(replicas[0].values(), replicas[1].values());
    return replicas[0].values();
  };
  EXPECT_EQ(trained(Launch::kGraph), trained(Launch::kStream));
}

/// The check is made on the sums, which are the same at all replicas: so is its result.
TEST(ReplicasOnCpuTest, OneThatOverflowsHoldsBackAllUpdatesAndHalvesAllScales) {
  const Samples first = made_up(kBatch), second = made_up(kBatch, kBatch);
  // Times the derivatives of three samples, that is more than fp16 has; and of none, it is 0.
  Replicas replicas({.precision = Precision::kFloat16, .loss_scale = 0x1p19f, .is_dynamic = true});
  const std::vector<float> before = replicas[0].values();
  replicas.train({nullptr, &second});
  for (std::size_t i = 0; i < kReplicas; ++i) {
    EXPECT_EQ(replicas[i].values(), before) << "replica " << i;
    EXPECT_EQ(replicas[i].loss_scale().scale, 0x1p18f) << "replica " << i;
    EXPECT_EQ(replicas[i].loss_scale().skipped_steps, 1) << "replica " << i;
  }
  for (int step = 0; step < 12 && replicas[0].loss_scale().good_steps == 0; ++step) {
    replicas.train({&first, &second});
  }
  for (std::size_t i = 0; i < kReplicas; ++i) {
    EXPECT_NE(replicas[i].values(), before) << "replica " << i;
    EXPECT_EQ(replicas[i].loss_scale().good_steps, 1) << "replica " << i;
  }
  EXPECT_EQ(replicas[0].values(), replicas[1].values());
  EXPECT_EQ(replicas[0].loss_scale().scale, replicas[1].loss_scale().scale);
}

}  // namespace
}  // namespace slackline::net::cuda
