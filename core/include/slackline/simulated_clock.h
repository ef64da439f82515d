#pragma once

#include <slackline/clock.h>

#include <memory>

namespace slackline {

/// A clock whose time stands still while any thread runs, and jumps to the next deadline when all
/// of them wait: tests and simulations of what takes time are exact, quick, and the same on every
/// machine.
///
/// work() is done by `cpus` CPUs that all working threads share evenly: with three at work on two
/// CPUs, each is at 2/3 of its speed.
///
/// Lifecycle  construct on the thread that takes part as the first; threads of start_thread() must
///            have ended, and be joined or detached, before destruction.
/// Threads    any that takes part.
/// Errors     std::logic_error from wait() or join() if every thread waits and there is no
///            deadline: nobody could ever go on.
class SLACKLINE_API SimulatedClock final : public Clock {
 public:
  explicit SimulatedClock(int cpus);
  ~SimulatedClock() override;

  /// Starts at steady_clock's epoch.
  [[nodiscard]] Time now() const override;
  [[nodiscard]] std::thread start_thread(const std::string& name,
                                         std::function<void()> body) override;
  void join(std::thread& thread) override;
  bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
            std::optional<Time> deadline, const std::function<bool()>& ready) override;
  void notify_all(std::condition_variable& changed) noexcept override;
  void work(std::chrono::nanoseconds cpu_time) override;

  /// Lets so much time pass for the calling thread.
  void sleep(std::chrono::nanoseconds time);
  /// CPU time used by work() so far, all threads.
  [[nodiscard]] std::chrono::nanoseconds cpu_time() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slackline
