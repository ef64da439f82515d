// Takes the time of a training step on an emulated accelerator, and computes nothing: the CPU time
// of launching it, the small uploads that it starts with, and the time on the device.

#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/plugin.h>
#include <slackline/random.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>

#include "emulated/device.h"

namespace slackline {
namespace {

using std::chrono::nanoseconds;

/// Forward only, of a whole step: the backward pass multiplies with the weights once for the
/// gradients of the activations and once for those of the weights.
constexpr double kForwardShare = 1.0 / 3;

/// Where a step's randomness comes from, apart from all transforms of a list that anyone writes.
constexpr std::uint32_t kJitterOp = 255;

class EmulatedModel final : public Model {
 public:
  struct Options {
    nanoseconds step_time{0};
    // A thousand kernels and copies at 5 us of CPU time each, which is what a launch costs; an
    // assumption, as frameworks differ much.
    nanoseconds launch_time = std::chrono::milliseconds(5);
    std::int32_t launches = 10;
    std::int32_t start_uploads = 3;
    Bytes start_upload_bytes{4};
    double jitter = 0;

    static OptionTable<Options> table() {
      using std::chrono::seconds;
      return {
          option("step_time", &Options::step_time,
                 "time on the device of a step with a full batch; 0 takes it from the images/s of "
                 "the strategy's profile")
              .range(seconds(0), seconds(3600))
              .example("\"200ms\""),
          option("launch_time", &Options::launch_time,
                 "CPU time of launching a step, on a real thread")
              .range(seconds(0), seconds(3600)),
          option("launches", &Options::launches,
                 "even pieces of launching and computing; a piece is computed while later ones are "
                 "launched")
              .range(1, 10000)
              .unit("pieces"),
          option("start_uploads", &Options::start_uploads,
                 "small copies to the device that a step has to wait for")
              .range(0, 1000)
              .unit("copies"),
          option("start_upload_bytes", &Options::start_upload_bytes, "size of each of them")
              .range(Bytes{0}, Bytes{1u << 30}),
          option("jitter", &Options::jitter,
                 "standard deviation of the time on the device, as a share of it")
              .range(0.0, 1.0),
      };
    }
  };

  EmulatedModel(const Options& options, Host& host) : options_(options), host_(host) {}

  void build(const ModelSpec& spec) override {
    if (spec.device.kind != DeviceKind::kEmulated) {
      throw ConfigError("plugin",
                        "model emulated computes nothing: it needs [strategy] plugin = "
                        "\"emulated\", which has the device");
    }
    spec_ = spec;
    device_ = static_cast<emulated::EmulatedDevice*>(spec.device.stream);
    assert(device_ != nullptr);
    full_step_ms_ = full_step_ms();
    host_.report("step_time", full_step_ms_, "ms");
  }

  void forward_backward(const Batch& batch, [[maybe_unused]] std::int32_t global_batch_size,
                        StepSums& sums) override {
    run(batch, 1, sums);
  }

  /// There are no parameters, so nothing has to be kept in step.
  std::span<float> gradients() override { return {}; }
  std::span<float> statistics() override { return {}; }
  TensorStore& state() override { return no_tensors(); }
  void update([[maybe_unused]] const UpdateRule& rule) override {}

  void evaluate(const Batch& batch, StepSums& sums) override { run(batch, kForwardShare, sums); }

 private:
  [[nodiscard]] double full_step_ms() const {
    if (options_.step_time.count() > 0) {
      return std::chrono::duration<double, std::milli>(options_.step_time).count();
    }
    const double images_per_s = device_->spec().images_per_s;
    if (images_per_s <= 0) {
      throw ConfigError("step_time",
                        "model emulated: step_time is 0 and [strategy] profile is \"none\", so "
                        "there are no images/s to take it from; set one of them");
    }
    return 1e3 * spec_.max_batch_size / images_per_s;
  }

  void run(const Batch& batch, double share, StepSums& sums) {
    const double filled = static_cast<double>(batch.size) / spec_.max_batch_size;
    const double compute_ms = full_step_ms_ * filled * share * jitter_factor(batch);
    device_->run({.compute_time = nanoseconds(std::llround(1e6 * compute_ms)),
                  .launch_time = nanoseconds(
                      std::llround(static_cast<double>(options_.launch_time.count()) * share)),
                  .launches = options_.launches,
                  .start_uploads = options_.start_uploads,
                  .start_upload_bytes = options_.start_upload_bytes.value},
                 batch.index);
    sums = {.loss = 0, .correct = 0, .samples = batch.size};
  }

  /// Normally distributed around 1, not below 0; by Box and Muller (1958). Depends on the seed and
  /// the batch alone.
  [[nodiscard]] double jitter_factor(const Batch& batch) const {
    if (options_.jitter == 0) return 1;
    Philox words = random_words({spec_.seed, batch.index, batch.epoch}, kJitterOp);
    const double above_0 = 1.0 - static_cast<double>(uniform_float(words));
    const double angle = 2 * std::numbers::pi * static_cast<double>(uniform_float(words));
    const double normal = std::sqrt(-2 * std::log(above_0)) * std::cos(angle);
    return std::max(0.0, 1 + options_.jitter * normal);
  }

  const Options options_;
  Host& host_;
  ModelSpec spec_;
  emulated::EmulatedDevice* device_ = nullptr;  ///< the strategy's
  double full_step_ms_ = 0;                     ///< of a full batch, training, without jitter
};

}  // namespace

SLACKLINE_PLUGIN(Model, EmulatedModel, "emulated",
                 "takes the time of a step on an emulated accelerator, and computes nothing");

}  // namespace slackline
