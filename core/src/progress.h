#pragma once

// What the user sees while a run goes on.

#include <slackline/metrics.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

namespace slackline {

/// "1.2 s", "3 min 20 s", "2 h 5 min".
std::string human_time(double seconds);
/// 1234567 as "1,234,567".
std::string with_commas(std::uint64_t number);

/// Rate, loss and remaining time of the training so far: on a terminal one line that overwrites
/// itself, elsewhere a plain line every `log_steps`.
///
/// Threads    one caller.
class Progress {
 public:
  Progress(std::ostream& out, bool is_terminal, std::int64_t log_steps)
      : out_(out), is_terminal_(is_terminal), log_steps_(log_steps) {}

  /// One more step is done. `steps_in_all` if it is known by now; `learning_rate` if it changes in
  /// the course of the run.
  void step(std::uint64_t steps_done, std::optional<std::uint64_t> steps_in_all,
            std::uint32_t epoch, const StepTimes& times, const StepSums& sums,
            std::optional<float> learning_rate);

  /// A line that stays.
  void line(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;

  std::ostream& out_;
  bool is_terminal_;
  std::int64_t log_steps_;
  bool line_open_ = false;
  Clock::time_point shown_{};
  // Since the last line was shown.
  StepTimes times_;
  StepSums sums_;
  std::uint64_t steps_ = 0;
};

}  // namespace slackline
