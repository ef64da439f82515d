#include "streams/buffered_stream.h"

#include <slackline/error.h>
#include <slackline/live_span.h>

#include <cassert>
#include <optional>
#include <utility>

namespace slackline {

std::string name_of(const StreamEnd& end) {
  return end.is_host() ? "host" : text("device ", end.device);
}
std::string report_prefix_of(const StreamEnd& end) {
  return end.is_host() ? "host_" : text("device_", end.device, "_");
}
TraceTrack& prefetch_track_of(const StreamEnd& end, Host& host) {
  return host.track(name_of(end) + " prefetch");
}

BufferedStream::BufferedStream(BatchStream& upstream, BufferLimit limit, const StreamEnd& end,
                               Host& host, std::unique_ptr<FetchTiming> timing)
    : upstream_(upstream),
      host_(host),
      clock_(host.clock()),
      track_(prefetch_track_of(end, host)),
      thread_name_(name_of(end) + " prefetch"),
      report_prefix_(report_prefix_of(end)),
      timing_(std::move(timing)),
      limit_(limit),
      ring_(static_cast<std::size_t>(limit.max_batches())) {
  assert(limit.batches() >= 1);
}

BufferedStream::~BufferedStream() {
  cancel();
  if (!producer_.joinable()) return;
  clock_.join(producer_);
  while (size_ > 0) {
    const Element element = pop();
    if (element.batch != nullptr) upstream_.give_back(element.batch);
  }
  try {
    report();
  } catch (...) {  // a destructor may not throw, and the run is not worth less for a lost number
  }
}

const Batch* BufferedStream::next() {
  std::unique_lock lock(mutex_);
  const auto has_answer = [this] { return cancelled_ || finished_ || size_ > 0; };
  if (!cancelled_ && !producer_.joinable()) {
    producer_ = clock_.start_thread(thread_name_, [this] { produce(); });
  }
  if (!has_answer()) {
    ++times_empty_;
    limit_.record(0);  // once says it: a second 0 in a row changes nothing
    clock_.wait(lock, changed_, std::nullopt, has_answer);
  }
  if (cancelled_ || size_ == 0) return nullptr;

  limit_.record(size_);
  const Element element = pop();
  if (timing_ != nullptr && element.batch != nullptr) timing_->taken(element.made, clock_.now());
  lock.unlock();
  clock_.notify_all(changed_);
  if (element.error) std::rethrow_exception(element.error);
  return element.batch;
}

void BufferedStream::cancel() noexcept {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  clock_.notify_all(changed_);
  upstream_.cancel();
}

void BufferedStream::produce() {
  std::unique_lock lock(mutex_);
  for (std::uint64_t produced = 0; !finished_; ++produced) {
    clock_.wait(lock, changed_, std::nullopt,
                [this] { return cancelled_ || size_ < limit_.batches(); });
    if (timing_ != nullptr && !cancelled_) sleep(lock, timing_->sleep_before(produced));
    if (cancelled_) return;

    lock.unlock();
    Element element = fetch();
    lock.lock();
    if (element.batch == nullptr && !element.error) {
      finished_ = true;
    } else {
      push(std::move(element));  // also when cancelled: the destructor gives it back
    }
    clock_.notify_all(changed_);
  }
}

void BufferedStream::sleep(std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds time) {
  if (time.count() <= 0) return;
  const LiveSpan span("sleep");
  const Clock::Time begin = clock_.now();
  clock_.wait(lock, changed_, begin + time, [this] { return cancelled_; });
  const Clock::Time end = clock_.now();
  ++sleeps_;
  slept_ += end - begin;
  track_.span("sleep", begin, end);
}

/// Asks upstream, without the lock. The exception is published only after this thread has let go of
/// it, so that its last owner is the one who catches it.
BufferedStream::Element BufferedStream::fetch() {
  const LiveSpan span("fetch");
  const Clock::Time begin = clock_.now();
  Element element;
  try {
    element.batch = upstream_.next();
  } catch (...) {
    element.error = std::current_exception();
  }
  element.made = clock_.now();
  track_.span("fetch", begin, element.made,
              element.batch != nullptr ? element.batch->index : TraceTrack::kNoBatch);
  return element;
}

void BufferedStream::push(Element element) {
  ring_[(front_ + static_cast<std::size_t>(size_)) % ring_.size()] = std::move(element);
  ++size_;
  trace_depth();
}

BufferedStream::Element BufferedStream::pop() {
  Element element = std::exchange(ring_[front_], {});
  front_ = (front_ + 1) % ring_.size();
  --size_;
  trace_depth();
  return element;
}

void BufferedStream::trace_depth() noexcept {
  if (track_.is_open()) track_.count("buffer", clock_.now(), static_cast<double>(size_));
}

void BufferedStream::report() {
  host_.report(report_prefix_ + "buffer_limit", static_cast<double>(limit_.batches()), "batches");
  host_.report(report_prefix_ + "buffer_empty", static_cast<double>(times_empty_), "times");
  if (timing_ == nullptr) return;
  host_.report(report_prefix_ + "sleeps", static_cast<double>(sleeps_), "times");
  host_.report(report_prefix_ + "slept", std::chrono::duration<double>(slept_).count(), "s");
  timing_->report(host_, report_prefix_);
}

}  // namespace slackline
