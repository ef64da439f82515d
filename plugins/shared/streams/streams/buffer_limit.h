#pragma once

#include <algorithm>
#include <cstdint>

namespace slackline {

/// How many batches a buffer may hold: a fixed number, or one that grows by the rule of tf.data's
/// prefetch (AUTOTUNE). That rule doubles the limit when the consumer finds the buffer empty, but
/// only if the buffer was full since the last time: an input that is slow throughout never fills
/// it, and more room would not help. The limit never shrinks.
///
/// Threads    a value; whoever shares one locks.
class BufferLimit {
 public:
  static constexpr std::int64_t kLinearFrom = 2048;  ///< from here on it grows by this much

  static BufferLimit fixed(std::int64_t batches) { return {Phase::kFixed, batches, batches}; }

  /// Starts at 1 and grows to at most `max_batches`, which is 1 or more.
  static BufferLimit autotuned(std::int64_t max_batches) {
    return {Phase::kFilling, 1, max_batches};
  }

  [[nodiscard]] std::int64_t batches() const noexcept { return batches_; }
  [[nodiscard]] std::int64_t max_batches() const noexcept { return max_batches_; }

  /// Tells how many batches the consumer found: before it took one, or 0 when it must wait.
  void record(std::int64_t found_batches) noexcept {
    if (phase_ == Phase::kFilling && found_batches == batches_) {
      phase_ = Phase::kWasFull;
    } else if (phase_ == Phase::kWasFull && found_batches == 0) {
      batches_ = std::min(max_batches_, batches_ + std::min(batches_, kLinearFrom));
      phase_ = Phase::kFilling;
    }
  }

 private:
  enum class Phase { kFixed, kFilling, kWasFull };

  BufferLimit(Phase phase, std::int64_t batches, std::int64_t max_batches)
      : phase_(phase), batches_(batches), max_batches_(max_batches) {}

  Phase phase_;
  std::int64_t batches_;
  std::int64_t max_batches_;
};

}  // namespace slackline
