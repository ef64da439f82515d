#include <slackline/collective.h>
#include <slackline/error.h>

#include <algorithm>
#include <cassert>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace slackline {
namespace {

/// Floats that are summed over all ranks before the next ones: their total, 8 KiB, stays in the
/// first-level cache, so that each array is read from memory once and written once.
constexpr std::size_t kTile = 2048;

/// Floats in a cache line. The parts of the ranks end with one, lest two ranks write to it: exactly
/// so if the arrays begin with one, and else but for the one line at each border.
constexpr std::size_t kLine = 64 / sizeof(float);

/// Where the ranks of one process meet.
class ThreadGroup {
 public:
  ThreadGroup(std::int32_t size, Clock& clock)
      : clock_(clock),
        arrays_(static_cast<std::size_t>(size)),
        parts_(arrays_.size(), std::vector<std::span<float>>(arrays_.size())) {}

  [[nodiscard]] std::size_t size() const noexcept { return arrays_.size(); }

  void all_reduce_sum(std::size_t rank, std::span<float> values) {
    std::unique_lock lock(mutex_);
    arrays_[rank] = values;
    meet_or_abort(lock);
    // Every rank has got here or will: nobody may leave before all have done their part, not even
    // when one aborts, as the others read and write its array.
    lock.unlock();
    const std::string problem = problem_of_sizes();
    if (problem.empty()) sum_part(rank);
    lock.lock();
    meet(lock);
    if (!problem.empty()) throw DeviceError(problem);
  }

  void abort(std::size_t rank) noexcept {
    {
      const std::lock_guard lock(mutex_);
      if (!aborted_by_.has_value()) aborted_by_ = rank;
    }
    clock_.notify_all(changed_);
  }

 private:
  /// Counts the caller in. True if it was the last one, on whom the others waited.
  [[nodiscard]] bool arrive() {
    if (++arrived_ < arrays_.size()) return false;
    arrived_ = 0;
    ++meetings_;
    clock_.notify_all(changed_);
    return true;
  }

  // std::ref, as a std::function of the lambdas themselves may allocate.

  /// Waits for all ranks.
  void meet(std::unique_lock<std::mutex>& lock) {
    const auto is_over = [this, meeting = meetings_] { return meetings_ != meeting; };
    if (!arrive()) clock_.wait(lock, changed_, std::nullopt, std::ref(is_over));
  }

  /// Waits for all ranks, or throws if one aborted before the last one came.
  void meet_or_abort(std::unique_lock<std::mutex>& lock) {
    const auto is_over = [this, meeting = meetings_] { return meetings_ != meeting; };
    const auto is_decided = [&] { return is_over() || aborted_by_.has_value(); };
    if (!aborted_by_.has_value()) {
      if (arrive()) return;
      clock_.wait(lock, changed_, std::nullopt, std::ref(is_decided));
      if (is_over()) return;
    }
    throw DeviceError(text("all-reduce of ", size(), " ranks: rank ", *aborted_by_, " aborted"));
  }

  /// Empty if the arrays are equally long.
  [[nodiscard]] std::string problem_of_sizes() const {
    for (std::size_t rank = 1; rank < size(); ++rank) {
      if (arrays_[rank].size() != arrays_[0].size()) {
        return text("all-reduce: rank 0 has ", arrays_[0].size(), " values and rank ", rank,
                    " has ", arrays_[rank].size(), "; every rank must have as many");
      }
    }
    return {};
  }

  void sum_part(std::size_t rank) {
    const std::size_t values = arrays_[rank].size();
    const std::size_t lines = (values + kLine - 1) / kLine;
    const auto border = [&](std::size_t part) {
      return std::min(values, part * lines / size() * kLine);
    };
    const std::size_t begin = border(rank);
    const std::size_t length = border(rank + 1) - begin;
    std::vector<std::span<float>>& parts = parts_[rank];
    for (std::size_t i = 0; i < size(); ++i) parts[i] = arrays_[i].subspan(begin, length);
    sum_in_rank_order(parts);
  }

  Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_;  ///< meetings_ or aborted_by_
  std::size_t arrived_ = 0;          ///< ranks that wait for the others
  std::uint64_t meetings_ = 0;       ///< how often all have met
  std::optional<std::size_t> aborted_by_;
  std::vector<std::span<float>> arrays_;  ///< of each rank; constant between two meetings of a call
  std::vector<std::vector<std::span<float>>> parts_;  ///< of all arrays, that each rank sums
};

class ThreadRank final : public Collective {
 public:
  ThreadRank(std::shared_ptr<ThreadGroup> group, std::int32_t rank)
      : group_(std::move(group)), rank_(rank) {}

  [[nodiscard]] std::int32_t rank() const override { return rank_; }
  [[nodiscard]] std::int32_t size() const override {
    return static_cast<std::int32_t>(group_->size());
  }
  void all_reduce_sum(std::span<float> values, [[maybe_unused]] void* stream) override {
    assert(stream == nullptr);
    group_->all_reduce_sum(static_cast<std::size_t>(rank_), values);
  }
  void abort() noexcept override { group_->abort(static_cast<std::size_t>(rank_)); }

 private:
  const std::shared_ptr<ThreadGroup> group_;
  const std::int32_t rank_;
};

}  // namespace

void sum_in_rank_order(std::span<const std::span<float>> values) {
  if (values.empty()) return;
  const std::size_t size = values.front().size();
  for (std::size_t begin = 0; begin < size; begin += kTile) {
    const std::size_t length = std::min(kTile, size - begin);
    const std::span<float> total = values.front().subspan(begin, length);
    for (const std::span<float> behind : values.subspan(1)) {
      assert(behind.size() == size);
      for (std::size_t i = 0; i < length; ++i) total[i] += behind[begin + i];
    }
    for (const std::span<float> behind : values.subspan(1)) {
      std::ranges::copy(total, behind.subspan(begin, length).begin());
    }
  }
}

std::vector<std::unique_ptr<Collective>> make_thread_group(std::int32_t size, Clock& clock) {
  assert(size >= 1);
  const auto group = std::make_shared<ThreadGroup>(size, clock);
  std::vector<std::unique_ptr<Collective>> ranks;
  ranks.reserve(static_cast<std::size_t>(size));
  for (std::int32_t rank = 0; rank < size; ++rank) {
    ranks.push_back(std::make_unique<ThreadRank>(group, rank));
  }
  return ranks;
}

}  // namespace slackline
