#pragma once

#include <slackline/clock.h>
#include <slackline/export.h>

#include <cstdint>

namespace slackline {

/// One line of a run's timeline (trace.json): what one thread, buffer or engine did, and when.
/// While the trace is not open, which is nearly always, every call returns at once.
///
/// Threads    any. A track lives as long as the run.
class SLACKLINE_API TraceTrack {
 public:
  static constexpr std::uint64_t kNoBatch = ~std::uint64_t{0};

  virtual ~TraceTrack();

  /// Whether anything is kept: ask before computing what only the trace needs.
  [[nodiscard]] virtual bool is_open() const noexcept = 0;

  /// Something took from `begin` to `end`. Spans of a track do not overlap, unless one is wholly
  /// inside the other. `name` is kept as a pointer: a literal. `batch` is Batch::index where the
  /// span is about one batch: the spans of a batch are linked by arrows.
  virtual void span(const char* name, Clock::Time begin, Clock::Time end,
                    std::uint64_t batch = kNoBatch) noexcept = 0;

  /// A quantity has this value from now on: the depth of a buffer, a learned sleep in ms.
  virtual void count(const char* name, Clock::Time at, double value) noexcept = 0;
};

}  // namespace slackline
