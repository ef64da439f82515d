#pragma once

#include <slackline/export.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace slackline {

/// One replica's end of the exchange that keeps replicas in step: what a mirrored Strategy sums
/// gradients through. Between threads it is ThreadGroup's; NCCL and MPI are others.
///
/// Threads    each rank has its own object, used by one caller at a time; all ranks must make the
///            same calls in the same order.
/// Errors     DeviceError at every rank that waits or comes later, once any rank aborted.
class SLACKLINE_API Collective {
 public:
  Collective() = default;
  Collective(const Collective&) = delete;
  Collective& operator=(const Collective&) = delete;
  virtual ~Collective();

  [[nodiscard]] virtual std::int32_t rank() const = 0;
  [[nodiscard]] virtual std::int32_t size() const = 0;

  /// Replaces `values`, as many at every rank, by their sums over all ranks. `stream` is the
  /// device's, as in Device::stream: with one, returns once enqueued; without, waits until done.
  virtual void all_reduce_sum(std::span<float> values, void* stream) = 0;

  /// This rank will not take part any more: the others must not wait for it. Any thread.
  virtual void abort() noexcept = 0;
};

/// Adds up in rank order, element by element: ((v[0] + v[1]) + v[2]) + …, into every one of them.
/// The same additions as those of R micro-batches that are accumulated one after another, so the
/// same bits.
SLACKLINE_API void sum_in_rank_order(std::span<const std::span<float>> values);

/// The ranks of one process, each on a thread of its own, that reduce by sum_in_rank_order().
SLACKLINE_API std::vector<std::unique_ptr<Collective>> make_thread_group(std::int32_t size);

}  // namespace slackline
