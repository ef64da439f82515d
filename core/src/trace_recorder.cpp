#include "trace_recorder.h"

#include <new>
#include <vector>

namespace slackline {

/// Threads    any; a lock that only writers of the same track share, and snapshot().
class TraceRecorder::Track final : public TraceTrack {
 public:
  Track(const std::atomic<bool>& open, std::size_t most_events)
      : open_(open), most_events_(most_events) {}

  bool is_open() const noexcept override { return open_.load(std::memory_order_relaxed); }

  void span(const char* name, Clock::Time begin, Clock::Time end,
            std::uint64_t batch) noexcept override {
    if (is_open()) keep(spans_, {name, begin, end, batch});
  }

  void count(const char* name, Clock::Time at, double value) noexcept override {
    if (is_open()) keep(counts_, {name, at, value});
  }

  [[nodiscard]] Trace::Track snapshot(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    return {.name = name, .spans = spans_, .counts = counts_, .left_out = left_out_};
  }

 private:
  template <class Event>
  void keep(std::vector<Event>& events, const Event& event) noexcept {
    const std::lock_guard lock(mutex_);
    if (spans_.size() + counts_.size() >= most_events_) {
      ++left_out_;
      return;
    }
    try {
      // All at once, so that no span ever waits for a copy. The system lends the pages one by one,
      // as they are first written to.
      if (events.capacity() == 0) events.reserve(most_events_);
      events.push_back(event);
    } catch (const std::bad_alloc&) {
      ++left_out_;
    }
  }

  const std::atomic<bool>& open_;
  const std::size_t most_events_;
  mutable std::mutex mutex_;
  std::vector<Trace::Span> spans_;
  std::vector<Trace::Count> counts_;
  std::uint64_t left_out_ = 0;
};

TraceRecorder::TraceRecorder(const Clock& clock, std::size_t events_per_track)
    : clock_(clock), events_per_track_(events_per_track) {}

TraceRecorder::~TraceRecorder() = default;

TraceTrack& TraceRecorder::track(std::string_view name) {
  const std::lock_guard lock(mutex_);
  auto found = tracks_.find(name);
  if (found == tracks_.end()) {
    found = tracks_.emplace(name, std::make_unique<Track>(open_, events_per_track_)).first;
  }
  return *found->second;
}

void TraceRecorder::open() {
  const std::lock_guard lock(mutex_);
  if (begin_.has_value()) return;
  begin_ = clock_.now();
  open_.store(true, std::memory_order_relaxed);
}

void TraceRecorder::close() {
  const std::lock_guard lock(mutex_);
  if (!is_open()) return;
  open_.store(false, std::memory_order_relaxed);
  end_ = clock_.now();
}

Trace TraceRecorder::snapshot() const {
  const std::lock_guard lock(mutex_);
  Trace out;
  if (!begin_.has_value()) return out;
  out.begin = *begin_;
  out.end = end_.value_or(clock_.now());
  for (const auto& [name, track] : tracks_) out.tracks.push_back(track->snapshot(name));
  return out;
}

}  // namespace slackline
