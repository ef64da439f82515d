#include "exchange.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace slackline::group {
namespace {

constexpr std::uint32_t kMagic = 0x444c5347;  ///< "GSLD"

/// Floats of each other rank that may wait until those of all are there: what arrives while others
/// are a little behind, and while this rank adds.
constexpr std::size_t kWindow = 128 * 1024;
/// Floats that are added at once: they stay in the first-level cache. Divides the window.
constexpr std::size_t kTile = 2048;
/// Floats in a cache line, with which slices end.
constexpr std::size_t kLine = 16;
/// Bytes that one system call moves, so that no connection keeps the others waiting.
constexpr std::size_t kMost = 256 * 1024;

}  // namespace

Exchange::Exchange(std::size_t rank, std::vector<Descriptor> data, Watch& watch)
    : rank_(rank), watch_(watch), peers_(data.size()), polled_(data.size() + 1) {
  for (std::size_t i = 0; i < size(); ++i) {
    peers_[i].socket = std::move(data[i]);
    if (i != rank_) peers_[i].window.resize(kWindow);
  }
  polled_.back() = {watch_.verdict_event(), POLLIN, 0};
}

const char* Exchange::name(Call call) {
  switch (call) {
    case Call::kBarrier:
      return "barrier";
    case Call::kBroadcast:
      return "broadcast";
    case Call::kAllReduce:
      return "all-reduce";
  }
  return "unknown call";
}

void Exchange::barrier() { meet(Call::kBarrier, 0); }

void Exchange::broadcast(std::span<std::byte> bytes) {
  meet(Call::kBroadcast, bytes.size());
  for (std::size_t i = 0; i < size(); ++i) {
    if (rank_ == 0 && i != 0) peers_[i].out = bytes;
  }
  if (rank_ != 0) peers_[0].in = bytes;
  transfer(Call::kBroadcast, [] {});
}

void Exchange::all_reduce_sum(std::span<float> values) {
  meet(Call::kAllReduce, values.size());
  const Slice own = slice(rank_, values.size());
  std::size_t summed = 0;
  for (Peer& peer : peers_) peer.sent = peer.received = 0;
  transfer(Call::kAllReduce, [&] {
    add_up(values, own, summed);
    for (std::size_t i = 0; i < size(); ++i) {
      if (i == rank_) continue;
      const Slice theirs = slice(i, values.size());
      next_to_send(peers_[i], values, theirs, own, summed);
      next_to_receive(peers_[i], values, theirs, own, summed);
    }
  });
}

void Exchange::meet(Call call, std::size_t length) {
  watch_.check(name(call));
  Header& own = peers_[rank_].header;
  own = {kMagic, call, calls_++, length};
  for (std::size_t i = 0; i < size(); ++i) {
    if (i == rank_) continue;
    peers_[i].out = std::as_bytes(std::span(&own, 1));
    peers_[i].in = std::as_writable_bytes(std::span(&peers_[i].header, 1));
  }
  transfer(call, [] {});
  for (std::size_t i = 0; i < size(); ++i) {
    const Header& header = peers_[i].header;
    if (header.magic != kMagic || header.number != own.number) {
      lose(call, i, "what it sends makes no sense");
    }
  }
  if (const std::string problem = contradiction(); !problem.empty()) throw DeviceError(problem);
}

