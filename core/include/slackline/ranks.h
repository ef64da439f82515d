#pragma once

#include <slackline/export.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace slackline {

/// Which process of a run this one is.
struct RankPlan {
  std::int32_t rank = 0;  ///< 0..size-1
  std::int32_t size = 1;  ///< processes that train together
  /// False if this process is none of them: somebody must start it as each of them, as
  /// `slackline run` does.
  bool is_launched = true;
};

/// The processes that train together, each with devices of its own: what one of them tells the
/// others about the run. Gradients take another way, which is the Strategy's own.
///
/// Lifecycle  made by Strategy::connect(), and as long-lived as the strategy.
/// Threads    one caller at a time, beside whatever the strategy exchanges meanwhile; abort() by
///            any thread. The calls are the same at every rank, in the same order.
/// Errors     DeviceError, naming the rank and its host, from the calls that wait and from all
///            later ones, once a rank is lost or aborts.
class SLACKLINE_API Ranks {
 public:
  Ranks() = default;
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
  virtual ~Ranks();

  [[nodiscard]] virtual std::int32_t rank() const = 0;  ///< 0..size()-1. Constant.
  [[nodiscard]] virtual std::int32_t size() const = 0;  ///< Constant.
  [[nodiscard]] virtual const std::string& host(std::int32_t rank) const = 0;  ///< Constant.

  /// Tells `mine`, as many bytes at every rank, to all: `all` is what each told, in rank order,
  /// size() times as many bytes. Waits until it is there. Does not allocate.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;

  /// Replaces the bytes, as many at every rank, by those of rank 0. Waits until they are there (at
  /// rank 0: until they are sent). Does not allocate.
  virtual void broadcast(std::span<std::byte> bytes) = 0;

  /// This rank will not take part any more: the others must not wait for it, and their errors give
  /// the reason. For good.
  virtual void abort(const std::string& reason) noexcept = 0;
};

}  // namespace slackline
