#include "gpu_replica/device_wait.h"

#include <slackline/error.h>

#include <condition_variable>
#include <mutex>

namespace slackline::gpu {

bool wait_within(const StepDeadline& deadline, const std::function<bool()>& is_done,
                 const std::function<void()>& pause) {
  const Clock::Time begin = deadline.clock.now();
  for (;;) {
    // Before the question: the device goes on while this process is stopped.
    const bool is_late =
        deadline.limit.count() > 0 && deadline.clock.now() - begin >= deadline.limit;
    if (is_done()) return true;
    if (is_late) return false;
    pause();
  }
}

void sleep_a_moment(Clock& clock) {
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  clock.wait(lock, never, clock.now() + std::chrono::microseconds(50), [] { return false; });
}

std::string overdue(std::int32_t device, const std::string& work, const StepDeadline& deadline) {
  return text("device ", device, ": ", work, " has not ended within ", deadline.limit.count(),
              " s ([strategy] step_deadline_s)");
}

}  // namespace slackline::gpu
