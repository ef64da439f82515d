#include "gpu_replica/gpu_replica.h"

#include <cassert>
#include <utility>

#include "cuda/nvtx_range.h"

namespace slackline::gpu {

GpuReplica::GpuReplica(cuda::Runtime& runtime, std::int32_t device)
    : runtime_(runtime), device_(device) {}

GpuReplica::~GpuReplica() {
  // Memory goes away with the model and the batches: not under the device's hands.
  try {
    if (stream_ != nullptr && !in_flight_.empty()) runtime_.synchronize(stream_.get());
  } catch (const std::exception&) {
    // The device has failed: it touches nothing any more, and finish() would have said so.
  }
}

void GpuReplica::build(ModelFactory& factory, const ModelSpec& spec) {
  assert(model_ == nullptr);
  runtime_.use_device(device_);
  stream_ = cuda::make_stream(runtime_);
  spec_ = spec;
  spec_.device = {.kind = DeviceKind::kCuda, .index = device_, .stream = stream_.get()};
  model_ = factory.make_model();
  model_->build(spec_);
}

GpuReplica::InFlight& GpuReplica::new_step() {
  if (free_.empty()) {
    free_.push_back({.sums = {runtime_, 1}, .done = cuda::make_event(runtime_), .error = nullptr});
  }
  in_flight_.splice(in_flight_.end(), free_, free_.begin());
  InFlight& step = in_flight_.back();
  *step.sums.data() = {};
  step.error = nullptr;
  return step;
}

void GpuReplica::submit(const Batch* batch, const StepPlan& plan) {
  runtime_.use_device(device_);
  InFlight& step = new_step();
  try {
    if (batch != nullptr && batch->size > 0) launch(*batch, plan, *step.sums.data());
    runtime_.record(step.done.get(), stream_.get());
  } catch (...) {
    step.error = std::current_exception();
  }
}

void GpuReplica::launch(const Batch& batch, const StepPlan& plan, StepSums& sums) {
  const cuda::NvtxRange range(plan.kind == StepKind::kEvaluate ? "evaluate" : "train");
  if (batch.ready != nullptr) {
    runtime_.wait(stream_.get(), static_cast<cudaEvent_t>(batch.ready));
  }
  if (plan.kind == StepKind::kEvaluate) {
    model_->evaluate(batch, sums);
  } else {
    model_->train({.batch = &batch,
                   .global_batch_size = plan.samples > 0 ? plan.samples : batch.size,
                   .rule = plan.rule},
                  sums);
  }
}

StepSums GpuReplica::finish() {
  const cuda::NvtxRange range("wait for a step");
  assert(!in_flight_.empty());
  InFlight& step = in_flight_.front();
  free_.splice(free_.end(), in_flight_, in_flight_.begin());
  if (step.error != nullptr) std::rethrow_exception(std::exchange(step.error, nullptr));
  runtime_.use_device(device_);
  runtime_.synchronize(step.done.get());
  return *step.sums.data();
}

}  // namespace slackline::gpu
