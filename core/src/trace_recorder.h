#pragma once

// Keeps what a run's parts write to the tracks of its timeline, until it is written to trace.json.

#include <slackline/clock.h>
#include <slackline/trace.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "trace_json.h"

namespace slackline {

/// The tracks of a run.
///
/// Lifecycle  construct, track() as often as needed, open(), close(), snapshot(). Must outlive all
///            who hold a track.
/// Threads    any.
class TraceRecorder {
 public:
  /// A worker writes a few events for each sample: enough for a hundred steps of 64 on two workers.
  /// Bounds a track's memory to 1 MiB, and its part of trace.json to about 5 MB.
  static constexpr std::size_t kEventsPerTrack = std::size_t{1} << 15;

  explicit TraceRecorder(const Clock& clock, std::size_t events_per_track = kEventsPerTrack);
  TraceRecorder(const TraceRecorder&) = delete;
  TraceRecorder& operator=(const TraceRecorder&) = delete;
  ~TraceRecorder();

  /// The track of this name, made if there is none yet.
  [[nodiscard]] TraceTrack& track(std::string_view name);

  /// Begins to keep events. Once: later calls do nothing.
  void open();
  /// Ends it. Does nothing if it is not open.
  void close();
  [[nodiscard]] bool is_open() const noexcept { return open_.load(std::memory_order_relaxed); }

  /// What was kept so far; nothing before open().
  [[nodiscard]] Trace snapshot() const;

 private:
  class Track;

  const Clock& clock_;
  const std::size_t events_per_track_;
  std::atomic<bool> open_{false};
  mutable std::mutex mutex_;
  std::optional<Clock::Time> begin_, end_;
  std::map<std::string, std::unique_ptr<Track>, std::less<>> tracks_;
};

}  // namespace slackline
