#include "channel.h"

#include <slackline/error.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

namespace slackline::group {
namespace {

constexpr std::uint32_t kMagic = 0x444c5347;  ///< "GSLD"

}  // namespace

const char* name(Call call) {
  switch (call) {
    case Call::kAllReduce:
      return "all-reduce";
    case Call::kAllGather:
      return "all-gather";
    case Call::kBroadcast:
      return "broadcast";
  }
  return "unknown call";
}

std::size_t Channel::Opening::message_size() const {
  return header.call == Call::kAllGather && header.length <= kMessage ? header.length : 0;
}

void Channel::Peer::send_on(std::span<const std::byte> bytes) {
  if (!out.empty()) return;
  out = bytes.subspan(sent);
  out = out.first(std::min(out.size(), kMost));
  sent += out.size();
}

void Channel::Peer::receive_on(std::span<std::byte> bytes) {
  if (!in.empty()) return;
  in = bytes.subspan(received);
  in = in.first(std::min(in.size(), kMost));
}

Channel::Channel(std::size_t rank, std::vector<Descriptor> sockets, Watch& watch)
    : rank_(rank), watch_(watch), peers_(sockets.size()), polled_(sockets.size() + 1) {
  static_assert(sizeof(Opening) == sizeof(Header) + kMessage);
  for (std::size_t i = 0; i < size(); ++i) peers_[i].socket_ = std::move(sockets[i]);
  polled_.back() = {watch_.verdict_event(), POLLIN, 0};
}

void Channel::meet(Call call, std::size_t length, std::span<const std::byte> message) {
  call_ = call;
  watch_.check(name(call));
  Opening& own = peers_[rank_].opening_;
  own.header = {kMagic, call, calls_++, length};
  assert(message.size() == own.message_size());
  std::ranges::copy(message, own.message.begin());
  const auto bytes = [](Opening& opening) {
    return std::as_writable_bytes(std::span(&opening, 1));
  };
  for (std::size_t i = 0; i < size(); ++i) {
    if (i == rank_) continue;
    Peer& peer = peers_[i];
    peer.out = bytes(own).first(own.size());
    std::memmove(&peer.opening_, bytes(peer.opening_).data() + peer.opening_.size(), peer.early_);
    peer.received = peer.early_;
  }
  // They are expected to be as long as this rank's. One that is shorter contradicts, and then
  // nothing but the next opening can be behind it.
  transfer([&] {
    for (std::size_t i = 0; i < size(); ++i) {
      if (i == rank_) continue;
      Peer& peer = peers_[i];
      const bool has_header = peer.received >= sizeof(Header);
      const std::size_t expected = has_header ? peer.opening_.size() : own.size();
      peer.in = {};
      if (peer.received < expected) {
        peer.in = bytes(peer.opening_).first(expected).subspan(peer.received);
      }
    }
  });
  for (std::size_t i = 0; i < size(); ++i) {
    Peer& peer = peers_[i];
    const Header& header = peer.opening_.header;
    if (header.magic != kMagic || header.number != own.header.number) {
      lose(i, "what it sends makes no sense");
    }
    if (i != rank_) peer.early_ = peer.received - peer.opening_.size();
    peer.sent = peer.received = 0;
  }
  if (const std::string problem = contradiction(); !problem.empty()) throw DeviceError(problem);
}

std::span<const std::byte> Channel::message(std::size_t rank) const {
  const Opening& opening = peers_[rank].opening_;
  return std::span(opening.message).first(opening.message_size());
}

/// The same at all ranks; empty if they all called the same.
std::string Channel::contradiction() const {
  const Header& first = peers_[0].opening_.header;
  for (std::size_t i = 1; i < size(); ++i) {
    const Header& other = peers_[i].opening_.header;
    if (other.call != first.call) {
      return text("rank 0 calls ", name(first.call), " and rank ", i, " calls ", name(other.call),
                  "; every rank must make the same calls");
    }
    if (other.length != first.length) {
      return text(name(first.call), ": rank 0 has ", first.length, " ",
                  first.call == Call::kAllReduce ? "values" : "bytes", " and rank ", i, " has ",
                  other.length, "; every rank must have as many");
    }
  }
  return {};
}

bool Channel::is_idle() const {
  return std::ranges::all_of(peers_,
                             [](const Peer& peer) { return peer.out.empty() && peer.in.empty(); });
}

/// Leaves in `polled_` what can be sent or received now; without asking, all that is to be sent.
void Channel::find_ready(bool asks) {
  for (std::size_t i = 0; i < size(); ++i) {
    const Peer& peer = peers_[i];
    const int out = peer.out.empty() ? 0 : POLLOUT;
    const int events = out | (peer.in.empty() ? 0 : POLLIN);
    // Of one from which nothing is wanted, not even its end is.
    polled_[i] = {events == 0 ? -1 : peer.socket_.number(), static_cast<short>(events),
                  static_cast<short>(out)};
  }
  if (!asks) return;
  if (::poll(polled_.data(), polled_.size(), -1) < 0 && errno != EINTR) {
    throw IoError("process group: cannot wait for the other ranks", errno);
  }
  if (polled_.back().revents != 0) watch_.check(name(call_));
}

void Channel::move_bytes() {
  std::string problem;
  for (std::size_t i = 0; i < size(); ++i) {
    Peer& peer = peers_[i];
    const short ready = polled_[i].revents;
    if (ready == 0 || polled_[i].fd < 0) continue;
    if (!peer.in.empty() && (ready & ~POLLOUT) != 0) {
      const std::int64_t got = receive_some(peer.socket_, peer.in.data(), peer.in.size(), problem);
      if (got < 0) lose(i, problem);
      peer.in = peer.in.subspan(static_cast<std::size_t>(got));
      peer.received += static_cast<std::size_t>(got);
    }
    if (!peer.out.empty() && (ready & ~POLLIN) != 0) {
      const std::int64_t sent = send_some(peer.socket_, peer.out.data(), peer.out.size(), problem);
      if (sent < 0) lose(i, problem);
      peer.out = peer.out.subspan(static_cast<std::size_t>(sent));
    }
  }
}

void Channel::lose(std::size_t peer, const std::string& problem) {
  watch_.connection_lost(peer, problem, name(call_));
}

}  // namespace slackline::group
