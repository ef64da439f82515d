#pragma once

// An input that takes time on a Clock, and a reader that takes time, for prefetchers on a
// SimulatedClock.

#include <slackline/batch.h>
#include <slackline/clock.h>
#include <slackline/error.h>
#include <slackline/simulated_clock.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "batch_streams.h"

namespace slackline::testing_support {

using std::chrono::milliseconds;

/// Milliseconds since the clock began.
inline double ms(Clock::Time time) {
  return std::chrono::duration<double, std::milli>(time.time_since_epoch()).count();
}

/// A stream whose batches, errors and end take time, and that notes when it was asked.
///
///     ClockedStream upstream(clock, milliseconds(5));
///     upstream.batches(3).fails("disk on fire").batches(1);
class ClockedStream final : public BatchStream {
 public:
  ClockedStream(Clock& clock, milliseconds time) : clock_(clock), time_(time) {}

  // The script, written before the first next().
  ClockedStream& batches(int count) {
    for (int i = 0; i < count; ++i) script_.push_back({});
    return *this;
  }
  ClockedStream& fails(std::string reason) {
    script_.push_back({std::move(reason), false});
    return *this;
  }
  /// next() waits here until cancel().
  ClockedStream& blocks() {
    script_.push_back({{}, true});
    return *this;
  }

  [[nodiscard]] const Batch* next() override {
    std::unique_lock lock(mutex_);
    asked_ms.push_back(ms(clock_.now()));
    const Line line = script_.empty() ? Line{} : script_.front();
    const auto deadline =
        line.blocks ? std::nullopt : std::optional<Clock::Time>(clock_.now() + time_);
    if (clock_.wait(lock, changed_, deadline, [this] { return cancelled_; })) return nullptr;
    if (script_.empty()) return nullptr;
    script_.pop_front();
    if (!line.error.empty()) throw DataError(line.error);
    Batch& batch = made_.emplace_back();
    batch.index = made_.size() - 1;
    lent.insert(&batch);
    return &batch;
  }

  void give_back(const Batch* batch) noexcept override {
    const std::lock_guard lock(mutex_);
    if (lent.erase(batch) == 0) ++wrong_returns;
  }

  void cancel() noexcept override {
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
    }
    clock_.notify_all(changed_);
  }

  // On a SimulatedClock one thread runs at a time: these are read without more ado.
  std::vector<double> asked_ms;  ///< when next() was called
  std::set<const Batch*> lent;   ///< handed out and not given back
  int wrong_returns = 0;         ///< batches given back that were not lent

 private:
  struct Line {
    std::string error;
    bool blocks = false;
  };

  Clock& clock_;
  const milliseconds time_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Line> script_;
  std::deque<Batch> made_;  ///< addresses stay
  bool cancelled_ = false;
};

/// A training loop: takes a batch, gives it back and computes for `step`, so often. Returns how
/// long it waited for each batch.
inline std::vector<double> train(BatchStream& stream, SimulatedClock& clock, int steps,
                                 milliseconds step) {
  std::vector<double> waits_ms;
  for (int i = 0; i < steps; ++i) {
    const double begin_ms = ms(clock.now());
    read_one(stream);
    waits_ms.push_back(ms(clock.now()) - begin_ms);
    clock.sleep(step);
  }
  return waits_ms;
}

}  // namespace slackline::testing_support
