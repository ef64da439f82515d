#pragma once

#include <slackline/metrics.h>

#include <chrono>
#include <cstdint>

namespace slackline {

/// Some steps in a row, added up: what a log says at each of its points.
struct StepInterval {
  std::uint64_t steps = 0;
  StepTimes times;
  StepSums sums;

  StepInterval& operator+=(const StepRecord& record) {
    ++steps;
    times.input_wait += record.times.input_wait;
    times.submit += record.times.submit;
    times.device_wait += record.times.device_wait;
    sums += record.sums;
    return *this;
  }
  StepInterval& operator+=(const StepInterval& other) {
    steps += other.steps;
    times.input_wait += other.times.input_wait;
    times.submit += other.times.submit;
    times.device_wait += other.times.device_wait;
    sums += other.sums;
    return *this;
  }

  /// Infinite if the steps took no time.
  [[nodiscard]] double images_per_s() const {
    return static_cast<double>(sums.samples) / std::chrono::duration<double>(times.total()).count();
  }
  /// How much of the steps' time this part of it is.
  [[nodiscard]] double percent(std::chrono::nanoseconds part) const {
    return 100 * static_cast<double>(part.count()) / static_cast<double>(times.total().count());
  }
};

}  // namespace slackline
