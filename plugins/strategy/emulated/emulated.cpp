// Accelerators that keep the time of real ones and compute nothing, with a replica on each: every
// prefetch strategy can be studied, and every configuration run, on a laptop.

#include <slackline/error.h>
#include <slackline/plugin.h>
#include <slackline/strategy.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "emulated/device.h"
#include "emulated/profile.h"
#include "upload_stream.h"

namespace slackline {
namespace {

using emulated::EmulatedDevice;
using emulated::Profile;

constexpr std::int32_t kNoDevice = -1;

/// What one device has to do with a step.
struct Share {
  const Batch* batch = nullptr;  ///< null: no batch for this device at an uneven end
  StepSums sums;
  std::exception_ptr error;
};

struct Step {
  StepPlan plan;
  std::int32_t global_batch_size = 0;
  std::vector<Share> shares;       ///< one for each device
  std::size_t launched = 0;        ///< devices whose share is
  std::size_t updated = 0;         ///< devices that are through with it
  bool has_failed = false;         ///< constant once all are launched
  EmulatedDevice::Time done_at{};  ///< of the slowest device; constant once all are launched
  std::vector<EmulatedDevice::Time> devices_done_at;  ///< in the order of launching
};

class EmulatedStrategy final : public Strategy {
 public:
  struct Options {
    std::int32_t devices = 1;
    Profile profile = Profile::kV100;
    Bytes upload_bandwidth{0};
    // A copy of a few bytes takes 5 to 7 us to submit alone (Wu et al., 2026, "DualPath",
    // arXiv 2602.21548, section 5.2); the rest is the way over the bus, rounded.
    std::chrono::nanoseconds upload_latency = std::chrono::microseconds(10);
    std::int32_t bytes_per_value = 1;
    std::int32_t launch_threads = 0;
    std::int32_t slow_device = kNoDevice;
    double slow_factor = 1;

    static OptionTable<Options> table() {
      return {
          option("devices", &Options::devices, "emulated accelerators, each with a replica")
              .range(1, 1024)
              .unit("devices"),
          choice("profile", &Options::profile,
                 {{"none", Profile::kNone},
                  {"v100", Profile::kV100},
                  {"a100", Profile::kA100},
                  {"h100", Profile::kH100},
                  {"h200", Profile::kH200}},
                 "whose speed: bandwidth of uploads here, images/s for the model emulated"),
          option("upload_bandwidth", &Options::upload_bandwidth,
                 "bytes that are copied to a device in a second; 0 takes the profile's")
              .example("\"12GB\""),
          option("upload_latency", &Options::upload_latency,
                 "what every copy takes beside its bytes")
              .range(std::chrono::seconds(0), std::chrono::seconds(1)),
          option("bytes_per_value", &Options::bytes_per_value,
                 "size of each value of an image that is uploaded: 1 as the pixels are, 2 or 4 for "
                 "float16 or float32 made by the host")
              .range(1, 4)
              .unit("bytes"),
          option("launch_threads", &Options::launch_threads,
                 "threads that launch the steps of a device; 0 is the loop's own, one device after "
                 "the other")
              .range(0, 1)
              .unit("threads per device"),
          option("slow_device", &Options::slow_device, "index of a straggler; -1 is none")
              .range(kNoDevice, 1023),
          option("slow_factor", &Options::slow_factor, "how many times longer a straggler computes")
              .range(1.0, 1000.0),
      };
    }
  };

