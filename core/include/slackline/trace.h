#pragma once

#include <slackline/clock.h>
#include <slackline/export.h>

#include <cstdint>

namespace slackline {

/// One line of a run's timeline (trace.json): what one thread, buffer or engine did, and when.
/// A trace is opened once in a run, for some of its steps. While it is not open, which is nearly
/// always, every call returns at once and keeps nothing.
///
/// Tracks are shown in the order of the data's way, which is read from the words of their names:
/// "input 3", "reader", "host prefetch", "device 0 copy" or "device 0 upload", "device 0 prefetch",
/// "launch", "device 0 compute" or "replica 0", any others, "loop".
///
/// Lifecycle  lives as long as the run; Host::track() finds or makes it.
/// Threads    any.
/// Errors     none. A track keeps a bounded number of events; trace.json says how many later ones
///            were left out.
class SLACKLINE_API TraceTrack {
 public:
  static constexpr std::uint64_t kNoBatch = ~std::uint64_t{0};

  virtual ~TraceTrack();

  /// Whether anything is kept: ask before computing what only the trace needs.
  [[nodiscard]] virtual bool is_open() const noexcept = 0;

  /// Something took from `begin` to `end`, which is about now. Spans of a track do not overlap,
  /// unless one is wholly inside the other. `name` is kept as a pointer: a literal. `batch` is
  /// Batch::index where the span is about one batch: the spans of a batch are linked by arrows.
  ///
  /// What had begun before the trace was opened is kept from its opening on; what had not ended
  /// when it was closed is left out.
  virtual void span(const char* name, Clock::Time begin, Clock::Time end,
                    std::uint64_t batch = kNoBatch) noexcept = 0;

  /// A quantity has this value from now on: the depth of a buffer, a learned sleep in ms. `name` is
  /// kept as a pointer: a literal. Values that are not finite are left out.
  virtual void count(const char* name, Clock::Time at, double value) noexcept = 0;
};

}  // namespace slackline
