#include "messages.h"

#include <algorithm>
#include <cassert>

namespace slackline::group {
namespace {

/// Bytes in a cache line, with which slices end.
constexpr std::size_t kLine = 64;

/// That rank 0 sends to `rank`, one of the others.
std::span<std::byte> slice(std::span<std::byte> bytes, std::size_t rank, std::size_t ranks) {
  const std::size_t lines = (bytes.size() + kLine - 1) / kLine;
  const auto border = [&](std::size_t i) {
    return std::min(bytes.size(), i * lines / (ranks - 1) * kLine);
  };
  return bytes.subspan(border(rank - 1), border(rank) - border(rank - 1));
}

}  // namespace

void Messages::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  const std::size_t size = mine.size();
  assert(all.size() == size * channel_.size());
  const bool is_short = size <= Channel::kMessage;
  channel_.meet(Call::kAllGather, size, is_short ? mine : std::span<const std::byte>());
  const auto place = [&](std::size_t rank) { return all.subspan(rank * size, size); };
  std::ranges::copy(mine, place(rank_).begin());
  if (is_short) {
    for (std::size_t i = 0; i < channel_.size(); ++i) {
      std::ranges::copy(channel_.message(i), place(i).begin());
    }
    return;
  }
  channel_.transfer([&] {
    for (std::size_t i = 0; i < channel_.size(); ++i) {
      if (i == rank_) continue;
      channel_.peer(i).send_on(mine);
      channel_.peer(i).receive_on(place(i));
    }
  });
}

void Messages::broadcast(std::span<std::byte> bytes) {
  channel_.meet(Call::kBroadcast, bytes.size());
  const auto slice_of = [&](std::size_t rank) { return slice(bytes, rank, channel_.size()); };
  channel_.transfer([&] {
    for (std::size_t i = 0; i < channel_.size(); ++i) {
      Channel::Peer& peer = channel_.peer(i);
      if (i == rank_) continue;
      if (rank_ == 0) {
        peer.send_on(slice_of(i));
      } else if (i == 0) {
        peer.receive_on(slice_of(rank_));
      } else {
        peer.send_on(slice_of(rank_).first(channel_.peer(0).received));
        peer.receive_on(slice_of(i));
      }
    }
  });
}

}  // namespace slackline::group
