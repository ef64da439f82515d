#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "channel.h"

namespace slackline::group {

/// The gradients of one rank.
///
/// An all-reduce cuts the array into one slice for each rank: all send it their part of its slice,
/// it adds them up in rank order as they come, and sends the sums to all. Each value crosses a
/// rank's wire twice in either direction, whatever the number of ranks, as in a ring; but there it
/// could not be added in rank order, and would pass all ranks one after another.
///
/// Threads    one caller at a time; waited() by any thread.
class Exchange {
 public:
  Exchange(std::size_t rank, std::vector<Descriptor> sockets, Watch& watch);

  void all_reduce_sum(std::span<float> values);

  /// For the last rank to come, in all calls so far.
  [[nodiscard]] std::chrono::nanoseconds waited() const noexcept {
    return std::chrono::nanoseconds(waited_ns_.load());
  }

 private:
  struct Slice {
    std::size_t begin, size;
  };

  [[nodiscard]] std::size_t size() const noexcept { return channel_.size(); }
  void meet(std::size_t values);
  [[nodiscard]] Slice slice(std::size_t rank, std::size_t values) const;
  void add_up(std::span<float> values, Slice own, std::size_t& summed);
  void next_to_send(Channel::Peer& peer, std::span<float> values, Slice theirs, Slice own,
                    std::size_t summed) const;
  void next_to_receive(std::size_t from, std::span<float> values, Slice theirs, Slice own,
                       std::size_t summed);

  const std::size_t rank_;
  Channel channel_;
  std::vector<std::vector<float>> windows_;  ///< of each rank: received, and not yet added; a ring
  std::atomic<std::int64_t> waited_ns_{0};
};

}  // namespace slackline::group
