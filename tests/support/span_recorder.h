#pragma once

// Hears what a profiler is told of the host's threads.

#include <slackline/live_span.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

namespace slackline::testing_support {

/// While it lives, which must be longer than that of any thread that has spans.
class SpanRecorder final : public SpanObserver {
 public:
  SpanRecorder() { observe_spans(this); }
  ~SpanRecorder() override { observe_spans(nullptr); }

  void begin(const char* name) noexcept override {
    const std::lock_guard lock(mutex_);
    names_.insert(name);
    said_[std::this_thread::get_id()] += std::string("(") + name + " ";
  }
  void end() noexcept override {
    const std::lock_guard lock(mutex_);
    said_[std::this_thread::get_id()] += ")";
  }

  /// Of all threads.
  std::set<std::string> names() {
    const std::lock_guard lock(mutex_);
    return names_;
  }
  /// This thread's spans as they began and ended: "(read )".
  std::string here() {
    const std::lock_guard lock(mutex_);
    return said_[std::this_thread::get_id()];
  }
  /// Those of all other threads, one thread's behind another's.
  std::string elsewhere() {
    const std::lock_guard lock(mutex_);
    std::string out;
    for (const auto& [thread, said] : said_) {
      if (thread != std::this_thread::get_id()) out += said;
    }
    return out;
  }

 private:
  std::mutex mutex_;
  std::set<std::string> names_;
  std::map<std::thread::id, std::string> said_;
};

}  // namespace slackline::testing_support
