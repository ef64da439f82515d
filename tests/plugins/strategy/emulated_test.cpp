#include <slackline/error.h>
#include <slackline/prefetcher.h>
#include <slackline/simulated_clock.h>
#include <slackline/strategy.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "batch_streams.h"
#include "test_host.h"

namespace slackline {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing_support::make_plugin;
using testing_support::OptionArguments;
using testing_support::read_all;
using testing_support::ScriptedStream;
using testing_support::TestHost;

constexpr std::int64_t kMs = 1'000'000;  ///< ns
constexpr ImageShape kShape{.height = 100, .width = 100, .channels = 1};
constexpr std::int32_t kFull = 60;

constexpr StepPlan kTrain{.kind = StepKind::kTrain, .rule = {}};
constexpr StepPlan kEvaluate{.kind = StepKind::kEvaluate, .rule = {}};

/// A step of 100 ms, launched in 5 pieces of 1 ms, that starts with one upload of 1000 bytes.
const OptionArguments kStep = {{"step_time", 100 * kMs},
                               {"launch_time", 5 * kMs},
                               {"launches", 5},
                               {"start_uploads", 1},
                               {"start_upload_bytes", 1000}};
/// A full batch takes 6 ms to a device, and 1000 bytes 10 us.
const OptionArguments kDevices = {{"upload_bandwidth", 100'000'000}, {"upload_latency", 0}};

OptionArguments with(OptionArguments options, const OptionArguments& more) {
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

/// Batches of the host, there at once; remembers when they went back.
class HostBatches final : public BatchStream {
 public:
  explicit HostBatches(Clock& clock, std::size_t count = 1000) : clock_(clock), batches_(count) {
    for (std::size_t i = 0; i < count; ++i) {
      batches_[i].shape = kShape;
      batches_[i].size = kFull;
      batches_[i].index = i;
    }
  }

  const Batch* next() override {
    const std::lock_guard lock(mutex_);
    if (cancelled_ || next_ == batches_.size()) return nullptr;
    lent_.insert(&batches_[next_]);
    return &batches_[next_++];
  }
  void give_back(const Batch* batch) noexcept override {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(lent_.erase(batch), 1u);
    returned_us_.push_back(clock_.now().time_since_epoch() / 1us);
  }
  void cancel() noexcept override {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }

  [[nodiscard]] Batch& operator[](std::size_t i) { return batches_[i]; }
  [[nodiscard]] std::size_t lent() const {
    const std::lock_guard lock(mutex_);
    return lent_.size();
  }
  [[nodiscard]] const std::vector<std::int64_t>& returned_us() const { return returned_us_; }
  [[nodiscard]] bool cancelled() const { return cancelled_; }

 private:
  Clock& clock_;
  mutable std::mutex mutex_;
  std::vector<Batch> batches_;
  std::size_t next_ = 0;
  std::set<const Batch*> lent_;
  std::vector<std::int64_t> returned_us_;
  bool cancelled_ = false;
};

/// Makes the plugin `emulated`.
class EmulatedModels final : public ModelFactory {
 public:
  EmulatedModels(OptionArguments options, Host& host) : options_(std::move(options)), host_(host) {}
  std::unique_ptr<Model> make_model() override {
    return make_plugin<Model>("emulated", options_, host_);
  }

 private:
  OptionArguments options_;
  Host& host_;
};

/// Somebody else's model on the emulated device: it fails where it is told to, counts the updates,
/// and takes its time for those of device 0.
class ForeignModels final : public ModelFactory {
 public:
  std::set<std::uint64_t> fail_at;
  bool fail_in_update = false;
  std::chrono::nanoseconds first_devices_update{0};  ///< CPU time
  int updates = 0;

  explicit ForeignModels(Clock& clock) : clock_(clock) {}
  std::unique_ptr<Model> make_model() override { return std::make_unique<ForeignModel>(*this); }

 private:
  class ForeignModel final : public Model {
   public:
    explicit ForeignModel(ForeignModels& told) : told_(told) {}
    void build(const ModelSpec& spec) override {
      EXPECT_EQ(spec.device.kind, DeviceKind::kEmulated);
      EXPECT_NE(spec.device.stream, nullptr);
      device_ = spec.device.index;
    }
    void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                          StepSums& sums) override {
      if (told_.fail_at.contains(batch.index)) throw DataError(text("batch ", batch.index));
      sums = {static_cast<double>(global_batch_size), 1, batch.size};
    }
    std::span<float> gradients() override { return {}; }
    std::span<float> statistics() override { return {}; }
    TensorStore& state() override { return no_tensors(); }
    void update(const UpdateRule& /*rule*/) override {
      if (told_.fail_in_update) throw DeviceError("update");
      if (device_ == 0) told_.clock_.work(told_.first_devices_update);
      ++told_.updates;
    }
    void evaluate(const Batch& batch, StepSums& sums) override { forward_backward(batch, 0, sums); }

   private:
    ForeignModels& told_;
    std::int32_t device_ = 0;
  };

  Clock& clock_;
};

/// Both ways of launching: on the loop's thread and on one of each device.
class EmulatedStrategyTest : public testing::TestWithParam<int> {
 protected:
  void open(const OptionArguments& options, ModelFactory& models) {
    strategy_ = make_plugin<Strategy>(
        "emulated", with(with(kDevices, {{"launch_threads", GetParam()}}), options), host_);
    strategy_->build(
        models,
        {.image = kShape, .max_batch_size = kFull, .num_classes = 10, .seed = 1, .device = {}});
  }
  void open(const OptionArguments& options = {}) {
    EmulatedModels models(kStep, host_);
    open(options, models);
  }
  void submit(const std::vector<const Batch*>& batches, const StepPlan& plan = kTrain) {
    strategy_->submit(batches, plan);
  }
  /// When the oldest step was done, in us.
  std::int64_t finish_us() {
    sums_ = strategy_->finish();
    return now_us();
  }
  std::string finish_error() {
    try {
      (void)strategy_->finish();
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  }
  [[nodiscard]] std::int64_t now_us() const { return clock_.now().time_since_epoch() / 1us; }

  SimulatedClock clock_{4};
  TestHost host_{clock_};
  HostBatches batches_{clock_};
  StepSums sums_;
  std::unique_ptr<Strategy> strategy_;
};

INSTANTIATE_TEST_SUITE_P(LaunchThreads, EmulatedStrategyTest, testing::Values(0, 1),
                         [](const auto& threads) { return threads.param == 0 ? "caller" : "own"; });

TEST_P(EmulatedStrategyTest, SaysHowManyDevicesAndThreadsItHas) {
  open({{"devices", 3}});
  EXPECT_EQ(strategy_->device_count(), 3);
  EXPECT_EQ(strategy_->launch_threads_per_device(), GetParam());
}

TEST_P(EmulatedStrategyTest, AStepIsDoneWhenItIsComputed) {
  open();
  submit({&batches_[0]});
  EXPECT_EQ(now_us(), GetParam() == 0 ? 5000 : 0) << "submit() returns once enqueued";
  EXPECT_EQ(finish_us(), 1000 + 10 + 100'000);
  EXPECT_EQ(sums_.samples, kFull);
  EXPECT_EQ(sums_.loss, 0);
}

TEST_P(EmulatedStrategyTest, WithTwoStepsInFlightTheDeviceIsNeverIdle) {
  open();
  submit({&batches_[0]});
  submit({&batches_[1]});
  EXPECT_EQ(finish_us(), 101'010);
  submit({&batches_[2]});
  EXPECT_EQ(finish_us(), 201'010);
  EXPECT_EQ(finish_us(), 301'010);
  EXPECT_EQ(host_.reports.at("device_0_utilisation"), 100);
}

TEST_P(EmulatedStrategyTest, DevicesAreLaunchedInTurnOrSideBySide) {
  open({{"devices", 2}});
  submit({&batches_[0], &batches_[1]});
  EXPECT_EQ(finish_us(), (GetParam() == 0 ? 5000 : 0) + 101'010);
  EXPECT_EQ(sums_.samples, 2 * kFull);
}

TEST_P(EmulatedStrategyTest, TheSlowestDeviceSetsThePaceOfAll) {
  open({{"devices", 2}, {"slow_device", 0}, {"slow_factor", 1.5}});
  submit({&batches_[0], &batches_[1]});
  submit({&batches_[2], &batches_[3]});
  EXPECT_EQ(finish_us(), 151'010);
  EXPECT_EQ(finish_us(), 301'010);
  EXPECT_EQ(host_.reports.at("device_0_utilisation"), 100);
  EXPECT_LT(host_.reports.at("device_1_utilisation"), 68);
  // The first step is launched on device 1 later where one thread launches both, by 5 ms.
  EXPECT_NEAR(host_.reports.at("straggler"), GetParam() == 0 ? 47.5 : 50, 1e-6);
  const auto& spans = host_.tracks["device 1 compute"].spans;
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[1].begin.time_since_epoch() / 1us, 151'010) << "waits for the sum of gradients";
}

TEST_P(EmulatedStrategyTest, AnEvaluationKeepsNobodyInStep) {
  EmulatedModels models(with(kStep, {{"step_time", 300 * kMs}, {"launch_time", 0}}), host_);
  open({{"devices", 2}, {"slow_device", 0}, {"slow_factor", 2.0}}, models);
  submit({&batches_[0], &batches_[1]}, kEvaluate);
  submit({nullptr, &batches_[2]}, kEvaluate);
  EXPECT_EQ(finish_us(), 200'010);
  EXPECT_EQ(finish_us(), 200'010) << "device 1 has had its second batch since 100 ms";
  EXPECT_EQ(sums_.samples, kFull);
}

TEST_P(EmulatedStrategyTest, ADeviceWithoutABatchComputesNothing) {
  open({{"devices", 2}});
  submit({&batches_[0], nullptr});
  EXPECT_EQ(finish_us(), 101'010);
  EXPECT_EQ(sums_.samples, kFull);
  EXPECT_EQ(host_.reports.at("device_1_compute_busy"), 0);
  EXPECT_FALSE(host_.reports.contains("device_1_utilisation"));
}

TEST_P(EmulatedStrategyTest, AStepWithoutABatchIsDoneAtOnce) {
  open({{"devices", 2}});
  clock_.sleep(3ms);
  submit({nullptr, nullptr});
  EXPECT_EQ(finish_us(), 3000);
  EXPECT_EQ(sums_.samples, 0);
}

TEST_P(EmulatedStrategyTest, AnErrorArrivesAtTheFinishOfItsStepAndNothingIsUpdated) {
  ForeignModels models(clock_);
  models.fail_at = {3};
  open({{"devices", 2}}, models);
  submit({&batches_[0], &batches_[1]});
  submit({&batches_[2], &batches_[3]});
  submit({&batches_[4], &batches_[5]});
  EXPECT_EQ(finish_error(), "");
  EXPECT_EQ(finish_error(), "batch 3");
  EXPECT_EQ(finish_us(), 0);
  EXPECT_EQ(sums_.loss, 2 * 2 * kFull) << "the global batch size, from both devices";
  EXPECT_EQ(models.updates, 4);
}

TEST_P(EmulatedStrategyTest, TheFirstDevicesErrorIsTheOneThatIsTold) {
  ForeignModels models(clock_);
  models.fail_at = {1, 0};
  open({{"devices", 2}}, models);
  submit({&batches_[0], &batches_[1]});
  EXPECT_EQ(finish_error(), "batch 0");
}

TEST_P(EmulatedStrategyTest, AnErrorOfTheUpdateIsTheStepsToo) {
  ForeignModels models(clock_);
  models.fail_in_update = true;
  open({}, models);
  submit({&batches_[0]});
  EXPECT_EQ(finish_error(), "update");
}

TEST_P(EmulatedStrategyTest, DestructionNeedsNeitherABuildNorTheFinishOfAStep) {
  strategy_ = make_plugin<Strategy>("emulated", {{"launch_threads", GetParam()}}, host_);
  strategy_.reset();
  open({{"devices", 2}});
  strategy_.reset();
  open({{"devices", 2}});
  submit({&batches_[0], &batches_[1]});
  submit({&batches_[2], &batches_[3]});
  strategy_.reset();
}

TEST_P(EmulatedStrategyTest, DestructionDoesNotLeaveADeviceWaitingForOneThatHasStopped) {
  ForeignModels models(clock_);
  models.first_devices_update = 10ms;
  open({{"devices", 2}}, models);
  submit({&batches_[0], &batches_[1]});
  submit({&batches_[2], &batches_[3]});
  clock_.sleep(5ms);  // with threads: device 0 updates, device 1 has launched the second step
  strategy_.reset();
}

// Simulated threads run one at a time. Here they are real ones, for the sanitizers' sake.
TEST_P(EmulatedStrategyTest, TrainsOnTheRealClockToo) {
  TestHost host;
  EmulatedModels models({{"step_time", 200'000}, {"launch_time", 100'000}, {"launches", 2}}, host);
  const auto strategy = make_plugin<Strategy>(
      "emulated", {{"devices", 2}, {"profile", "h100"}, {"launch_threads", GetParam()}}, host);
  strategy->build(
      models,
      {.image = kShape, .max_batch_size = kFull, .num_classes = 10, .seed = 1, .device = {}});
  const auto plain = make_plugin<Prefetcher>("plain", {}, host);
  HostBatches first(host.clock());
  HostBatches second(host.clock());
  {
    const auto upload_first = strategy->upload(first, 0);
    const auto upload_second = strategy->upload(second, 1);
    const auto device_first = plain->wrap(*upload_first, {.device = 0, .device_count = 2});
    const auto device_second = plain->wrap(*upload_second, {.device = 1, .device_count = 2});
    std::deque<std::array<const Batch*, 2>> in_flight;
    std::int64_t samples = 0;
    const auto finish = [&] {
      samples += strategy->finish().samples;
      device_first->give_back(in_flight.front()[0]);
      device_second->give_back(in_flight.front()[1]);
      in_flight.pop_front();
    };
    for (int i = 0; i < 30; ++i) {
      in_flight.push_back({device_first->next(), device_second->next()});
      strategy->submit(in_flight.back(), kTrain);
      if (in_flight.size() > 1) finish();
    }
    finish();
    EXPECT_EQ(samples, 30 * 2 * kFull);
  }
  EXPECT_EQ(first.lent(), 0u);
  EXPECT_EQ(second.lent(), 0u);
}

TEST_P(EmulatedStrategyTest, ReportsHowBusyItWasWhenNothingIsInFlight) {
  open();
  const auto device = strategy_->upload(batches_, 0);
  const Batch* const first = device->next();
  submit({first});
  submit({first});
  EXPECT_EQ(host_.reports.count("device_0_compute_busy"), 0u);
  (void)finish_us();
  (void)finish_us();
  device->give_back(first);
  EXPECT_DOUBLE_EQ(host_.reports.at("upload_bandwidth"), 0.1);
  EXPECT_DOUBLE_EQ(host_.reports.at("device_0_upload_busy"), 0.006 + 2 * 0.00001);
  EXPECT_DOUBLE_EQ(host_.reports.at("device_0_compute_busy"), 0.2);
  EXPECT_DOUBLE_EQ(host_.reports.at("device_0_start_delay"), 0.005);
  EXPECT_DOUBLE_EQ(host_.reports.at("device_0_longest_start_delay"), 0.01);
}

/// The uploads, which do not depend on who launches.
class EmulatedUploadTest : public testing::Test {
 protected:
  BatchStream& open(BatchStream& host, const OptionArguments& options = {}) {
    strategy_ = make_plugin<Strategy>("emulated", with(kDevices, options), host_);
    stream_ = strategy_->upload(host, 0);
    return *stream_;
  }
  [[nodiscard]] std::int64_t now_us() const { return clock_.now().time_since_epoch() / 1us; }

  SimulatedClock clock_{2};
  TestHost host_{clock_};
  HostBatches batches_{clock_};

 private:
  std::unique_ptr<Strategy> strategy_;
  std::unique_ptr<BatchStream> stream_;
};

TEST_F(EmulatedUploadTest, ABatchComesWhenItIsCopiedAndTheHostsGoesBackThen) {
  BatchStream& device = open(batches_);
  const Batch* const first = device.next();
  EXPECT_EQ(now_us(), 6000);
  const Batch* const second = device.next();
  EXPECT_EQ(now_us(), 12'000);
  EXPECT_THAT(batches_.returned_us(), ElementsAre(6000, 12'000));
  EXPECT_EQ(batches_.lent(), 0u);
  device.give_back(second);
  device.give_back(first);
}

TEST_F(EmulatedUploadTest, TheDevicesBatchTellsEverythingButHoldsNoBytes) {
  const std::array<std::uint8_t, 4> images{};
  const std::array<std::int32_t, 1> labels{};
  batches_[0].images = images;
  batches_[0].labels = labels;
  batches_[0].epoch = 5;
  batches_[0].end = {.epoch = 5, .records = 60};
  batches_[0].digest.order.append(77);
  BatchStream& device = open(batches_);
  const Batch* const batch = device.next();
  ASSERT_NE(batch, nullptr);
  EXPECT_TRUE(batch->images.empty());
  EXPECT_TRUE(batch->labels.empty());
  EXPECT_EQ(batch->size, kFull);
  EXPECT_EQ(batch->shape, kShape);
  EXPECT_EQ(batch->epoch, 5u);
  EXPECT_EQ(batch->end.records, 60u);
  EXPECT_EQ(batch->digest, batches_[0].digest);
  EXPECT_EQ(batch->ready, nullptr) << "next() has waited already";
  device.give_back(batch);
}

TEST_F(EmulatedUploadTest, ABatchStaysValidUntilItGoesBack) {
  BatchStream& device = open(batches_);
  const Batch* const first = device.next();
  const Batch* const second = device.next();
  EXPECT_EQ(first->index, 0u);
  device.give_back(first);
  const Batch* const third = device.next();
  EXPECT_EQ(second->index, 1u);
  EXPECT_EQ(third->index, 2u);
  EXPECT_EQ(third, first) << "its memory is used again";
  device.give_back(second);
  device.give_back(third);
}

TEST_F(EmulatedUploadTest, ValuesOfFourBytesTakeFourTimesAsLong) {
  BatchStream& device = open(batches_, {{"bytes_per_value", 4}});
  device.give_back(device.next());
  EXPECT_EQ(now_us(), 24'000);
}

TEST_F(EmulatedUploadTest, AnEmptyBatchTakesNoTime) {
  batches_[0].size = 0;
  BatchStream& device = open(batches_, {{"upload_latency", 1 * kMs}});
  device.give_back(device.next());
  EXPECT_EQ(now_us(), 0);
}

TEST_F(EmulatedUploadTest, ErrorsAndTheEndComeInTheirPlaces) {
  ScriptedStream scripted;
  scripted.batches(1).fails("disk on fire").batches(1);
  BatchStream& device = open(scripted);
  EXPECT_EQ(scripted.asked(), 0u);
  EXPECT_THAT(read_all(device), ElementsAre("0", "disk on fire", "1", "end"));
  EXPECT_EQ(scripted.lent(), 0u);
}

TEST_F(EmulatedUploadTest, CancelDoesNotWaitForTheCopyAndTheHostGetsItsBatch) {
  BatchStream& device = open(batches_);
  std::thread canceller = clock_.start_thread("canceller", [&] {
    clock_.sleep(2ms);
    device.cancel();
  });
  EXPECT_EQ(device.next(), nullptr);
  EXPECT_EQ(now_us(), 2000);
  EXPECT_EQ(batches_.lent(), 0u);
  EXPECT_TRUE(batches_.cancelled());
  EXPECT_EQ(device.next(), nullptr);
  clock_.join(canceller);
}

TEST_F(EmulatedUploadTest, WhatWasFetchedBeforeACancelIsNotCopied) {
  /// Cancels whom it is told to while it is asked.
  class CancelledInNext final : public BatchStream {
   public:
    const Batch* next() override {
      on_next();
      return &batch;
    }
    void give_back(const Batch* /*batch*/) noexcept override { ++returned; }
    void cancel() noexcept override {}
    std::function<void()> on_next;
    Batch batch;
    int returned = 0;
  };
  CancelledInNext host;
  host.batch.shape = kShape;
  host.batch.size = kFull;
  BatchStream& device = open(host);
  host.on_next = [&] { device.cancel(); };
  EXPECT_EQ(device.next(), nullptr);
  EXPECT_EQ(now_us(), 0);
  EXPECT_EQ(host.returned, 1);
  EXPECT_TRUE(host_.tracks["device 0 copy"].spans.empty()) << "the engine is free for others";
}

/// The question that all of this is for.
class EmulatedStallTest : public testing::Test {
 protected:
  /// The time of a step in the steady state, in us: one device, one batch ahead in its memory, and
  /// a loop that waits for each step.
  std::int64_t step_us(const std::string& prefetcher, const OptionArguments& options) {
    SimulatedClock clock(4);
    TestHost host(clock);
    HostBatches batches(clock);
    EmulatedModels models(kStep, host);
    const auto strategy = make_plugin<Strategy>("emulated", kDevices, host);
    strategy->build(
        models,
        {.image = kShape, .max_batch_size = kFull, .num_classes = 10, .seed = 1, .device = {}});
    const auto uploaded = strategy->upload(batches, 0);
    const auto plugin = make_plugin<Prefetcher>(prefetcher, options, host);
    const auto device = plugin->wrap(*uploaded, {.device = 0});
    std::vector<std::int64_t> ends_us;
    for (int i = 0; i < 10; ++i) {
      const std::array<const Batch*, 1> batch = {device->next()};
      strategy->submit(batch, kTrain);
      (void)strategy->finish();
      device->give_back(batch[0]);
      ends_us.push_back(clock.now().time_since_epoch() / 1us);
    }
    start_delay_ms_ = host.reports.at("device_0_longest_start_delay");
    return ends_us[9] - ends_us[8];
  }

  double start_delay_ms_ = 0;
};

TEST_F(EmulatedStallTest, WithoutPrefetchEveryStepWaitsForItsUpload) {
  EXPECT_EQ(step_us("none", {}), 6000 + 1000 + 10 + 100'000);
  EXPECT_DOUBLE_EQ(start_delay_ms_, 0.01);
}

TEST_F(EmulatedStallTest, PrefetchAtOnceHoldsUpTheStepThatItIsMeantToHelp) {
  EXPECT_EQ(step_us("plain", {{"device_buffer_size", 1}}), 6000 + 10 + 100'000);
  EXPECT_DOUBLE_EQ(start_delay_ms_, 6 + 0.01 - 1) << "the rest of the copy, when it is launched";
}

TEST_F(EmulatedStallTest, PrefetchThatIsDelayedPastTheStartOfTheStepDoesNot) {
  EXPECT_EQ(step_us("delay", {}), 1000 + 10 + 100'000);
  EXPECT_DOUBLE_EQ(start_delay_ms_, 0.01);
}

/// "option: message" of the ConfigError with which the plugin refuses its options.
std::string refusal(const OptionArguments& options) {
  TestHost host;
  try {
    (void)make_plugin<Strategy>("emulated", options, host);
    return "";
  } catch (const ConfigError& error) {
    return error.option() + ": " + error.what();
  }
}

TEST(EmulatedOptions, NamesWhatCannotBe) {
  EXPECT_EQ(refusal({}), "");
  EXPECT_EQ(refusal({{"profile", "none"}, {"upload_bandwidth", 1000}}), "");
  EXPECT_EQ(refusal({{"profile", "none"}}),
            "upload_bandwidth: strategy emulated: upload_bandwidth is 0 and profile is \"none\", "
            "so there is none to take; set one of them");
  EXPECT_EQ(refusal({{"devices", 2}, {"slow_device", 2}}),
            "slow_device: strategy emulated: slow_device is 2, and the devices are 0..1");
  EXPECT_EQ(refusal({{"bytes_per_value", 3}}),
            "bytes_per_value: strategy emulated: bytes_per_value is 3; no type has that size, use "
            "1, 2 or 4");
}

}  // namespace
}  // namespace slackline
