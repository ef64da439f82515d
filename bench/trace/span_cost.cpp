#include "span_cost.h"

#include <chrono>
#include <cstddef>

#include "trace_recorder.h"

namespace slackline::bench {
namespace {

/// Nanoseconds for each of so many calls.
template <class Call>
double ns_per_call(std::size_t calls, const Call& call) {
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < calls; ++i) call(i);
  const auto time = std::chrono::steady_clock::now() - start;
  return std::chrono::duration<double, std::nano>(time).count() / static_cast<double>(calls);
}

}  // namespace

SpanCost span_cost(int rounds) {
  constexpr std::size_t kSpans = TraceRecorder::kEventsPerTrack;
  constexpr std::size_t kClosedCalls = 100 * kSpans;
  const Clock::Time moment = steady_clock().now();
  SpanCost out;
  for (int round = 0; round < rounds; ++round) {
    TraceRecorder recorder(steady_clock());
    TraceTrack& plain = recorder.track("plain");
    TraceTrack& timed = recorder.track("timed");
    const auto write = [&](std::size_t i) { plain.span("decode", moment, moment, i); };
    out.closed_ns.push_back(ns_per_call(kClosedCalls, write));
    recorder.open();
    out.open_ns.push_back(ns_per_call(kSpans, write));
    out.timed_ns.push_back(ns_per_call(kSpans, [&](std::size_t i) {
      const Clock::Time begin = steady_clock().now();
      timed.span("decode", begin, steady_clock().now(), i);
    }));
  }
  return out;
}

}  // namespace slackline::bench
