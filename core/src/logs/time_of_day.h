#pragma once

#include <chrono>

namespace slackline {

/// Labels moments of a run with the time of day. That is read once, by the caller, and then counted
/// on by the steady clock: labels are in order, and their distances are true intervals, also if
/// somebody sets the clock of the machine.
class TimeOfDay {
 public:
  using Time = std::chrono::system_clock::time_point;

  /// `start` is now.
  explicit TimeOfDay(Time start) : start_(start) {}

  [[nodiscard]] Time start() const { return start_; }
  [[nodiscard]] Time now() const {
    return start_ + std::chrono::duration_cast<Time::duration>(std::chrono::steady_clock::now() -
                                                               steady_start_);
  }

 private:
  Time start_;
  std::chrono::steady_clock::time_point steady_start_ = std::chrono::steady_clock::now();
};

}  // namespace slackline
