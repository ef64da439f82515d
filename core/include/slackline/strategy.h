#pragma once

#include <slackline/batch.h>
#include <slackline/model.h>
#include <slackline/ranks.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace slackline {

/// Makes the replicas of the configured model.
class SLACKLINE_API ModelFactory {
 public:
  virtual ~ModelFactory();
  [[nodiscard]] virtual std::unique_ptr<Model> make_model() = 0;
};

enum class StepKind : std::uint32_t { kTrain = 0, kEvaluate = 1 };

/// What to do with the batches of one step.
struct StepPlan {
  StepKind kind = StepKind::kTrain;
  UpdateRule rule;  ///< only for kTrain
  /// Of the step, over the devices of all processes; what a gradient is the mean over. 0: those of
  /// the batches submitted.
  std::int32_t samples = 0;
};

/// Owns the devices and the replicas on them, hands each its batch and keeps replicas in step.
///
/// A run may have several processes, its ranks, each with a strategy of its own. Then all of them
/// make the same calls of build(), connect(), submit(), finish() and state(), in the same order.
///
/// Lifecycle  construct, build(), connect(), upload() once for each device and stream, then
///            submit() and finish() in turns. Every submitted step must be finished before
///            destruction. Without steps, connect() may be left out.
/// Threads    one caller at a time for all methods; the streams as BatchStream says.
/// Errors     those of the model, rethrown by finish() for the step they happened in; a device
///            that failed gives DeviceError.
class SLACKLINE_API Strategy {
 public:
  static constexpr const char* kKind = "strategy";
  static constexpr std::uint32_t kInterfaceVersion = 1;

  Strategy() = default;
  Strategy(const Strategy&) = delete;
  Strategy& operator=(const Strategy&) = delete;
  virtual ~Strategy();

  /// The processes of the run. Constant, and known before they meet. By default, this one.
  [[nodiscard]] virtual RankPlan ranks() const;

  /// Batches for each step, one for each device of this process. Constant.
  [[nodiscard]] virtual std::int32_t device_count() const = 0;

  /// Threads of its own that enqueue the work of each device: part of the budget of CPUs. 0 if the
  /// caller's thread does. Constant.
  [[nodiscard]] virtual std::int32_t launch_threads_per_device() const = 0;

  /// Makes a replica on each device. `spec.max_batch_size` is for one device, `spec.cpu_threads`
  /// for all of them together; `spec.device` is filled in here.
  virtual void build(ModelFactory& factory, const ModelSpec& spec) = 0;

  /// Meets the other processes: waits until all are there. `configuration`, at most 256 bytes, is a
  /// digest of everything on which they must agree. Valid as long as the strategy; null if this
  /// process is alone, as it is by default.
  ///
  /// Errors     ConfigError if another rank has another configuration, DeviceError if one does not
  ///            come: at every rank.
  [[nodiscard]] virtual Ranks* connect(const std::string& configuration);

  /// A stream of the same batches in the memory of `device`; `host` must outlive it. Null if the
  /// device reads the host's memory, so that nothing has to be copied.
  [[nodiscard]] virtual std::unique_ptr<BatchStream> upload(BatchStream& host,
                                                            std::int32_t device) = 0;

  /// Starts a step on one batch for each device, in device order; returns once enqueued. The
  /// batches are borrowed until the finish() of this step. Replicas that have no batch at an
  /// uneven end get nullptr, and so may all replicas of a rank.
  virtual void submit(std::span<const Batch* const> batches, const StepPlan& plan) = 0;

  /// Waits for the oldest step that is not finished, and returns its sums over all devices of
  /// all ranks.
  [[nodiscard]] virtual StepSums finish() = 0;

  /// What the replicas hold in common: statistics are averaged over them first, over those of all
  /// ranks if steps were trained since, and writing writes to all of this process. With no step in
  /// flight. Valid as long as the strategy.
  [[nodiscard]] virtual TensorStore& state() = 0;
};

}  // namespace slackline
