#pragma once

#include <slackline/batch.h>

#include <cstdint>
#include <memory>

namespace slackline {

/// Which of a run's streams is wrapped.
struct StreamEnd {
  static constexpr std::int32_t kHost = -1;

  std::int32_t device = kHost;    ///< index of the device, or kHost for the last buffer before
                                  ///< batches are dealt out to devices
  std::int32_t device_count = 1;  ///< a burst of the host end is one batch for each device

  bool uploads = true;         ///< device ends: next() of `upstream` copies to the device; on a
                               ///< device that reads the host's memory there is no copy
  bool has_input_work = true;  ///< false if the batches are made up: nothing is read or decoded

  [[nodiscard]] bool is_host() const noexcept { return device == kHost; }
};

/// Decides *when* batches are fetched and uploaded: where input time is hidden, or not.
///
/// Lifecycle  construct, then wrap() each stream of the run. The wrapped stream is destroyed
///            before `upstream`, and before the Prefetcher.
/// Threads    wrap() from one thread; the streams as BatchStream says.
/// Errors     an error of `upstream` must reach the caller of next() in its place in the order.
class SLACKLINE_API Prefetcher {
 public:
  static constexpr const char* kKind = "prefetcher";
  static constexpr std::uint32_t kInterfaceVersion = 1;

  Prefetcher() = default;
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;
  virtual ~Prefetcher();

  /// A stream of the same batches in the same order, fetched when this strategy thinks best.
  /// Called once for the host end and once for each device. Returns without fetching.
  [[nodiscard]] virtual std::unique_ptr<BatchStream> wrap(BatchStream& upstream,
                                                          const StreamEnd& end) = 0;
};

}  // namespace slackline
