#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "channel.h"

namespace slackline::group {

/// What one rank tells the others about the run, and they tell it.
///
/// An all-gather is one message from each to each. A broadcast cuts the bytes into one slice for
/// each rank but the first, which sends each its slice, and they pass it on to each other as it
/// comes: the bytes leave rank 0 once, however many ranks there are.
///
/// Threads    one caller at a time.
class Messages {
 public:
  Messages(std::size_t rank, std::vector<Descriptor> sockets, Watch& watch)
      : rank_(rank), channel_(rank, std::move(sockets), watch) {}

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all);
  void broadcast(std::span<std::byte> bytes);

 private:
  const std::size_t rank_;
  Channel channel_;
};

}  // namespace slackline::group
