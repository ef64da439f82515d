#include "gpu_replica/gpu_replica.h"

#include <slackline/error.h>

#include <cassert>
#include <utility>

#include "cuda/nvtx_range.h"

namespace slackline::gpu {

Peers::~Peers() = default;

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
  cuda::show_host_spans();
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
    launch(batch == nullptr || batch->size == 0 ? nullptr : batch, plan, *step.sums.data());
    runtime_.record(step.done.get(), stream_.get());
  } catch (const std::exception& error) {
    step.error = std::current_exception();
    if (!mirror_.has_value()) return;
    // At once: what is enqueued next would meet the wrong part of the others' steps.
    mirror_->peers.abort(error.what());
    if (failure_ == nullptr) failure_ = step.error;
  }
}

void GpuReplica::launch(const Batch* batch, const StepPlan& plan, StepSums& sums) {
  const bool is_training = plan.kind == StepKind::kTrain;
  if (batch == nullptr && !(is_training && mirror_.has_value())) return;
  if (mirror_.has_value()) mirror_->peers.check();
  const cuda::NvtxRange range(is_training ? "train" : "evaluate");
  if (batch != nullptr && batch->ready != nullptr) {
    runtime_.wait(stream_.get(), static_cast<cudaEvent_t>(batch->ready));
  }
  if (!is_training) return model_->evaluate(*batch, sums);
  ReplicaStep step{.batch = batch, .global_batch_size = plan.samples, .rule = plan.rule};
  if (step.global_batch_size == 0) step.global_batch_size = batch == nullptr ? 0 : batch->size;
  if (mirror_.has_value()) {
    step.exchange = &mirror_->exchange;
    step.replicas = mirror_->replicas;
  }
  model_->train(step, sums);
}

StepSums GpuReplica::finish() {
  assert(!in_flight_.empty());
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  InFlight& step = in_flight_.front();
  // What this throws leaves the step on its way, as the device may still work on it.
  if (step.error == nullptr) wait_for(step.done);
  free_.splice(free_.end(), in_flight_, in_flight_.begin());
  if (step.error != nullptr) std::rethrow_exception(std::exchange(step.error, nullptr));
  return *step.sums.data();
}

void GpuReplica::wait() {
  if (done_ == nullptr) done_ = cuda::make_event(runtime_);
  runtime_.record(done_.get(), stream_.get());
  wait_for(done_);
}

void GpuReplica::wait_for(const cuda::Event& event) {
  runtime_.use_device(device_);
  if (!mirror_.has_value()) return runtime_.synchronize(event.get());
  while (!is_done(event)) mirror_->peers.pause();
  // An exchange that was given up is done, too.
  mirror_->peers.check();
}

/// Whose loss made the device fail is told in place of the failure.
bool GpuReplica::is_done(const cuda::Event& event) {
  try {
    return runtime_.is_done(event.get());
  } catch (const DeviceError&) {
    mirror_->peers.await_loss();
    throw;
  }
}

}  // namespace slackline::gpu
