#pragma once

#include <slackline/model.h>
#include <slackline/strategy.h>

#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "cuda/handles.h"
#include "gpu_replica/device_wait.h"

namespace slackline::gpu {

/// The other replicas, for one that may wait for them: they may be lost.
///
/// Threads    one caller at a time.
/// Errors     DeviceError, naming it, once one is lost.
class Peers {
 public:
  Peers() = default;
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;
  virtual ~Peers();

  virtual void check() = 0;
  /// The same behind a moment asleep: a wait for the device is made of these.
  virtual void pause() = 0;
  /// The device has failed, which may be how a loss shows first: waits a while for the news of one.
  /// Returns if there is none.
  virtual void await_loss() = 0;
  /// This replica has failed, and the others must not wait for it.
  virtual void abort(const std::string& reason) noexcept = 0;
};

/// What makes a replica one of several. All must outlive it.
struct Mirror {
  GradientExchange& exchange;
  Peers& peers;
  std::int32_t replicas = 1;
};

/// One replica of a model on one GPU: its stream, and the steps that are on their way.
///
/// Lifecycle  construct, build(), join() if there are other replicas, then submit() and finish() in
///            turns. Destruction waits for the steps that are still on their way, as finish() does.
/// Threads    one caller at a time.
/// Errors     what a step's launch throws is rethrown by its finish(); so is a device's failure.
///            After a device's failure, or that of a step or of another replica if there are
///            others, no step can be finished. Nor can any behind one that missed the deadline:
///            the others are told, and if the device is not done even then, it is abandoned
///            (cuda::Runtime), with the model.
class GpuReplica {
 public:
  /// `runtime` must outlive this.
  GpuReplica(cuda::Runtime& runtime, std::int32_t device, const StepDeadline& deadline);
  ~GpuReplica();
  GpuReplica(const GpuReplica&) = delete;
  GpuReplica& operator=(const GpuReplica&) = delete;

  /// Makes the model and builds it on the device; spec().device is filled in.
  void build(ModelFactory& factory, const ModelSpec& spec);
  /// What the model was built with.
  [[nodiscard]] const ModelSpec& spec() const { return spec_; }
  [[nodiscard]] Model& model() { return *model_; }
  /// Where its work is enqueued.
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }

  /// From here on, steps are parts of those of all replicas.
  void join(const Mirror& mirror) { mirror_.emplace(mirror); }

  /// Starts a step on the batch, which may be null; returns once enqueued. The batch is borrowed
  /// until the finish() of this step.
  void submit(const Batch* batch, const StepPlan& plan);
  /// Waits, asleep, for the oldest step that is not finished.
  [[nodiscard]] StepSums finish();

  /// Waits, asleep, for everything that was enqueued, until the deadline or the loss of another
  /// replica.
  void wait();

 private:
  struct InFlight {
    cuda::PinnedBuffer<StepSums> sums;
    cuda::Event done;
    std::exception_ptr error;
    StepKind kind{};
    std::uint64_t number = 0;  ///< of a training step, from 0
  };

  [[nodiscard]] InFlight& new_step();
  void launch(const Batch* batch, const StepPlan& plan, StepSums& sums);
  void wait_for(const cuda::Event& event, const InFlight* step);
  [[nodiscard]] bool is_done(const cuda::Event& event);
  [[noreturn]] void give_up(const cuda::Event& event, const std::string& work);
  [[nodiscard]] bool ends_soon(const cuda::Event& event);
  void end_steps();

  cuda::Runtime& runtime_;
  const std::int32_t device_;
  const StepDeadline deadline_;
  cuda::Stream stream_;
  ModelSpec spec_;
  std::unique_ptr<Model> model_;
  std::optional<Mirror> mirror_;
  std::exception_ptr failure_;  ///< behind which no step can be finished
  cuda::Event done_;            ///< for wait()
  // Lists, between which steps are moved: a steady run allocates nothing.
  std::list<InFlight> in_flight_;  ///< oldest first
  std::list<InFlight> free_;
};

}  // namespace slackline::gpu
