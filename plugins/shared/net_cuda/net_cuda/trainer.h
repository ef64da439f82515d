#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/handles.h"
#include "net_cuda/executor.h"

namespace slackline::net::cuda {

/// How a step's work reaches the device.
enum class Launch : std::uint8_t {
  kStream,  ///< piece by piece: upstream's eager mode
  kGraph,   ///< as one CUDA graph, captured when a batch size comes for the second time: upstream's
            ///< graph mode. The first time loads what the driver loads when it is first used, which
            ///< a capture must not
};

/// Whole steps on an Executor: batches in, sums out, with the learning rate on its way.
///
/// A step is: the batch is taken over, the schedule is written if the device does not know the
/// rate, then forward pass, backward pass and update; and the sums are copied out. Only the middle
/// is in the graph, as it alone is the same for every step.
///
/// Threads    one caller at a time.
/// Errors     as Executor.
class Trainer {
 public:
  /// All must outlive this.
  Trainer(Executor& executor, Launch launch, Runtime& runtime, cudaStream_t stream);

  // All of these return once enqueued; `sums` is in pinned memory.

  void train(const DeviceBatch& batch, std::int32_t global_batch_size, const UpdateRule& rule,
             StepSums& sums);
  /// A replica's part of a step: gradients go through `exchange`, always the same one, while the
  /// backward pass goes on. Without samples they are zeros.
  ///
  /// Its graph holds the exchange. Collectives of NCCL that are captured at one rank and not at
  /// another may wait for each other for good, so only steps are captured for which all `replicas`
  /// have full batches: that is known at each of them, and the same at all.
  void train(const DeviceBatch& batch, std::int32_t global_batch_size, const UpdateRule& rule,
             StepSums& sums, GradientExchange& exchange, std::int32_t replicas);
  void evaluate(const DeviceBatch& batch, StepSums& sums);
  /// train() in two parts, between which gradients may be reduced.
  void forward_backward(const DeviceBatch& batch, std::int32_t global_batch_size, StepSums& sums);
  void update(const UpdateRule& rule);

 private:
  /// What a step's graph does.
  enum class Part : std::uint8_t { kTrain, kForwardBackward, kUpdate, kEvaluate };
  struct Work {
    Part part;
    std::int32_t size = 0, global_batch_size = 0;
    GradientExchange* exchange = nullptr;
    [[nodiscard]] auto key() const { return std::tuple(part, size, global_batch_size, exchange); }
    friend bool operator<(const Work& a, const Work& b) { return a.key() < b.key(); }
  };

  void run(const Work& work, Launch launch);
  void enqueue(const Work& work);
  void compute_gradients(const Work& work);
  void write_schedule(const UpdateRule& rule);
  void copy_sums(StepSums& sums);

  Executor& executor_;
  const Launch launch_;
  Runtime& runtime_;
  const cudaStream_t stream_;

  /// Schedules on their way to the device: more than steps can be in flight.
  static constexpr std::size_t kInFlight = 256;
  struct InFlight {
    slackline::cuda::Event copied;
    bool is_used = false;
  };
  slackline::cuda::PinnedBuffer<Schedule> schedules_;
  std::vector<InFlight> in_flight_;
  std::size_t next_slot_ = 0;
  std::optional<UpdateRule> last_rule_;  ///< of the last update

  std::map<Work, slackline::cuda::Graph> graphs_;  ///< null: was once launched as a stream
};

}  // namespace slackline::net::cuda
