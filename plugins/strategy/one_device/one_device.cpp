// One replica on one device, the CPU. Steps are computed in order on a thread of its own.

#include <slackline/plugin.h>
#include <slackline/strategy.h>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "replicas/step_queue.h"
#include "replicas/traced_span.h"

namespace slackline {
namespace {

class OneDeviceStrategy final : public Strategy {
 public:
  explicit OneDeviceStrategy(Host& host)
      : clock_(host.clock()), track_(host.track(kName)), steps_(host.clock()) {}

  [[nodiscard]] std::int32_t device_count() const override { return 1; }

  [[nodiscard]] std::int32_t launch_threads_per_device() const override { return 0; }

  void build(ModelFactory& factory, const ModelSpec& spec) override {
    assert(model_ == nullptr);
    ModelSpec local = spec;
    local.device = {.kind = DeviceKind::kCpu, .index = 0, .stream = nullptr};
    model_ = factory.make_model();
    model_->build(local);
    steps_.start({kName}, [this](Step& step, std::size_t) { compute(step); });
  }

  /// The device's memory is the host's: nothing has to be copied.
  [[nodiscard]] std::unique_ptr<BatchStream> upload(BatchStream&, std::int32_t) override {
    return nullptr;
  }

  void submit(std::span<const Batch* const> batches, const StepPlan& plan) override {
    assert(batches.size() == 1);
    steps_.submit(batches, plan);
  }

  [[nodiscard]] StepSums finish() override { return steps_.finish(); }

  [[nodiscard]] TensorStore& state() override { return model_->state(); }

 private:
  static constexpr const char* kName = "replica 0";  ///< of its thread and its track

  void compute(Step& step) {
    const Batch* const batch = step.batches[0];
    if (batch == nullptr) return;
    const TracedSpan span(track_, "step", clock_, batch->index);
    if (step.plan.kind == StepKind::kEvaluate) {
      model_->evaluate(*batch, step.sums[0]);
    } else {
      model_->train({.batch = batch, .global_batch_size = step.samples, .rule = step.plan.rule},
                    step.sums[0]);
    }
  }

  const Clock& clock_;
  TraceTrack& track_;
  std::unique_ptr<Model> model_;
  StepQueue steps_;  ///< last: its thread uses the members above
};

}  // namespace

SLACKLINE_PLUGIN(Strategy, OneDeviceStrategy, "one_device",
                 "one replica on the CPU, computing on a thread of its own");

}  // namespace slackline
