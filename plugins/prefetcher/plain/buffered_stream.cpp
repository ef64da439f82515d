#include "buffered_stream.h"

#include <slackline/error.h>

#include <cassert>
#include <system_error>
#include <utility>

namespace slackline {

BufferedStream::BufferedStream(BatchStream& upstream, BufferLimit limit, std::string name,
                               Host& host)
    : upstream_(upstream),
      host_(host),
      limit_name_(name + "_buffer_limit"),
      empty_name_(name + "_buffer_empty"),
      limit_(limit),
      ring_(static_cast<std::size_t>(limit.max_batches())) {
  assert(limit.batches() >= 1);
}

BufferedStream::~BufferedStream() {
  cancel();
  if (!producer_.joinable()) return;
  producer_.join();
  for (; size_ > 0; --size_) {
    const Element& element = ring_[front_];
    if (element.batch != nullptr) upstream_.give_back(element.batch);
    front_ = (front_ + 1) % ring_.size();
  }
  try {
    report();
  } catch (...) {  // a destructor may not throw, and the run is not worth less for a lost number
  }
}

const Batch* BufferedStream::next() {
  std::unique_lock lock(mutex_);
  if (!cancelled_ && !producer_.joinable()) start_producer();
  if (!cancelled_ && !finished_ && size_ == 0) ++times_empty_;
  while (!cancelled_ && !finished_ && size_ == 0) {
    limit_.record(0);
    changed_.wait(lock);
  }
  if (cancelled_ || size_ == 0) return nullptr;

  limit_.record(size_);
  const Element element = std::exchange(ring_[front_], {});
  front_ = (front_ + 1) % ring_.size();
  --size_;
  lock.unlock();
  changed_.notify_all();
  if (element.error) std::rethrow_exception(element.error);
  return element.batch;
}

void BufferedStream::cancel() noexcept {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  changed_.notify_all();
  upstream_.cancel();
}

void BufferedStream::start_producer() {
  try {
    producer_ = std::thread([this] { produce(); });
  } catch (const std::system_error& error) {
    throw IoError("prefetcher plain: cannot start a thread", error.code().value());
  }
}

void BufferedStream::produce() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return cancelled_ || size_ < limit_.batches(); });
      if (cancelled_) return;
    }
    Element element = fetch();
    const bool is_end = element.batch == nullptr && !element.error;
    {
      const std::lock_guard lock(mutex_);
      if (is_end) {
        finished_ = true;
      } else {
        // Also when cancelled: the destructor gives it back.
        ring_[(front_ + static_cast<std::size_t>(size_)) % ring_.size()] = std::move(element);
        ++size_;
      }
    }
    changed_.notify_all();
    if (is_end) return;
  }
}

/// Asks upstream, without the lock. The exception is published only after this thread has let go of
/// it, so that its last owner is the one who catches it.
BufferedStream::Element BufferedStream::fetch() {
  try {
    return {upstream_.next(), nullptr};
  } catch (...) {
    return {nullptr, std::current_exception()};
  }
}

void BufferedStream::report() {
  host_.report(limit_name_, static_cast<double>(limit_.batches()), "batches");
  host_.report(empty_name_, static_cast<double>(times_empty_), "times");
}

}  // namespace slackline
