#pragma once

#include <slackline/clock.h>
#include <slackline/export.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace slackline {

/// One replica's end of the exchange that keeps replicas in step: what a mirrored Strategy sums
/// gradients through.
///
/// Lifecycle  made for all ranks at once; then any number of calls, the same at every rank in the
///            same order, until one aborts.
/// Threads    each rank has its own object, used by one caller at a time; abort() by any thread.
/// Errors     DeviceError at every rank that waits or comes later, once any rank aborted.
class SLACKLINE_API Collective {
 public:
  Collective() = default;
  Collective(const Collective&) = delete;
  Collective& operator=(const Collective&) = delete;
  virtual ~Collective();

  [[nodiscard]] virtual std::int32_t rank() const = 0;  ///< 0..size()-1. Constant.
  [[nodiscard]] virtual std::int32_t size() const = 0;  ///< Constant.

  /// Replaces `values`, as many at every rank, by their sums over all ranks. `stream` is the
  /// device's, as in Device::stream: with one, returns once enqueued; without, waits until done.
  virtual void all_reduce_sum(std::span<float> values, void* stream) = 0;

  /// This rank will not take part any more: the others must not wait for it. For good.
  virtual void abort() noexcept = 0;
};

/// Adds up in rank order, element by element: ((v[0] + v[1]) + v[2]) + …, into every one of them.
/// The same additions as those of R micro-batches that are accumulated one after another, so the
/// same bits. The arrays do not overlap, and are equally long.
SLACKLINE_API void sum_in_rank_order(std::span<const std::span<float>> values);

/// The ranks 0..size-1 of one process, each for a thread of its own of `clock`, which outlives
/// them. They reduce memory of the host (`stream` is null), to the bits of sum_in_rank_order(),
/// each a part of it. A call succeeds at every rank or at none; no call allocates.
///
/// Errors     DeviceError at every rank, as Collective says, and if the ranks' arrays are not
///            equally long: that call has changed nothing, and further ones may follow.
[[nodiscard]] SLACKLINE_API std::vector<std::unique_ptr<Collective>> make_thread_group(
    std::int32_t size, Clock& clock);

}  // namespace slackline
