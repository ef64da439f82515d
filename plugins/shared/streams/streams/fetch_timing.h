#pragma once

#include <slackline/clock.h>
#include <slackline/host.h>

#include <chrono>
#include <cstdint>
#include <string>

namespace slackline {

/// Says when a BufferedStream fetches: how long its thread waits first, although there is room in
/// the buffer. It may learn from how long batches lay in the buffer.
///
/// Lifecycle  made for one stream, which owns it: any number of the first two, then report() once.
/// Threads    one call at a time: the stream holds its lock, so nothing here may block.
/// Errors     none from the first two.
class FetchTiming {
 public:
  FetchTiming() = default;
  FetchTiming(const FetchTiming&) = delete;
  FetchTiming& operator=(const FetchTiming&) = delete;
  virtual ~FetchTiming() = default;

  /// There is room: how long to sleep before upstream is asked. `produced` counts what upstream
  /// answered so far, batches and errors; the question that finds the end is asked like all others.
  [[nodiscard]] virtual std::chrono::nanoseconds sleep_before(std::uint64_t produced) noexcept = 0;

  /// The consumer takes a batch (not an error) at `now`, which was put into the buffer at `made`.
  virtual void taken(Clock::Time made, Clock::Time now) noexcept = 0;

  /// Reports what was decided and learned, under names that begin with `prefix`. How often and how
  /// long the thread slept is the stream's to report.
  virtual void report(Host& host, const std::string& prefix) const = 0;
};

}  // namespace slackline
