#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <poll.h>

#include "sockets.h"
#include "watch.h"

namespace slackline::group {

/// The calls of one rank, over its connections for data.
///
/// Every call begins with a header from each to each, which is a barrier, and lets all ranks see
/// the same contradictions before anything has changed. An all-reduce then cuts the array into one
/// slice for each rank: all send it their part of its slice, it adds them up in rank order as they
/// come, and sends the sums to all. Each value crosses a rank's wire twice in either direction,
/// whatever the number of ranks, as in a ring; but there it could not be added in rank order, and
/// would pass all ranks one after another.
///
/// Threads    one caller at a time.
class Exchange {
 public:
  Exchange(std::size_t rank, std::vector<Descriptor> data, Watch& watch);

  void barrier();
  void broadcast(std::span<std::byte> bytes);
  void all_reduce_sum(std::span<float> values);

 private:
  enum class Call : std::uint32_t { kBarrier = 1, kBroadcast, kAllReduce };
  struct Header {
    std::uint32_t magic;
    Call call;
    std::uint64_t number;
    std::uint64_t length;
  };
  struct Peer {
    Descriptor socket;
    Header header{};
    std::vector<float> window;           ///< received, and not yet added: a ring
    std::span<const std::byte> out;      ///< to be sent now
    std::span<std::byte> in;             ///< to be received now
    std::size_t sent = 0, received = 0;  ///< bytes of this all-reduce
  };
  struct Slice {
    std::size_t begin, size;
  };

  [[nodiscard]] std::size_t size() const noexcept { return peers_.size(); }
  [[nodiscard]] static const char* name(Call call);
  void meet(Call call, std::size_t length);
  [[nodiscard]] std::string contradiction() const;
  [[nodiscard]] Slice slice(std::size_t rank, std::size_t values) const;
  void add_up(std::span<float> values, Slice own, std::size_t& summed);
  void next_to_send(Peer& peer, std::span<float> values, Slice theirs, Slice own,
                    std::size_t summed) const;
  void next_to_receive(Peer& peer, std::span<float> values, Slice theirs, Slice own,
                       std::size_t summed) const;
  /// Sends and receives until `refill` has nothing more.
  template <class Refill>
  void transfer(Call call, Refill refill);
  void move_bytes(Call call);
  [[noreturn]] void lose(Call call, std::size_t peer, const std::string& problem);

  const std::size_t rank_;
  Watch& watch_;
  std::vector<Peer> peers_;
  std::vector<pollfd> polled_;
  std::uint64_t calls_ = 0;
};

}  // namespace slackline::group
