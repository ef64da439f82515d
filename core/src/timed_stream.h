#pragma once

#include <slackline/batch.h>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace slackline {

/// The stream that it holds, and how long its next() took in all.
///
/// Threads    as BatchStream; time() from any.
class TimedStream final : public BatchStream {
 public:
  explicit TimedStream(BatchStream& upstream) : upstream_(upstream) {}

  [[nodiscard]] const Batch* next() override {
    const auto begin = std::chrono::steady_clock::now();
    const Batch* const batch = upstream_.next();
    const auto taken = std::chrono::steady_clock::now() - begin;
    time_ns_.fetch_add(std::chrono::nanoseconds(taken).count(), std::memory_order_relaxed);
    return batch;
  }
  void give_back(const Batch* batch) noexcept override { upstream_.give_back(batch); }
  void cancel() noexcept override { upstream_.cancel(); }

  [[nodiscard]] std::chrono::nanoseconds time() const {
    return std::chrono::nanoseconds(time_ns_.load(std::memory_order_relaxed));
  }

 private:
  BatchStream& upstream_;
  std::atomic<std::int64_t> time_ns_{0};
};

}  // namespace slackline
