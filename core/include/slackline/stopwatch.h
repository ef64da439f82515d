#pragma once

#include <chrono>
#include <utility>

namespace slackline {

/// Cuts time into laps with no gap between them: their sum is the time since construction.
class Stopwatch {
 public:
  using Clock = std::chrono::steady_clock;

  /// Time since the previous lap, or since construction.
  Clock::duration lap() {
    const auto now = Clock::now();
    return now - std::exchange(mark_, now);
  }

  /// When the last lap ended, or construction.
  [[nodiscard]] Clock::time_point mark() const { return mark_; }

 private:
  Clock::time_point mark_ = Clock::now();
};

}  // namespace slackline
