#pragma once

// Streams of batches that a test writes down in advance, and readers of streams.

#include <slackline/batch.h>
#include <slackline/error.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace slackline::testing_support {

/// A stream that follows a script, and remembers what became of its batches.
///
///     ScriptedStream upstream;
///     upstream.batches(3).fails("disk on fire").batches(1);
///
/// Batches are empty but for `index`, which counts them. Threads as BatchStream; the observers from
/// any thread.
class ScriptedStream final : public BatchStream {
 public:
  // The script, written before the first next().
  ScriptedStream& batches(int count) {
    for (int i = 0; i < count; ++i) script_.push_back({Act::kBatch, {}});
    return *this;
  }
  ScriptedStream& fails(std::string reason) {
    script_.push_back({Act::kFail, std::move(reason)});
    return *this;
  }
  /// next() waits here until cancel().
  ScriptedStream& blocks() {
    script_.push_back({Act::kBlock, {}});
    return *this;
  }

  [[nodiscard]] const Batch* next() override {
    std::unique_lock lock(mutex_);
    ++calls_;
    changed_.notify_all();
    if (cancelled_ || script_.empty()) return nullptr;
    const Line line = script_.front();
    script_.pop_front();
    switch (line.act) {
      case Act::kFail:
        throw DataError(line.reason);
      case Act::kBlock:
        is_blocked_ = true;
        changed_.notify_all();
        changed_.wait(lock, [this] { return cancelled_; });
        return nullptr;
      case Act::kBatch:
        break;
    }
    Batch& batch = made_.emplace_back();
    batch.index = made_.size() - 1;
    lent_.insert(&batch);
    most_lent_ = std::max(most_lent_, lent_.size());
    changed_.notify_all();
    return &batch;
  }

  void give_back(const Batch* batch) noexcept override {
    const std::lock_guard lock(mutex_);
    if (lent_.erase(batch) == 0) ++wrong_returns_;
    changed_.notify_all();
  }

  void cancel() noexcept override {
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
    }
    changed_.notify_all();
  }

  /// Waits until so many batches were handed out since the beginning.
  void wait_until_fetched(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return made_.size() >= count; });
  }
  /// Waits until next() was called so many times.
  void wait_until_asked(std::size_t times) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return calls_ >= times; });
  }
  /// Waits until next() waits in blocks().
  void wait_until_blocked() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_blocked_; });
  }

  [[nodiscard]] std::size_t fetched() const {
    const std::lock_guard lock(mutex_);
    return made_.size();
  }
  /// Calls of next() so far.
  [[nodiscard]] std::size_t asked() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  /// Batches handed out and not given back.
  [[nodiscard]] std::size_t lent() const {
    const std::lock_guard lock(mutex_);
    return lent_.size();
  }
  [[nodiscard]] std::size_t most_lent() const {
    const std::lock_guard lock(mutex_);
    return most_lent_;
  }
  /// Batches given back that were not lent.
  [[nodiscard]] std::size_t wrong_returns() const {
    const std::lock_guard lock(mutex_);
    return wrong_returns_;
  }
  [[nodiscard]] bool cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

 private:
  enum class Act { kBatch, kFail, kBlock };
  struct Line {
    Act act;
    std::string reason;
  };

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Line> script_;
  std::deque<Batch> made_;  ///< addresses stay
  std::set<const Batch*> lent_;
  std::size_t most_lent_ = 0;
  std::size_t wrong_returns_ = 0;
  std::size_t calls_ = 0;
  bool is_blocked_ = false;
  bool cancelled_ = false;
};

/// What one call of next() says: the index of the batch, which is given back at once, the reason of
/// an error, or "end".
inline std::string read_one(BatchStream& stream) {
  try {
    const Batch* const batch = stream.next();
    if (batch == nullptr) return "end";
    const std::string index = std::to_string(batch->index);
    stream.give_back(batch);
    return index;
  } catch (const Error& error) {
    return error.what();
  }
}

/// read_one() up to and including the end.
inline std::vector<std::string> read_all(BatchStream& stream) {
  std::vector<std::string> all;
  do {
    all.push_back(read_one(stream));
  } while (all.back() != "end");
  return all;
}

}  // namespace slackline::testing_support
