#include "nccl/mirrored_replica.h"

#include <array>
#include <cassert>
#include <exception>
#include <span>
#include <utility>

#include "process_group/rank_plan.h"

namespace slackline::nccl {

void MirroredReplica::connect(Api& api, Ranks& ranks, const CommunicatorSpec& communicator,
                              const gpu::ExchangePlan& exchange, std::function<void()> check_ranks,
                              Clock& clock) {
  assert(ranks_ == nullptr);
  const auto use_device = [&runtime = runtime_, device = device_] { runtime.use_device(device); };
  try {
    use_device();
    communicator_.emplace(api, ranks, communicator, use_device, std::move(check_ranks), clock);
    others_.emplace(ranks, *communicator_);
    exchange_.emplace(runtime_, replica_.stream(), *communicator_,
                      replica_.model().gradients().size(), exchange);
  } catch (const std::exception& error) {
    // The others wait for this one, and whoever calls cannot tell them yet.
    ranks.abort(error.what());
    throw;
  }
  replica_.join({.exchange = *exchange_, .peers = *others_, .replicas = ranks.size()});
  sums_.resize(static_cast<std::size_t>(ranks.size()));
  ranks_ = &ranks;
}

void MirroredReplica::submit(const Batch* batch, const StepPlan& plan) {
  if (plan.kind == StepKind::kTrain) {
    has_trained_ = true;
  } else {
    average_statistics();
  }
  replica_.submit(batch, plan);
}

StepSums MirroredReplica::finish() {
  const StepSums own = replica_.finish();
  return ranks_ == nullptr ? own : group::sum_over_ranks(*ranks_, own, sums_);
}

TensorStore& MirroredReplica::state() {
  average_statistics();
  replica_.wait();
  return replica_.model().state();
}

void MirroredReplica::average_statistics() {
  const std::span<float> statistics = replica_.model().statistics();
  if (!communicator_.has_value() || !std::exchange(has_trained_, false) || statistics.empty()) {
    return;
  }
  runtime_.use_device(device_);
  const std::array range{cuda::MemoryRange{statistics.data(), statistics.size_bytes()}};
  runtime_.enqueue({"average statistics", range, range}, replica_.stream(),
                   [this, statistics](cudaStream_t stream) {
                     communicator_->all_reduce_mean(statistics, stream);
                   });
}

}  // namespace slackline::nccl