/// The same at all ranks; empty if they all called the same.
std::string Exchange::contradiction() const {
  const Header& first = peers_[0].header;
  for (std::size_t i = 1; i < size(); ++i) {
    const Header& other = peers_[i].header;
    if (other.call != first.call) {
      return text("rank 0 calls ", name(first.call), " and rank ", i, " calls ", name(other.call),
                  "; every rank must make the same calls");
    }
    if (other.length != first.length) {
      return text(name(first.call), ": rank 0 has ", first.length, " ",
                  first.call == Call::kBroadcast ? "bytes" : "values", " and rank ", i, " has ",
                  other.length, "; every rank must have as many");
    }
  }
  return {};
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
    if (i != rank_) here = std::min(here, peers_[i].received / sizeof(float));
  }
  while (summed < here) {
    // A part of a tile is left until it is whole, or the last one; so no tile crosses the window's
    // end.
    const std::size_t length = std::min(kTile, own.size - summed);
    if (here - summed < length) return;
    const std::span<float> target = values.subspan(own.begin + summed, length);
    std::array<float, kTile> total;
    for (std::size_t i = 0; i < size(); ++i) {
      const float* const from =
          i == rank_ ? target.data() : peers_[i].window.data() + summed % kWindow;
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
void Exchange::next_to_send(Peer& peer, std::span<float> values, Slice theirs, Slice own,
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
  peer.out = peer.out.first(std::min(peer.out.size(), kMost));
  peer.sent += peer.out.size();
}

/// First their part of this rank's slice, as far as the window has room, then the sums of theirs.
/// Those may overwrite this rank's part, as they were made of it.
void Exchange::next_to_receive(Peer& peer, std::span<float> values, Slice theirs, Slice own,
                               std::size_t summed) const {
  if (!peer.in.empty()) return;
  const std::size_t parts = own.size * sizeof(float);
  if (peer.received < parts) {
    const std::span<std::byte> window = std::as_writable_bytes(std::span(peer.window));
    const std::size_t at = peer.received % window.size();
    const std::size_t room =
        std::min(parts, summed * sizeof(float) + window.size()) - peer.received;
    peer.in = window.subspan(at, std::min(room, window.size() - at));
  } else {
    peer.in = std::as_writable_bytes(values.subspan(theirs.begin, theirs.size))
                  .subspan(peer.received - parts);
  }
  peer.in = peer.in.first(std::min(peer.in.size(), kMost));
}

template <class Refill>
void Exchange::transfer(Call call, Refill refill) {
  for (;;) {
    refill();
    const bool is_done = std::ranges::all_of(
        peers_, [](const Peer& peer) { return peer.out.empty() && peer.in.empty(); });
    if (is_done) return;
    for (std::size_t i = 0; i < size(); ++i) {
      const Peer& peer = peers_[i];
      const int events = (peer.out.empty() ? 0 : POLLOUT) | (peer.in.empty() ? 0 : POLLIN);
      // Of one from which nothing is wanted, not even its end is.
      polled_[i] = {events == 0 ? -1 : peer.socket.number(), static_cast<short>(events), 0};
    }
    if (::poll(polled_.data(), polled_.size(), -1) < 0 && errno != EINTR) {
      throw IoError("process group: cannot wait for the other ranks", errno);
    }
    if (polled_.back().revents != 0) watch_.check(name(call));
    move_bytes(call);
  }
}

void Exchange::move_bytes(Call call) {
  std::string problem;
  for (std::size_t i = 0; i < size(); ++i) {
    Peer& peer = peers_[i];
    const short ready = polled_[i].revents;
    if (ready == 0 || polled_[i].fd < 0) continue;
    if (!peer.in.empty() && (ready & ~POLLOUT) != 0) {
      const std::int64_t got = receive_some(peer.socket, peer.in.data(), peer.in.size(), problem);
      if (got < 0) lose(call, i, problem);
      peer.in = peer.in.subspan(static_cast<std::size_t>(got));
      peer.received += static_cast<std::size_t>(got);
    }
    if (!peer.out.empty() && (ready & ~POLLIN) != 0) {
      const std::int64_t sent = send_some(peer.socket, peer.out.data(), peer.out.size(), problem);
      if (sent < 0) lose(call, i, problem);
      peer.out = peer.out.subspan(static_cast<std::size_t>(sent));
    }
  }
}

void Exchange::lose(Call call, std::size_t peer, const std::string& problem) {
  watch_.data_lost(peer, problem, name(call));
}

}  // namespace slackline::group
