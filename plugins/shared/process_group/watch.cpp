#include "watch.h"

#include <slackline/clock.h>
#include <slackline/error.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace slackline::group {
namespace {

/// How often a rank shows that it lives, in the time after which its silence is taken for death.
constexpr int kBeats = 8;
/// For the last words to leave this machine.
constexpr std::chrono::seconds kLastWords{1};

Descriptor make_event() {
  Descriptor event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event.is_open()) throw IoError("process group: cannot make an event", errno);
  return event;
}

void signal_event(const Descriptor& event) noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(event.number(), &one, sizeof one);
}

}  // namespace

std::string rank_name(std::size_t rank, const std::vector<std::string>& hosts) {
  return text("rank ", rank, " (", hosts[rank], ")");
}

Watch::Watch(std::size_t rank, std::vector<std::string> hosts, std::vector<Descriptor> control,
             std::chrono::milliseconds silence)
    : rank_(rank),
      hosts_(std::move(hosts)),
      silence_(silence),
      wake_(make_event()),
      has_verdict_(make_event()),
      peers_(control.size()) {
  for (std::size_t i = 0; i < peers_.size(); ++i) peers_[i].control = std::move(control[i]);
  thread_ = steady_clock().start_thread("group", [this] { watch(); });
}

Watch::~Watch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  steady_clock().join(thread_);
}

void Watch::wake() const noexcept { signal_event(wake_); }

void Watch::check(const char* doing) {
  const std::lock_guard lock(mutex_);
  if (verdict_.has_value()) throw DeviceError(text(doing, ": ", *verdict_));
}

void Watch::connection_lost(std::size_t peer, const std::string& problem, const char* doing) {
  std::unique_lock lock(mutex_);
  lost_connections_.emplace_back(peer, problem);
  wake();
  changed_.wait(lock, [this] { return verdict_.has_value(); });
  throw DeviceError(text(doing, ": ", *verdict_));
}

void Watch::abort(const std::string& reason) noexcept {
  std::unique_lock lock(mutex_);
  if (!abort_reason_.has_value()) abort_reason_ = reason;
  wake();
  changed_.wait(lock, [this] { return abort_told_; });
}

void Watch::watch() noexcept {
  const auto beat = silence_ / kBeats;
  std::vector<pollfd> polled(peers_.size() + 1);
  const std::string heartbeat = encode(FrameType::kHeartbeat);
  // This thread may have begun late, or its process may have been stopped before it did.
  Time last = std::chrono::steady_clock::now();
  for (Peer& peer : peers_) peer.heard = last;
  Time next_beat = last;
  for (;;) {
    const Time before = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      polled[i] = {peers_[i].control.number(),
                   static_cast<short>(peers_[i].unsent.empty() ? POLLIN : POLLIN | POLLOUT), 0};
    }
    polled.back() = {wake_.number(), POLLIN, 0};
    ::poll(polled.data(), polled.size(), before >= next_beat ? 0 : milliseconds_until(next_beat));
    std::uint64_t ignored = 0;
    [[maybe_unused]] const auto cleared = ::read(wake_.number(), &ignored, sizeof ignored);
    const Time now = std::chrono::steady_clock::now();
    // Were this process stopped for a while, it would find everybody silent, but itself to blame.
    if (now - last > silence_ / 2) {
      for (Peer& peer : peers_) peer.heard = now;
    }
    last = now;
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      if (polled[i].revents != 0) read(i, now);
    }
    judge(now);
    for (std::size_t i = 0; i < peers_.size(); ++i) tell(i, {});
    if (now >= next_beat) {
      next_beat = now + beat;
      for (std::size_t i = 0; i < peers_.size(); ++i) {
        if (peers_[i].unsent.empty() && is_watched(i)) tell(i, heartbeat);
      }
    }
    const std::lock_guard lock(mutex_);
    if (stopping_) break;
  }
  say_goodbye();
}

void Watch::read(std::size_t from, Time now) {
  Peer& peer = peers_[from];
  Frame frame;
  while (peer.control.is_open()) {
    switch (peer.reader.read(peer.control, frame)) {
      case FrameReader::Result::kFrame:
        peer.heard = now;
        understand(from, frame);
        break;
      case FrameReader::Result::kNothingYet:
        return;
      case FrameReader::Result::kClosed:
        peer.control.close();
        if (!peer.has_ended) {
          suspect(from, text("is lost: its connection ended without a goodbye (",
                             peer.reader.problem(), "): it was killed or crashed"));
        }
        break;
      case FrameReader::Result::kBad:
        peer.control.close();
        suspect(from, "is lost: what it sends makes no sense: " + peer.reader.problem());
        break;
    }
  }
}

