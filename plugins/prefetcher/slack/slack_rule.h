#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace slackline {

/// How long to sleep before a burst of fetches: the rule of tf.data's experimental_slack, as
/// TensorFlow's prefetch_dataset_op.cc has it since May 2019. A burst is `period` elements, one for
/// each device.
///
/// The *slack* is how long the last element of a burst lay in the buffer until it was taken, plus
/// the sleep: what the input could have slept without anybody waiting for it. Before the first
/// element of each burst the input sleeps a fifth of it (`factor`).
///
/// With steps of T, bursts that take P to produce and room for B bursts, the slack settles at
/// B * T - P as long as the sleep is shorter than the idle time T - P, and otherwise where the
/// sleep is just that: a deep buffer makes slack sleep all idle time away. `max_sleep` is our bound
/// against that; upstream has none. Where it bites, what is added to the time in the buffer is the
/// sleep as it was, so that the slack stays a measured time.
///
/// Errors travel through the buffer too, and upstream counts them on one side only: they were
/// produced, but are not among the elements returned. So, where a burst is more than one element,
/// each error moves the element that is measured one place on, from the last of a burst to the
/// first of the next. We keep that: a run ends at its first error, and bad samples that are skipped
/// never get here.
///
/// Threads    a value; whoever shares one locks.
class SlackRule {
 public:
  struct Settings {
    double factor = 0.2;                   ///< kSleepFactor of prefetch_dataset_op.cc; 0..1
    std::chrono::nanoseconds max_sleep{};  ///< 0 for none
    std::uint64_t period = 1;              ///< elements of a burst
  };

  explicit SlackRule(const Settings& settings) : settings_(settings) {}

  /// The sleep before an element. `produced` counts those before it, errors among them.
  [[nodiscard]] std::chrono::nanoseconds sleep_before(std::uint64_t produced) const noexcept {
    return produced % settings_.period == 0 ? sleep() : std::chrono::nanoseconds(0);
  }

  /// An element that is no error was taken after so much time in the buffer. Returns whether it
  /// ended a burst, and the slack is a new one.
  bool taken(std::chrono::nanoseconds in_buffer) noexcept {
    if (++returned_ % settings_.period != 0) return false;
    slack_ = sleep() + in_buffer;
    return true;
  }

  [[nodiscard]] std::chrono::nanoseconds slack() const noexcept { return slack_; }

 private:
  [[nodiscard]] std::chrono::nanoseconds sleep() const noexcept {
    const auto wanted = std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double, std::nano>(slack_) * settings_.factor);
    return settings_.max_sleep.count() > 0 ? std::min(wanted, settings_.max_sleep) : wanted;
  }

  Settings settings_;
  std::chrono::nanoseconds slack_{};
  std::uint64_t returned_ = 0;  ///< elements taken that were no errors
};

}  // namespace slackline
