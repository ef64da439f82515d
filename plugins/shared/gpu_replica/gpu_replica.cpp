#include "gpu_replica/gpu_replica.h"

#include <slackline/error.h>

#include <cassert>
#include <chrono>
#include <utility>
#include <vector>

#include "cuda/nvtx_range.h"

namespace slackline::gpu {
namespace {

/// For NCCL to end the work of a device that waits for another one.
constexpr std::chrono::seconds kLastWait{5};

/// The device may still use it, and what it holds cannot be given back.
void keep_for_good(std::unique_ptr<Model> model) {
  static auto* const kept = new std::vector<std::unique_ptr<Model>>;
  kept->push_back(std::move(model));
}

}  // namespace

Peers::~Peers() = default;

GpuReplica::GpuReplica(cuda::Runtime& runtime, std::int32_t device, const StepDeadline& deadline)
    : runtime_(runtime), device_(device), deadline_(deadline) {}

GpuReplica::~GpuReplica() {
  // Memory goes away with the model and the batches: not under the device's hands.
  try {
    if (stream_ != nullptr && !in_flight_.empty() && !runtime_.is_abandoned()) end_steps();
  } catch (const std::exception&) {
    // The device has failed: it touches nothing any more, and finish() would have said so.
  }
  if (runtime_.is_abandoned()) keep_for_good(std::move(model_));
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
    InFlight& made = free_.emplace_back();
    made.sums = {runtime_, 1};
    made.done = cuda::make_event(runtime_);
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
  step.kind = plan.kind;
  step.number = plan.rule.step;
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
  if (step.error == nullptr) wait_for(step.done, &step);
  free_.splice(free_.end(), in_flight_, in_flight_.begin());
  if (step.error != nullptr) std::rethrow_exception(std::exchange(step.error, nullptr));
  return *step.sums.data();
}

void GpuReplica::wait() {
  if (done_ == nullptr) done_ = cuda::make_event(runtime_);
  runtime_.record(done_.get(), stream_.get());
  wait_for(done_, nullptr);
}

/// Of a step, or of all that was enqueued.
void GpuReplica::wait_for(const cuda::Event& event, const InFlight* step) {
  runtime_.use_device(device_);
  if (!mirror_.has_value() && deadline_.limit.count() == 0) {
    return runtime_.synchronize(event.get());
  }
  const auto pause = [this] {
    runtime_.check_abandoned();
    mirror_.has_value() ? mirror_->peers.pause() : sleep_a_moment(deadline_.clock);
  };
  if (!wait_within(
          deadline_, [&] { return is_done(event); }, pause)) {
    if (step == nullptr) give_up(event, "what was enqueued");
    give_up(event, step->kind == StepKind::kTrain
                       ? text("step ", step->number, " (of steps.jsonl, from 0)")
                       : "a step of an evaluation");
  }
  // An exchange that was given up is done, too.
  if (mirror_.has_value()) mirror_->peers.check();
}

/// Whose loss made the device fail is told in place of the failure.
bool GpuReplica::is_done(const cuda::Event& event) {
  try {
    return runtime_.is_done(event.get());
  } catch (const DeviceError&) {
    if (mirror_.has_value()) mirror_->peers.await_loss();
    throw;
  }
}

void GpuReplica::give_up(const cuda::Event& event, const std::string& work) {
  std::string reason = overdue(device_, work, deadline_) +
                       ", because the GPU hangs (the kernel's log may say why: Xid), ";
  if (mirror_.has_value()) {
    reason +=
        "or NCCL waits for another rank whose GPU does, or which sums something else "
        "(NCCL_DEBUG=INFO says more), ";
  }
  reason += "or such a step takes longer: then raise step_deadline_s";
  failure_ = std::make_exception_ptr(DeviceError(reason));
  if (mirror_.has_value()) mirror_->peers.abort(reason);
  if (!mirror_.has_value() || !ends_soon(event)) runtime_.abandon(device_, reason);
  std::rethrow_exception(failure_);
}

/// Now that the others are told.
bool GpuReplica::ends_soon(const cuda::Event& event) {
  const auto has_ended = [&] {
    try {
      return runtime_.is_done(event.get());
    } catch (const DeviceError&) {
      return true;  // the device has failed: it touches nothing any more
    }
  };
  return wait_within({.clock = deadline_.clock, .limit = kLastWait}, has_ended,
                     [this] { sleep_a_moment(deadline_.clock); });
}

void GpuReplica::end_steps() {
  if (deadline_.limit.count() == 0) return runtime_.synchronize(stream_.get());
  runtime_.use_device(device_);
  if (done_ == nullptr) done_ = cuda::make_event(runtime_);
  runtime_.record(done_.get(), stream_.get());
  const auto pause = [this] { sleep_a_moment(deadline_.clock); };
  const auto is_done = [this] { return runtime_.is_done(done_.get()); };
  if (wait_within(deadline_, is_done, pause)) return;
  runtime_.abandon(device_, overdue(device_, "what was enqueued", deadline_));
}

}  // namespace slackline::gpu
