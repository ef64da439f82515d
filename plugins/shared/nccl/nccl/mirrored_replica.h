#pragma once

#include <slackline/clock.h>
#include <slackline/model.h>
#include <slackline/ranks.h>
#include <slackline/strategy.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuda/runtime.h"
#include "gpu_replica/bucket_exchange.h"
#include "gpu_replica/gpu_replica.h"
#include "nccl/communicator.h"

namespace slackline::nccl {

/// The replica of one rank, in step with those of the others: what is behind Strategy's methods of
/// the same names.
///
/// Lifecycle  construct, build(), connect(), then steps. Without connect() it is alone.
/// Threads    one caller at a time.
/// Errors     as GpuReplica and Communicator. What fails here is told to the other ranks.
class MirroredReplica {
 public:
  /// `runtime` must outlive this.
  MirroredReplica(cuda::Runtime& runtime, std::int32_t device, const gpu::StepDeadline& deadline)
      : runtime_(runtime), device_(device), replica_(runtime, device, deadline) {}

  void build(ModelFactory& factory, const ModelSpec& spec) { replica_.build(factory, spec); }
  /// What the model was built with.
  [[nodiscard]] const ModelSpec& spec() const { return replica_.spec(); }

  /// Meets the other ranks; `check_ranks` is Communicator's. All must outlive this.
  void connect(Api& api, Ranks& ranks, const CommunicatorSpec& communicator,
               const gpu::ExchangePlan& exchange, std::function<void()> check_ranks, Clock& clock);

  void submit(const Batch* batch, const StepPlan& plan);
  /// The sums are those of all ranks, added in their order.
  [[nodiscard]] StepSums finish();
  [[nodiscard]] TensorStore& state();

 private:
  class Others final : public gpu::Peers {
   public:
    Others(Ranks& ranks, Communicator& communicator) : ranks_(ranks), communicator_(communicator) {}
    void check() override { communicator_.check(); }
    void pause() override { communicator_.pause(); }
    void await_loss() override { communicator_.await_loss(); }
    void abort(const std::string& reason) noexcept override {
      ranks_.abort(reason);
      communicator_.abort();
    }

   private:
    Ranks& ranks_;
    Communicator& communicator_;
  };

  /// Each replica has seen other batches; evaluation and checkpoints use what all have seen.
  /// Returns once enqueued.
  void average_statistics();

  cuda::Runtime& runtime_;
  const std::int32_t device_;
  Ranks* ranks_ = nullptr;
  std::vector<StepSums> sums_;  ///< of each rank
  bool has_trained_ = false;    ///< since statistics were averaged

  // In this order: a communicator outlives the graphs that captured it, which are the model's.
  std::optional<Communicator> communicator_;
  std::optional<Others> others_;
  std::optional<gpu::BucketExchange> exchange_;
  gpu::GpuReplica replica_;
};

}  // namespace slackline::nccl
