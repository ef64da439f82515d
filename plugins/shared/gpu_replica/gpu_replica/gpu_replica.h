#pragma once

#include <slackline/model.h>
#include <slackline/strategy.h>

#include <cstdint>
#include <exception>
#include <list>
#include <memory>

#include "cuda/handles.h"

namespace slackline::gpu {

/// One replica of a model on one GPU: its stream, and the steps that are on their way.
///
/// Lifecycle  construct, build(), then submit() and finish() in turns. Destruction waits for the
///            steps that are still on their way.
/// Threads    one caller at a time.
/// Errors     what a step's launch throws is rethrown by its finish(); so is a device's failure.
class GpuReplica {
 public:
  /// `runtime` must outlive this.
  GpuReplica(cuda::Runtime& runtime, std::int32_t device);
  ~GpuReplica();
  GpuReplica(const GpuReplica&) = delete;
  GpuReplica& operator=(const GpuReplica&) = delete;

  /// Makes the model and builds it on the device; spec().device is filled in.
  void build(ModelFactory& factory, const ModelSpec& spec);
  /// What the model was built with.
  [[nodiscard]] const ModelSpec& spec() const { return spec_; }
  [[nodiscard]] Model& model() { return *model_; }

  /// Starts a step on the batch, which may be null; returns once enqueued. The batch is borrowed
  /// until the finish() of this step.
  void submit(const Batch* batch, const StepPlan& plan);
  /// Waits, asleep, for the oldest step that is not finished.
  [[nodiscard]] StepSums finish();

 private:
  struct InFlight {
    cuda::PinnedBuffer<StepSums> sums;
    cuda::Event done;
    std::exception_ptr error;
  };

  [[nodiscard]] InFlight& new_step();
  void launch(const Batch& batch, const StepPlan& plan, StepSums& sums);

  cuda::Runtime& runtime_;
  const std::int32_t device_;
  cuda::Stream stream_;
  ModelSpec spec_;
  std::unique_ptr<Model> model_;
  // Lists, between which steps are moved: a steady run allocates nothing.
  std::list<InFlight> in_flight_;  ///< oldest first
  std::list<InFlight> free_;
};

}  // namespace slackline::gpu
