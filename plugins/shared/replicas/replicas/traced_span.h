#pragma once

#include <slackline/trace.h>

#include <cstdint>
#include <optional>

namespace slackline {

/// A span of a timeline: from its construction to its destruction. While the trace is not open, the
/// clock is not even asked.
class TracedSpan {
 public:
  /// As in TraceTrack::span(). Track and clock must outlive this.
  TracedSpan(TraceTrack& track, const char* name, const Clock& clock,
             std::uint64_t batch = TraceTrack::kNoBatch)
      : track_(track), name_(name), clock_(clock), batch_(batch) {
    if (track.is_open()) begin_ = clock.now();
  }
  ~TracedSpan() {
    if (begin_.has_value()) track_.span(name_, *begin_, clock_.now(), batch_);
  }
  TracedSpan(const TracedSpan&) = delete;
  TracedSpan& operator=(const TracedSpan&) = delete;

 private:
  TraceTrack& track_;
  const char* const name_;
  const Clock& clock_;
  const std::uint64_t batch_;
  std::optional<Clock::Time> begin_;
};

}  // namespace slackline
