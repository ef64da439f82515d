#pragma once

#include <slackline/export.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace slackline {

/// Time, threads and CPU work, as the moving parts of a run see them: what sleeps, waits with a
/// deadline or burns CPU does it here. The real clock is steady; SimulatedClock makes the same
/// threads go through hours in milliseconds, always in the same way.
///
/// A thread that takes part in simulated time must be started by start_thread(), and may block only
/// in wait() and join() (a mutex that is held for moments is fine). With the real clock this is
/// std::thread and std::condition_variable, and costs what they cost.
///
/// Threads    any.
class SLACKLINE_API Clock {
 public:
  using Time = std::chrono::steady_clock::time_point;

  virtual ~Clock();

  [[nodiscard]] virtual Time now() const = 0;

  /// Starts a thread, named for debuggers (the kernel keeps 15 characters). Throws IoError if the
  /// system has none to give. It must be joined by join(), or detached if it may never end.
  [[nodiscard]] virtual std::thread start_thread(const std::string& name,
                                                 std::function<void()> body) = 0;
  /// Waits until the thread has ended.
  virtual void join(std::thread& thread) = 0;

  /// Waits on `changed` until `ready()` or the deadline, and returns what `ready()` then says.
  /// `ready` is called with the lock held, which guards everything that it reads. Without a
  /// deadline it waits until `ready()`.
  virtual bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                    std::optional<Time> deadline, const std::function<bool()>& ready) = 0;

  /// Makes all that wait on `changed` look again.
  virtual void notify_all(std::condition_variable& changed) noexcept = 0;

  /// Uses so much CPU time on the calling thread: stands for real work in emulations.
  virtual void work(std::chrono::nanoseconds cpu_time) = 0;
};

/// std::chrono::steady_clock, and the machine's threads and CPUs.
SLACKLINE_API Clock& steady_clock();

}  // namespace slackline