  EmulatedStrategy(const Options& options, Host& host)
      : options_(options), host_(host), clock_(host.clock()) {
    const emulated::Speed speed = emulated::speed_of(options.profile);
    const double upload_bytes_per_s = options.upload_bandwidth.value > 0
                                          ? static_cast<double>(options.upload_bandwidth.value)
                                          : speed.upload_bytes_per_s;
    if (upload_bytes_per_s <= 0) {
      throw ConfigError(
          "upload_bandwidth",
          "strategy emulated: upload_bandwidth is 0 and profile is \"none\", so there "
          "is none to take; set one of them");
    }
    if (options.bytes_per_value == 3) {
      throw ConfigError("bytes_per_value",
                        "strategy emulated: bytes_per_value is 3; no type has that size, use 1, 2 "
                        "or 4");
    }
    if (options.slow_device >= options.devices) {
      throw ConfigError("slow_device",
                        text("strategy emulated: slow_device is ", options.slow_device,
                             ", and the devices are 0..", options.devices - 1));
    }
    for (std::int32_t i = 0; i < options.devices; ++i) {
      devices_.push_back(std::make_unique<EmulatedDevice>(
          EmulatedDevice::Spec{.index = i,
                               .images_per_s = speed.images_per_s,
                               .upload_bytes_per_s = upload_bytes_per_s,
                               .upload_latency = options.upload_latency,
                               .slow_factor = i == options.slow_device ? options.slow_factor : 1},
          host));
    }
    host.report("upload_bandwidth", upload_bytes_per_s * 1e-9, "GB/s");
  }

  /// Ends the launches that are under way; nobody can ask for those behind them any more.
  ~EmulatedStrategy() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    clock_.notify_all(changed_);
    for (std::thread& thread : launch_threads_) clock_.join(thread);
  }

  [[nodiscard]] std::int32_t device_count() const override { return options_.devices; }

  [[nodiscard]] std::int32_t launch_threads_per_device() const override {
    return options_.launch_threads;
  }

  void build(ModelFactory& factory, const ModelSpec& spec) override {
    assert(models_.empty());
    for (const auto& device : devices_) {
      ModelSpec local = spec;
      local.device = {
          .kind = DeviceKind::kEmulated, .index = device->spec().index, .stream = device.get()};
      models_.push_back(factory.make_model());
      models_.back()->build(local);
    }
    if (options_.launch_threads == 0) return;
    for (std::size_t i = 0; i < devices_.size(); ++i) {
      launch_threads_.push_back(
          clock_.start_thread(text("launch ", i), [this, i] { launch_steps(i); }));
    }
  }

  [[nodiscard]] std::unique_ptr<BatchStream> upload(BatchStream& host,
                                                    std::int32_t device) override {
    return std::make_unique<UploadStream>(host, *devices_[static_cast<std::size_t>(device)],
                                          options_.bytes_per_value, clock_);
  }

  void submit(std::span<const Batch* const> batches, const StepPlan& plan) override {
    assert(models_.size() == devices_.size() && batches.size() == devices_.size());
    Step* step = nullptr;
    {
      const std::lock_guard lock(mutex_);
      step = &steps_.emplace_back();
      step->plan = plan;
      for (const Batch* batch : batches) {
        step->shares.emplace_back().batch = batch;
        if (batch != nullptr) step->global_batch_size += batch->size;
      }
      ++submitted_;
    }
    if (launch_threads_.empty()) {
      for (std::size_t i = 0; i < devices_.size(); ++i) launch(*step, i);
      for (std::size_t i = 0; i < devices_.size(); ++i) update(*step, i);
    } else {
      clock_.notify_all(changed_);
    }
  }

  [[nodiscard]] StepSums finish() override {
    std::unique_lock lock(mutex_);
    assert(!steps_.empty());
    const Step& oldest = steps_.front();
    clock_.wait(lock, changed_, std::nullopt, [&] { return oldest.updated == devices_.size(); });
    clock_.wait(lock, changed_, oldest.done_at, [] { return false; });
    count_straggling(steps_.front());
    const std::vector<Share> shares = std::move(steps_.front().shares);
    steps_.pop_front();
    ++finished_;
    const bool is_idle = steps_.empty();
    lock.unlock();
    if (is_idle) report();

    StepSums total;
    for (const Share& share : shares) {
      if (share.error) std::rethrow_exception(share.error);
      total += share.sums;
    }
    return total;
  }

  [[nodiscard]] TensorStore& state() override { return models_.front()->state(); }

 private:
  void launch_steps(std::size_t device) {
    std::unique_lock lock(mutex_);
    for (std::uint64_t i = 0;; ++i) {
      clock_.wait(lock, changed_, std::nullopt, [&] { return stopping_ || i < submitted_; });
      if (stopping_) return;
      Step& step = steps_[i - finished_];
      lock.unlock();
      launch(step, device);
      lock.lock();
      clock_.wait(lock, changed_, std::nullopt,
                  [&] { return stopping_ || step.launched == devices_.size(); });
      if (stopping_) return;
      lock.unlock();
      update(step, device);
      lock.lock();
    }
  }

