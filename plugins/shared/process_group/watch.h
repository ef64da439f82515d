#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "frames.h"
#include "sockets.h"

namespace slackline::group {

/// A rank's connections, of which its own place is empty.
struct Links {
  std::vector<std::string> hosts;
  std::vector<Descriptor> control;
  std::vector<Descriptor> gradients;
  std::vector<Descriptor> messages;
};

/// "rank 3 (node7)"
[[nodiscard]] std::string rank_name(std::size_t rank, const std::vector<std::string>& hosts);

/// Watches over the other ranks, and shows them that this one lives, from a thread of its own.
///
/// Whoever suspects a rank asks rank 0, which names the first one that anybody suspects, to all:
/// the verdict. Without rank 0, the culprit is rank 0.
///
/// Lifecycle  construct; destruction says goodbye.
/// Threads    any.
class Watch {
 public:
  Watch(std::size_t rank, std::vector<std::string> hosts, std::vector<Descriptor> control,
        std::chrono::milliseconds silence);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Readable from the verdict on, for poll().
  [[nodiscard]] int verdict_event() const noexcept { return has_verdict_.number(); }
  /// Throws DeviceError if there is a verdict.
  void check(const char* doing);
  /// Another connection of that rank broke. Waits for the verdict, which follows, and throws it.
  [[noreturn]] void connection_lost(std::size_t peer, const std::string& problem,
                                    const char* doing);
  /// This rank will not go on. Returns when the others have been told.
  void abort(const std::string& reason) noexcept;

 private:
  struct Peer {
    Descriptor control;
    FrameReader reader;
    std::string unsent;
    Time heard;
    bool has_ended = false;       ///< said goodbye
    std::optional<Time> lost_at;  ///< another connection, as a thread that calls has found
    std::string problem;
  };

  void watch() noexcept;
  void read(std::size_t from, Time now);
  void understand(std::size_t from, const Frame& frame);
  void judge(Time now);
  void judge_silence(Time now);
  void suspect(std::size_t culprit, const std::string& what);
  void decide(std::size_t culprit, const std::string& what, bool tell_others);
  void tell(std::size_t peer, const std::string& bytes);
  void tell_all(const std::string& bytes);
  void say_goodbye();
  void wake() const noexcept;
  [[nodiscard]] bool is_watched(std::size_t peer) const {
    return peers_[peer].control.is_open() && !peers_[peer].has_ended;
  }

  const std::size_t rank_;
  const std::vector<std::string> hosts_;
  const std::chrono::nanoseconds silence_;
  const Descriptor wake_, has_verdict_;

  std::mutex mutex_;  ///< guards everything below but what only the thread uses
  std::condition_variable changed_;
  std::optional<std::string> verdict_;
  std::optional<std::string> abort_reason_;
  bool abort_told_ = false;
  bool stopping_ = false;
  std::vector<std::pair<std::size_t, std::string>>
      lost_connections_;  ///< not yet seen by the thread

  std::vector<Peer> peers_;                                       ///< the thread's
  std::optional<std::pair<std::size_t, std::string>> suspicion_;  ///< the thread's, told to rank 0
  std::thread thread_;
};

}  // namespace slackline::group
