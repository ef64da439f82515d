// One replica on one device, the CPU. Steps are computed in order on a thread of its own, as a GPU
// would compute them on its stream: the loop's wait for the device is a real one.

#include <slackline/error.h>
#include <slackline/plugin.h>
#include <slackline/strategy.h>

#include <cassert>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "streams/pass_through_stream.h"

namespace slackline {
namespace {

/// What was asked for, then what came of it.
struct Step {
  const Batch* batch = nullptr;  ///< null: no batch for this device at an uneven end
  StepPlan plan;
  StepSums sums;
  std::exception_ptr error;
};

class OneDeviceStrategy final : public Strategy {
 public:
  OneDeviceStrategy() : steps_(1) {}

  /// Ends the step that is being computed; nobody can ask for those behind it any more.
  ~OneDeviceStrategy() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (device_.joinable()) device_.join();
  }

  [[nodiscard]] std::int32_t device_count() const override { return 1; }

  [[nodiscard]] std::int32_t launch_threads_per_device() const override { return 0; }

  void build(ModelFactory& factory, const ModelSpec& spec) override {
    assert(model_ == nullptr);
    ModelSpec local = spec;
    local.device = {.kind = DeviceKind::kCpu, .index = 0, .stream = nullptr};
    model_ = factory.make_model();
    model_->build(local);
    try {
      device_ = std::thread([this] { compute_steps(); });
    } catch (const std::system_error& error) {
      throw IoError("strategy one_device: cannot start a thread", error.code().value());
    }
  }

  /// The device's memory is the host's: nothing has to be copied.
  [[nodiscard]] std::unique_ptr<BatchStream> upload(BatchStream& host,
                                                    [[maybe_unused]] std::int32_t device) override {
    assert(device == 0);
    return std::make_unique<PassThroughStream>(host);
  }

  void submit(std::span<const Batch* const> batches, const StepPlan& plan) override {
    assert(device_.joinable() && batches.size() == 1);
    {
      const std::lock_guard lock(mutex_);
      if (submitted_ - finished_ == steps_.size()) grow();
      at(submitted_) = {batches[0], plan, {}, nullptr};
      ++submitted_;
    }
    changed_.notify_all();
  }

  [[nodiscard]] StepSums finish() override {
    std::unique_lock lock(mutex_);
    assert(finished_ < submitted_);
    changed_.wait(lock, [this] { return finished_ < computed_; });
    const Step step = std::exchange(at(finished_), {});
    ++finished_;
    lock.unlock();
    if (step.error) std::rethrow_exception(step.error);
    return step.sums;
  }

 private:
  /// Step number `i`, which is not finished. Call with the lock.
  [[nodiscard]] Step& at(std::uint64_t i) { return steps_[i % steps_.size()]; }

  /// Only the caller bounds the steps in flight; a steady run soon has the ring it needs.
  void grow() {
    std::vector<Step> larger(2 * steps_.size());
    for (std::uint64_t i = finished_; i < submitted_; ++i) {
      larger[i % larger.size()] = std::move(at(i));
    }
    steps_ = std::move(larger);
  }

  void compute_steps() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || computed_ < submitted_; });
      if (stopping_) return;
      // The ring may grow meanwhile, so this works on a copy.
      Step step = at(computed_);
      lock.unlock();
      compute(step);
      lock.lock();
      at(computed_) = std::move(step);
      ++computed_;
      changed_.notify_all();
    }
  }

  void compute(Step& step) {
    if (step.batch == nullptr) return;
    try {
      if (step.plan.kind == StepKind::kEvaluate) {
        model_->evaluate(*step.batch, step.sums);
      } else {
        model_->forward_backward(*step.batch, step.batch->size, step.sums);
        model_->update(step.plan.rule);
      }
    } catch (...) {
      step.error = std::current_exception();
    }
  }

  std::unique_ptr<Model> model_;  ///< used by the device's thread alone once that runs

  std::mutex mutex_;
  std::condition_variable changed_;  ///< any member below
  std::vector<Step> steps_;          ///< a ring: those not yet finished
  std::uint64_t submitted_ = 0;      ///< steps so far
  std::uint64_t computed_ = 0;
  std::uint64_t finished_ = 0;
  bool stopping_ = false;
  std::thread device_;
};

}  // namespace

SLACKLINE_PLUGIN(Strategy, OneDeviceStrategy, "one_device",
                 "one replica on the CPU, computing on a thread of its own");

}  // namespace slackline
