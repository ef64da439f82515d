#pragma once

#include <slackline/clock.h>
#include <slackline/options.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace slackline::gpu {

/// In which a device must have ended what it is waited for. The clock must outlive whatever waits.
struct StepDeadline {
  Clock& clock;
  std::chrono::seconds limit{0};  ///< 0: none
};

template <class Options>
Option<Options> step_deadline_option() {
  return option<Options, std::int32_t>(
             "step_deadline_s", &Options::step_deadline_s,
             "in which the GPU must have ended a step, from when those before it have ended; 0: it "
             "is waited for without limit")
      .range(0, 86400)
      .unit("s");
}

/// Asks `is_done` until it says so, with a `pause` behind each question, both of which may throw.
/// Returns false if that was not within the deadline.
[[nodiscard]] bool wait_within(const StepDeadline& deadline, const std::function<bool()>& is_done,
                               const std::function<void()>& pause);

/// A moment asleep: short against a step, long against a question.
void sleep_a_moment(Clock& clock);

/// "device 0: step 7 has not ended within 300 s ([strategy] step_deadline_s)".
[[nodiscard]] std::string overdue(std::int32_t device, const std::string& work,
                                  const StepDeadline& deadline);

}  // namespace slackline::gpu
