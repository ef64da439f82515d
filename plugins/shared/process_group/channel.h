#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <poll.h>

#include "sockets.h"
#include "watch.h"

namespace slackline::group {

enum class Call : std::uint32_t { kAllReduce = 1, kAllGather, kBroadcast };

/// "all-reduce"
[[nodiscard]] const char* name(Call call);

/// One rank's connections to all others, for the calls of one thread at a time.
///
/// Every call begins with an opening from each to each, which is a barrier, and lets all ranks see
/// the same contradictions before anything has changed. A short all-gather is in the openings.
///
/// Errors     DeviceError, as ProcessGroup says.
class Channel {
 public:
  /// Bytes that an opening may have behind its header.
  static constexpr std::size_t kMessage = 1024;
  /// Bytes that one system call moves, so that no connection keeps the others waiting.
  static constexpr std::size_t kMost = 256 * 1024;

 private:
  struct Header {
    std::uint32_t magic;
    Call call;
    std::uint64_t number;
    std::uint64_t length;
  };
  struct Opening {
    Header header{};
    std::array<std::byte, kMessage> message{};
    [[nodiscard]] std::size_t message_size() const;
    [[nodiscard]] std::size_t size() const { return sizeof(Header) + message_size(); }
  };

 public:
  struct Peer {
    std::span<const std::byte> out;      ///< to be sent now
    std::span<std::byte> in;             ///< to be received now
    std::size_t sent = 0, received = 0;  ///< bytes since the openings

    /// The next part of what this call sends, as far as it is there yet.
    void send_on(std::span<const std::byte> bytes);
    /// Where the next part of what this call receives goes.
    void receive_on(std::span<std::byte> bytes);

   private:
    friend class Channel;
    Descriptor socket_;
    Opening opening_;
    std::size_t early_ = 0;  ///< bytes of their next opening, received behind this one
  };

  Channel(std::size_t rank, std::vector<Descriptor> sockets, Watch& watch);

  [[nodiscard]] std::size_t rank() const noexcept { return rank_; }
  [[nodiscard]] std::size_t size() const noexcept { return peers_.size(); }
  [[nodiscard]] Peer& peer(std::size_t rank) { return peers_[rank]; }

  /// Waits until all ranks have made the same call. `message` goes with it if it is an all-gather
  /// of `length` bytes, at most kMessage; then message(i) is that of rank i.
  void meet(Call call, std::size_t length, std::span<const std::byte> message = {});
  [[nodiscard]] std::span<const std::byte> message(std::size_t rank) const;

  /// Sends and receives until `refill`, which is called whenever something has moved, leaves
  /// nothing more to do.
  template <class Refill>
  void transfer(Refill refill) {
    // At first most can be sent without asking.
    for (bool asks = false;; asks = true) {
      refill();
      if (is_idle()) return;
      find_ready(asks);
      move_bytes();
    }
  }

 private:
  [[nodiscard]] std::string contradiction() const;
  [[nodiscard]] bool is_idle() const;
  void find_ready(bool asks);
  void move_bytes();
  [[noreturn]] void lose(std::size_t peer, const std::string& problem);

  const std::size_t rank_;
  Watch& watch_;
  std::vector<Peer> peers_;
  std::vector<pollfd> polled_;
  Call call_ = Call::kAllReduce;  ///< that is made now
  std::uint64_t calls_ = 0;
};

}  // namespace slackline::group