  /// Forward and backward on one device, until they are enqueued.
  void launch(Step& step, std::size_t device) {
    Share& share = step.shares[device];
    EmulatedDevice::Time done_at{};
    if (share.batch != nullptr) {
      try {
        if (step.plan.kind == StepKind::kEvaluate) {
          models_[device]->evaluate(*share.batch, share.sums);
        } else {
          models_[device]->forward_backward(*share.batch, step.global_batch_size, share.sums);
        }
      } catch (...) {
        share.error = std::current_exception();
      }
      done_at = devices_[device]->idle_at();
    }
    {
      const std::lock_guard lock(mutex_);
      step.done_at = std::max(step.done_at, done_at);
      if (share.batch != nullptr) step.devices_done_at.push_back(done_at);
      step.has_failed = step.has_failed || share.error != nullptr;
      ++step.launched;
    }
    clock_.notify_all(changed_);
  }

  /// The rest of the step, when all devices have launched it: gradients are summed when the slowest
  /// has computed its own, so nobody begins anything else before. The sum itself takes no time.
  void update(Step& step, std::size_t device) {
    if (step.plan.kind == StepKind::kTrain) {
      devices_[device]->hold_until(step.done_at);
      try {
        if (!step.has_failed) models_[device]->update(step.plan.rule);
      } catch (...) {
        step.shares[device].error = std::current_exception();
      }
    }
    {
      const std::lock_guard lock(mutex_);
      ++step.updated;
    }
    clock_.notify_all(changed_);
  }

  /// How long the devices waited for the slowest, as far as the others were done: without it, the
  /// step would have been so much shorter.
  void count_straggling(Step& step) {
    if (step.plan.kind != StepKind::kTrain || step.devices_done_at.size() < 2) return;
    std::ranges::sort(step.devices_done_at, std::greater<>());
    straggled_ += step.devices_done_at[0] - step.devices_done_at[1];
    ++mirrored_steps_;
  }

  void report() {
    using Seconds = std::chrono::duration<double>;
    using Milliseconds = std::chrono::duration<double, std::milli>;
    if (mirrored_steps_ > 0) {
      host_.report("straggler",
                   Milliseconds(straggled_).count() / static_cast<double>(mirrored_steps_), "ms");
    }
    for (const auto& device : devices_) {
      const EmulatedDevice::Totals totals = device->totals();
      const auto tell = [&](const char* name, double value, const char* unit) {
        host_.report(text("device_", device->spec().index, "_", name), value, unit);
      };
      tell("upload_busy", Seconds(totals.copy_busy).count(), "s");
      tell("compute_busy", Seconds(totals.compute_busy).count(), "s");
      if (totals.since_first_step.count() == 0) continue;
      tell("utilisation",
           100 * Seconds(totals.compute_busy).count() / Seconds(totals.since_first_step).count(),
           "%");
      tell("start_delay",
           Milliseconds(totals.start_delay).count() / static_cast<double>(totals.steps), "ms");
      tell("longest_start_delay", Milliseconds(totals.longest_start_delay).count(), "ms");
    }
  }

  const Options options_;
  Host& host_;
  Clock& clock_;
  std::vector<std::unique_ptr<EmulatedDevice>> devices_;
  std::vector<std::unique_ptr<Model>> models_;  ///< one on each device

  std::mutex mutex_;
  std::condition_variable changed_;  ///< any member below
  std::deque<Step> steps_;           ///< those not yet finished; addresses stay
  std::uint64_t submitted_ = 0;      ///< steps so far
  std::uint64_t finished_ = 0;
  bool stopping_ = false;
  std::chrono::nanoseconds straggled_{};     ///< over all steps with two devices or more
  std::uint64_t mirrored_steps_ = 0;         ///< so many
  std::vector<std::thread> launch_threads_;  ///< one for each device, or none
};

}  // namespace

SLACKLINE_PLUGIN(Strategy, EmulatedStrategy, "emulated",
                 "accelerators that keep the time of real ones, with a replica on each");

}  // namespace slackline
