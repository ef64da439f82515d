#pragma once

// Ranks that are threads of one process.

#include <slackline/error.h>
#include <slackline/ranks.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace slackline::testing_support {

/// Where the threads meet.
class ThreadRanks {
 public:
  explicit ThreadRanks(std::int32_t size) : said_(static_cast<std::size_t>(size)) {
    for (std::int32_t rank = 0; rank < size; ++rank) {
      ranks_.push_back(std::make_unique<Rank>(*this, rank));
    }
  }

  Ranks& of(std::size_t rank) { return *ranks_[rank]; }

 private:
  class Rank final : public Ranks {
   public:
    Rank(ThreadRanks& group, std::int32_t rank) : group_(group), rank_(rank) {}
    [[nodiscard]] std::int32_t rank() const override { return rank_; }
    [[nodiscard]] std::int32_t size() const override {
      return static_cast<std::int32_t>(group_.said_.size());
    }
    [[nodiscard]] const std::string& host(std::int32_t /*rank*/) const override { return host_; }
    void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
      group_.said_[static_cast<std::size_t>(rank_)] = mine;
      group_.meet();
      for (std::size_t i = 0; i < group_.said_.size(); ++i) {
        if (group_.said_[i].size() != mine.size()) throw DeviceError("other sizes");
        std::ranges::copy(group_.said_[i],
                          all.begin() + static_cast<std::ptrdiff_t>(i * mine.size()));
      }
      group_.meet();
    }
    void broadcast(std::span<std::byte> bytes) override {
      group_.said_[static_cast<std::size_t>(rank_)] = bytes;
      group_.meet();
      if (group_.said_[0].size() != bytes.size()) throw DeviceError("other sizes");
      if (rank_ != 0) std::ranges::copy(group_.said_[0], bytes.begin());
      group_.meet();
    }
    void abort(const std::string& reason) noexcept override {
      const std::lock_guard lock(group_.mutex_);
      if (group_.aborted_.empty()) group_.aborted_ = reason;
      group_.met_.notify_all();
    }

   private:
    ThreadRanks& group_;
    const std::int32_t rank_;
    const std::string host_ = "here";
  };

  void meet() {
    std::unique_lock lock(mutex_);
    if (++here_ == said_.size()) {
      here_ = 0;
      ++meetings_;
      met_.notify_all();
      return;
    }
    met_.wait(lock,
              [this, meeting = meetings_] { return meetings_ != meeting || !aborted_.empty(); });
    if (!aborted_.empty()) throw DeviceError(aborted_);
  }

  std::vector<std::unique_ptr<Ranks>> ranks_;
  std::mutex mutex_;
  std::condition_variable met_;
  std::size_t here_ = 0;
  std::uint64_t meetings_ = 0;
  std::string aborted_;
  std::vector<std::span<const std::byte>> said_;
};

}  // namespace slackline::testing_support
