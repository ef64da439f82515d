#include "exchange.h"

#include <algorithm>
#include <array>
#include <utility>

namespace slackline::group {
namespace {

/// Floats of each other rank that may wait until those of all are there: what arrives while others
/// are a little behind, and while this rank adds.
constexpr std::size_t kWindow = 128 * 1024;
/// Floats that are added at once: they stay in the first-level cache. Divides the window.
constexpr std::size_t kTile = 2048;
/// Floats in a cache line, with which slices end.
constexpr std::size_t kLine = 16;

}  // namespace

Exchange::Exchange(std::size_t rank, std::vector<Descriptor> sockets, Watch& watch)
    : rank_(rank), channel_(rank, std::move(sockets), watch), windows_(channel_.size()) {
  for (std::size_t i = 0; i < size(); ++i) {
    if (i != rank_) windows_[i].resize(kWindow);
  }
}

void Exchange::all_reduce_sum(std::span<float> values) {
  meet(values.size());
  const Slice own = slice(rank_, values.size());
  std::size_t summed = 0;
  channel_.transfer([&] {
    add_up(values, own, summed);
    for (std::size_t i = 0; i < size(); ++i) {
      if (i == rank_) continue;
      const Slice theirs = slice(i, values.size());
      next_to_send(channel_.peer(i), values, theirs, own, summed);
      next_to_receive(i, values, theirs, own, summed);
    }
  });
}

void Exchange::meet(std::size_t values) {
  const auto begin = std::chrono::steady_clock::now();
  channel_.meet(Call::kAllReduce, values);
  waited_ns_ += std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
}

Exchange::Slice Exchange::slice(std::size_t rank, std::size_t values) const {
  const std::size_t lines = (values + kLine - 1) / kLine;
  const auto border = [&](std::size_t i) { return std::min(values, i * lines / size() * kLine); };
  return {border(rank), border(rank + 1) - border(rank)};
}

/// Adds what has come from all, tile by tile, into this rank's slice.
void Exchange::add_up(std::span<float> values, Slice own, std::size_t& summed) {
  std::size_t here = own.size;
  for (std::size_t i = 0; i < size(); ++i) {
    if (i != rank_) here = std::min(here, channel_.peer(i).received / sizeof(float));
  }
  while (summed < here) {
    // A part of a tile is left until it is whole, or the last one; so no tile crosses the window's
    // end.
    const std::size_t length = std::min(kTile, own.size - summed);
    if (here - summed < length) return;
    const std::span<float> target = values.subspan(own.begin + summed, length);
    std::array<float, kTile> total;
    for (std::size_t i = 0; i < size(); ++i) {
      const float* const from = i == rank_ ? target.data() : windows_[i].data() + summed % kWindow;
      if (i == 0) {
        std::copy_n(from, length, total.data());
      } else {
        for (std::size_t j = 0; j < length; ++j) total[j] += from[j];
      }
    }
    std::copy_n(total.data(), length, target.data());
    summed += length;
  }
}

/// First this rank's part of their slice, then the sums of this rank's.
void Exchange::next_to_send(Channel::Peer& peer, std::span<float> values, Slice theirs, Slice own,
                            std::size_t summed) const {
  if (!peer.out.empty()) return;
  const auto bytes = [&](std::size_t begin, std::size_t count) {
    return std::as_bytes(values.subspan(begin, count));
  };
  const std::size_t parts = theirs.size * sizeof(float);
  if (peer.sent < parts) {
    peer.out = bytes(theirs.begin, theirs.size).subspan(peer.sent);
  } else {
    peer.out = bytes(own.begin, summed).subspan(peer.sent - parts);
  }
  peer.out = peer.out.first(std::min(peer.out.size(), Channel::kMost));
  peer.sent += peer.out.size();
}

/// First their part of this rank's slice, as far as the window has room, then the sums of theirs.
/// Those may overwrite this rank's part, as they were made of it.
void Exchange::next_to_receive(std::size_t from, std::span<float> values, Slice theirs, Slice own,
                               std::size_t summed) {
  Channel::Peer& peer = channel_.peer(from);
  if (!peer.in.empty()) return;
  const std::size_t parts = own.size * sizeof(float);
  if (peer.received < parts) {
    const std::span<std::byte> window = std::as_writable_bytes(std::span(windows_[from]));
    const std::size_t at = peer.received % window.size();
    const std::size_t room =
        std::min(parts, summed * sizeof(float) + window.size()) - peer.received;
    peer.in = window.subspan(at, std::min(room, window.size() - at));
  } else {
    peer.in = std::as_writable_bytes(values.subspan(theirs.begin, theirs.size))
                  .subspan(peer.received - parts);
  }
  peer.in = peer.in.first(std::min(peer.in.size(), Channel::kMost));
}

}  // namespace slackline::group
