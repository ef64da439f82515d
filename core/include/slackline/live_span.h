#pragma once

#include <slackline/export.h>

namespace slackline {

/// Is told what threads of the host do, while they do it: for a profiler that shows it beside what
/// a device does. (A run's own timeline has TraceTrack.)
///
/// Threads    any; the spans of one thread are nested.
class SLACKLINE_API SpanObserver {
 public:
  SpanObserver() = default;
  SpanObserver(const SpanObserver&) = delete;
  SpanObserver& operator=(const SpanObserver&) = delete;
  virtual ~SpanObserver();

  /// The calling thread begins something; `name` ends with a zero byte, and is valid for the call.
  virtual void begin(const char* name) noexcept = 0;
  /// It has ended what it began last.
  virtual void end() noexcept = 0;
};

/// From now on `observer` is told of every LiveSpan of the process, instead of the one before; null
/// for none. It stays valid until the process ends.
SLACKLINE_API void observe_spans(SpanObserver* observer) noexcept;

/// What the calling thread does between its construction and its destruction. Without an observer,
/// it costs a look at a pointer.
class SLACKLINE_API LiveSpan {
 public:
  explicit LiveSpan(const char* name) noexcept;
  ~LiveSpan();
  LiveSpan(const LiveSpan&) = delete;
  LiveSpan& operator=(const LiveSpan&) = delete;

 private:
  SpanObserver* const observer_;
};

}  // namespace slackline
