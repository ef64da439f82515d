#pragma once

#include <slackline/clock.h>
#include <slackline/strategy.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace slackline {

/// What was asked for, then what came of it.
struct Step {
  StepPlan plan;
  std::vector<const Batch*> batches;    ///< one for each device; null where it has none
  std::int32_t samples = 0;             ///< of all batches
  std::vector<StepSums> sums;           ///< one for each device; written by its thread
  std::atomic<bool> has_failed{false};  ///< for the use of the threads
};

/// Steps, computed in order by one or several threads, as a GPU computes them on its stream: the
/// caller's wait for the device is a real one. A steady run allocates nothing.
///
/// Lifecycle  construct, start(), then submit() and finish() in turns. Destruction waits for the
///            steps that any thread has begun; nobody can ask for those behind them any more.
/// Threads    one caller at a time.
/// Errors     what a thread throws in a step is rethrown by the finish() of that step, the first
///            thread's if several throw; the steps behind it are computed all the same.
class StepQueue {
 public:
  /// Computes the step, or the part of it that is this thread's. Concurrent calls are for different
  /// threads, and wait for each other if they like: what one thread begins, all do.
  using Compute = std::function<void(Step& step, std::size_t thread)>;

  explicit StepQueue(Clock& clock) : clock_(clock) {}
  ~StepQueue();
  StepQueue(const StepQueue&) = delete;
  StepQueue& operator=(const StepQueue&) = delete;

  /// Starts a thread for each of the names. Throws IoError if the system has none to give.
  void start(const std::vector<std::string>& thread_names, Compute compute);

  /// Returns once enqueued.
  void submit(std::span<const Batch* const> batches, const StepPlan& plan);

  /// Waits for the oldest step that is not finished; its sums are added in the order of the
  /// devices.
  [[nodiscard]] StepSums finish();

 private:
  struct Entry {
    Step step;
    std::vector<std::exception_ptr> errors;  ///< one for each thread
    std::size_t threads_left = 0;            ///< have not yet computed it
  };

  [[nodiscard]] Entry& at(std::uint64_t step) { return *ring_[step % ring_.size()]; }
  void grow();
  void compute_steps(std::size_t thread);

  Clock& clock_;
  Compute compute_;

  std::mutex mutex_;
  std::condition_variable submitted_or_stopping_;
  std::condition_variable computed_;          ///< a step, by all threads
  std::vector<std::unique_ptr<Entry>> ring_;  ///< steps not yet finished, whose addresses stay
  std::uint64_t submitted_ = 0;               ///< steps so far
  std::uint64_t begun_ = 0;                   ///< by any thread
  std::uint64_t finished_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace slackline