void Watch::understand(std::size_t from, const Frame& frame) {
  if (frame.type == FrameType::kGoodbye) peers_[from].has_ended = true;
  if (frame.type != FrameType::kFailed) return;
  PayloadReader payload(frame.payload);
  const std::size_t culprit = payload.number();
  const std::string what = payload.string();
  if (!payload.is_good() || culprit >= peers_.size()) return;
  if (from == 0) {
    decide(culprit, what, false);
  } else {
    suspect(culprit, what);
  }
}

void Watch::judge(Time now) {
  std::vector<std::pair<std::size_t, std::string>> lost;
  std::optional<std::string> reason;
  {
    const std::lock_guard lock(mutex_);
    lost.swap(lost_connections_);
    if (!abort_told_) reason = abort_reason_;
  }
  if (reason.has_value()) {
    decide(rank_, "aborted: " + *reason, true);
    const std::lock_guard lock(mutex_);
    abort_told_ = true;
    changed_.notify_all();
  }
  for (auto& [peer, problem] : lost) {
    peers_[peer].lost_at = now;
    peers_[peer].problem = std::move(problem);
  }
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (!peers_[i].lost_at.has_value()) continue;
    if (peers_[i].has_ended) {
      suspect(i, text("has ended, and said goodbye, while ", rank_name(rank_, hosts_),
                      " still works with it"));
    } else if (now - *peers_[i].lost_at > silence_) {
      // If it had died, its connection for heartbeats would have told.
      suspect(i, "is lost: one of its connections broke: " + peers_[i].problem);
    }
  }
  judge_silence(now);
  // Rank 0 can not give a verdict any more.
  if (suspicion_.has_value() && !is_watched(0)) {
    decide(suspicion_->first, suspicion_->second, false);
  }
}

void Watch::judge_silence(Time now) {
  std::size_t watched = 0;
  bool is_any_heard = false;  // also one that has ended since: the network is there
  std::optional<std::size_t> silent;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (i == rank_) continue;
    if (now - peers_[i].heard <= silence_ / 2) is_any_heard = true;
    if (!is_watched(i)) continue;
    ++watched;
    if (!silent.has_value() && now - peers_[i].heard > silence_) silent = i;
  }
  if (!silent.has_value()) return;
  const auto seconds = std::chrono::duration<double>(silence_).count();
  if (!is_any_heard && watched > 1) {
    decide(rank_,
           text("has lost its network: no sign of life from any other rank for ", seconds, " s"),
           false);
  } else {
    suspect(*silent, text("is lost: no sign of life for ", seconds,
                          " s: it hangs or was stopped, or its host or network is down"));
  }
}

void Watch::suspect(std::size_t culprit, const std::string& what) {
  if (rank_ == 0 || culprit == 0) return decide(culprit, what, rank_ == 0);
  if (suspicion_.has_value()) return;
  suspicion_.emplace(culprit, what);
  if (is_watched(0)) {
    tell(0,
         encode(FrameType::kFailed,
                PayloadWriter().number(static_cast<std::uint32_t>(culprit)).string(what).bytes()));
  }
}

/// The first verdict counts.
void Watch::decide(std::size_t culprit, const std::string& what, bool tell_others) {
  {
    const std::lock_guard lock(mutex_);
    if (verdict_.has_value()) return;
  }
  // First the others: this process may end as soon as it knows.
  if (tell_others) {
    tell_all(
        encode(FrameType::kFailed,
               PayloadWriter().number(static_cast<std::uint32_t>(culprit)).string(what).bytes()));
  }
  {
    const std::lock_guard lock(mutex_);
    verdict_ = text(rank_name(culprit, hosts_), " ", what);
  }
  signal_event(has_verdict_);
  changed_.notify_all();
}

/// Sends what is left and then `bytes`, as far as that goes at once.
void Watch::tell(std::size_t to, const std::string& bytes) {
  Peer& peer = peers_[to];
  peer.unsent += bytes;
  if (!peer.control.is_open() || peer.has_ended) peer.unsent.clear();
  if (peer.unsent.empty()) return;
  std::string problem;
  const std::int64_t sent =
      send_some(peer.control, peer.unsent.data(), peer.unsent.size(), problem);
  // A broken connection is read to its end, which tells more.
  peer.unsent.erase(0, sent < 0 ? peer.unsent.size() : static_cast<std::size_t>(sent));
}

void Watch::tell_all(const std::string& bytes) {
  for (std::size_t i = 0; i < peers_.size(); ++i) tell(i, bytes);
}

void Watch::say_goodbye() {
  tell_all(encode(FrameType::kGoodbye));
  const Time deadline = std::chrono::steady_clock::now() + kLastWords;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    while (!peers_[i].unsent.empty() && wait_for(peers_[i].control, POLLOUT, deadline)) tell(i, {});
  }
}

}  // namespace slackline::group
