#pragma once

#include <slackline/clock.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace slackline::nccl {

/// A call that may never return, on a thread of its own. NCCL waits without limit where it ends a
/// communicator: until all graphs that captured it are gone, which an error of the device that
/// stays may prevent, and for its own threads, which may wait for a process that was stopped.
///
/// Lifecycle  construction begins the call; destruction waits for it, and after a time leaves its
///            thread behind (slackline/left_behind.h).
class LastCall {
 public:
  /// `call` owns what it uses, as the clock it must live as long as the process if it is left
  /// behind. `name` is for whoever reads that; `patience` begins with the destruction.
  LastCall(Clock& clock, std::string name, std::chrono::nanoseconds patience,
           std::function<void()> call);
  ~LastCall();
  LastCall(const LastCall&) = delete;
  LastCall& operator=(const LastCall&) = delete;

 private:
  /// Outlives this if the thread is left behind.
  struct Progress {
    std::mutex mutex;
    std::condition_variable changed;
    bool has_returned = false;
  };

  Clock& clock_;
  const std::string name_;
  const std::chrono::nanoseconds patience_;
  const std::shared_ptr<Progress> progress_ = std::make_shared<Progress>();
  std::thread thread_;
};

}  // namespace slackline::nccl
