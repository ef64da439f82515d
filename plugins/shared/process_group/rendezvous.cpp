#include "rendezvous.h"

#include <slackline/error.h>
#include <slackline/file_ops.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <list>
#include <random>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

#include <poll.h>

namespace slackline::group {
namespace {

using namespace std::chrono_literals;

/// How long a connection may take to say who it is. A stranger that says nothing is let go then.
constexpr auto kIntroduction = 5s;
/// Connections that have not said who they are; the oldest one gives way to a new one.
constexpr std::size_t kMaxStrangers = 2 * kMaxRanks;
/// Between two looks at a rendezvous where rank 0 is not yet.
constexpr auto kAgain = 20ms;
/// For one of several addresses, of which some may lead nowhere.
constexpr auto kTry = 1s;

/// What a connection is for.
enum class Purpose : std::uint32_t { kControl, kGradients, kMessages };
enum class Refusal : std::uint32_t { kConfiguration, kFailure, kOtherRun };

struct Seat {
  bool is_taken = false;
  bool is_ready = false;
  std::string host;
  Address address;  ///< without a host: that of rank 0, as the reader reached it
};

Time now() { return std::chrono::steady_clock::now(); }

/// Tells this rendezvous from every other.
std::string make_nonce() {
  std::random_device random;
  std::ostringstream out;
  for (int i = 0; i < 4; ++i) out << std::hex << random() << '.';
  return out.str();
}

Address parse_tcp(const std::string& where) {
  const std::string rest = where.substr(std::string_view("tcp://").size());
  const std::size_t colon = rest.rfind(':');
  Address result;
  if (colon != std::string::npos && colon > 0) {
    result.host = rest.substr(0, colon);
    if (result.host.size() > 2 && result.host.front() == '[' && result.host.back() == ']') {
      result.host = result.host.substr(1, result.host.size() - 2);
    }
    const char* const end = rest.data() + rest.size();
    const auto [last, error] = std::from_chars(rest.data() + colon + 1, end, result.port);
    if (error == std::errc{} && last == end && result.port > 0) return result;
  }
  throw ConfigError(
      text("rendezvous '", where, "' must be tcp://host:port with a port in 1..65535"));
}

/// What rank 0 writes into the file where the ranks meet.
struct Notice {
  std::string nonce, run;
  std::uint16_t port = 0;
  std::vector<std::string> addresses;
};

constexpr const char* kNoticeTitle = "slackline rendezvous 1";

std::string print(const Notice& notice) {
  std::string result =
      text(kNoticeTitle, "\n", notice.nonce, "\n", notice.run, "\n", notice.port, "\n");
  for (const std::string& address : notice.addresses) result += address + "\n";
  return result;
}

std::optional<Notice> read_notice(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || line != kNoticeTitle) return std::nullopt;
  Notice result;
  if (!std::getline(file, result.nonce) || !std::getline(file, result.run)) return std::nullopt;
  if (!std::getline(file, line)) return std::nullopt;
  std::from_chars(line.data(), line.data() + line.size(), result.port);
  while (std::getline(file, line)) result.addresses.push_back(line);
  return result;
}

std::string list_of_ranks(const std::vector<std::size_t>& ranks) {
  std::string result = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (i > 0) result += i + 1 == ranks.size() ? " and " : ", ";
    result += std::to_string(ranks[i]);
  }
  return result;
}

/// Whether who comes from there is on this host. Others may not reach every address that it has.
bool is_of_this_host(const std::string& address) {
  const std::vector<std::string> own = own_addresses();
  return is_loopback(address) || std::find(own.begin(), own.end(), address) != own.end();
}

/// One rank's way from its start to its connections.
class Meeting {
 public:
  Meeting(const Membership& membership, const GroupOptions& options)
      : membership_(membership),
        options_(options),
        rank_(static_cast<std::size_t>(membership.rank)),
        size_(static_cast<std::size_t>(membership.size)),
        deadline_(now() + options.rendezvous_deadline),
        host_(options.host.empty() ? own_host_name() : options.host),
        place_(parse_place(membership.rendezvous)),
        seats_(size_) {
    links_.control.resize(size_);
    links_.gradients.resize(size_);
    links_.messages.resize(size_);
    readers_.resize(size_);
  }

  Links meet() {
    if (rank_ == 0) {
      host_all();
    } else {
      visit();
    }
    for (const Seat& seat : seats_) links_.hosts.push_back(seat.host);
    return std::move(links_);
  }

 private:
  /// A connection that has not said who it is.
  struct Stranger {
    Descriptor socket;
    FrameReader reader;
    Address from;
    Time since;
  };

  // Rank 0.

  void host_all() {
    const std::vector<std::string> addresses = listen();
    nonce_ = make_nonce();
    seats_[0] = {true, true, host_, {"", port_of(listener_)}};
    if (!place_.file.empty()) {
      // A file of an earlier run is replaced as a whole. Whoever has read it finds nobody, or one
      // with another nonce, and reads again.
      write_atomically(system_file_ops(), place_.file,
                       print({nonce_, membership_.run, port_of(listener_), addresses}));
    }
    try {
      step_until(
          [this] { return missing(&Seat::is_taken).empty(); },
          [this] { return text(describe_missing(&Seat::is_taken), " did not come within "); });
    } catch (...) {
      remove_notice();
      throw;
    }
    remove_notice();
    PayloadWriter table;
    table.string(nonce_);
    for (const Seat& seat : seats_) {
      table.string(seat.host).string(seat.address.host).number(seat.address.port);
    }
    send_to_all(encode(FrameType::kWelcome, table.bytes()));
    step_until([this] { return missing(&Seat::is_ready).empty() && are_linked_above(); },
               [this] {
                 return text(describe_missing(&Seat::is_ready),
                             " could not connect to the others within ");
               });
    send_to_all(encode(FrameType::kGo));
  }

  /// Where the others may find it, unless they know.
  std::vector<std::string> listen() {
    if (place_.is_local) {
      std::string address;
      listener_ = listen_on_loopback(address);
      return {address};
    }
    listener_ = listen_at(place_.file.empty() ? place_.address : Address{"", 0});
    return place_.file.empty() ? std::vector<std::string>{} : own_addresses();
  }

  void remove_notice() {
    if (place_.file.empty()) return;
    const auto notice = read_notice(place_.file);
    std::error_code ignored;
    if (notice.has_value() && notice->nonce == nonce_)
      std::filesystem::remove(place_.file, ignored);
  }

  [[nodiscard]] std::vector<std::size_t> missing(bool Seat::*what) const {
    std::vector<std::size_t> result;
    for (std::size_t i = 0; i < size_; ++i) {
      if (!(seats_[i].*what)) result.push_back(i);
    }
    return result;
  }

  [[nodiscard]] std::string describe_missing(bool Seat::*what) const {
    return text(list_of_ranks(missing(what)), " of ", size_);
  }

  void take_seat(Stranger& stranger, const Frame& frame) {
    PayloadReader hello(frame.payload);
    const std::size_t rank = hello.number();
    const std::size_t size = hello.number();
    const std::string run = hello.string();
    const std::string nonce = hello.string();
    const std::string configuration = hello.string();
    const std::string host = hello.string();
    const std::uint32_t port = hello.number();
    if (!hello.is_good() || port == 0 || port > 65535) return;
    const auto turn_away = [&](const std::string& why) {
      const bool sent = send_all(stranger.socket, refusal(Refusal::kOtherRun, why), now() + kTry);
      refused_ += text("; one from ", stranger.from.host, sent ? " was refused: " : " left: ", why);
    };
    if (run != membership_.run) {
      return turn_away(text("it belongs to run '", run, "', and this is '", membership_.run, "'"));
    }
    // The file has it, and only this run's ranks have read it.
    if (nonce != (place_.file.empty() ? "" : nonce_)) {
      return turn_away(text("it has not read ", membership_.rendezvous, " of this run"));
    }
    const std::string who = text("rank ", rank, " (", host, ")");
    std::string problem;
    if (size != size_) {
      problem = text(who, " was started as one of ", size, " ranks, and rank 0 (", host_,
                     ") as one of ", size_);
    } else if (rank >= size_) {
      return;
    } else if (seats_[rank].is_taken) {
      problem = text("two processes are rank ", rank, ": one on ", seats_[rank].host,
                     " and one on ", host, "; each must have a rank of its own");
    } else if (configuration != options_.configuration) {
      problem = text(who, " has another configuration than rank 0 (", host_, "): its digest is '",
                     configuration, "', and here it is '", options_.configuration, "'");
    }
    if (!problem.empty()) {
      [[maybe_unused]] const bool sent =
          send_all(stranger.socket, refusal(Refusal::kConfiguration, problem), now() + kTry);
      refuse_all(Refusal::kConfiguration, problem);
    }
    const std::string address = is_of_this_host(stranger.from.host) ? "" : stranger.from.host;
    seats_[rank] = {true, false, host, {address, static_cast<std::uint16_t>(port)}};
    [[maybe_unused]] const bool sent =
        send_all(stranger.socket, encode(FrameType::kReady), now() + kTry);
    links_.control[rank] = std::move(stranger.socket);
    readers_[rank] = std::move(stranger.reader);
  }

  static std::string refusal(Refusal kind, const std::string& why) {
    return encode(FrameType::kRefused,
                  PayloadWriter().number(static_cast<std::uint32_t>(kind)).string(why).bytes());
  }

  /// Tells all that have come, and throws.
  [[noreturn]] void refuse_all(Refusal kind, const std::string& why) {
    if (rank_ == 0) send_to_all(refusal(kind, why));
    throw_refusal(kind, why);
  }

  [[noreturn]] static void throw_refusal(Refusal kind, const std::string& why) {
    if (kind == Refusal::kFailure) throw DeviceError("rendezvous: " + why);
    throw ConfigError("rendezvous: " + why);
  }

  void send_to_all(const std::string& bytes) {
    // To one that does not read, nothing more is said: its silence will be noticed.
    for (const Descriptor& link : links_.control) {
      if (!link.is_open()) continue;
      [[maybe_unused]] const bool sent = send_all(link, bytes, now() + kTry);
    }
  }

  // The others.

  void visit() {
    find_rank_0();
    // Rank 0 judges who is missing, and may have started later.
    deadline_ = now() + options_.rendezvous_deadline + options_.deadline;
    step_until([this] { return !nonce_.empty(); },
               [] { return text("rank 0 took in this one, but did not start the group within "); });
    for (std::size_t i = 0; i < rank_; ++i) {
      if (i > 0) links_.control[i] = link_to(i, Purpose::kControl);
      links_.gradients[i] = link_to(i, Purpose::kGradients);
      links_.messages[i] = link_to(i, Purpose::kMessages);
    }
    step_until([this] { return are_linked_above(); },
               [] { return text("the ranks above this one did not connect within "); });
    [[maybe_unused]] const bool sent =
        send_all(links_.control[0], encode(FrameType::kReady), deadline_);
    step_until([this] { return may_go_; },
               [] { return text("rank 0 did not start the group within "); });
  }

  /// Until rank 0 is there, and is of this run.
  void find_rank_0() {
    std::string problem =
        place_.file.empty() ? "nobody listens there" : "there is no such file of this run";
    while (now() < deadline_) {
      std::string nonce;
      std::vector<Address> places;
      if (place_.file.empty()) {
        places = addresses_of(place_.address, problem);
      } else if (const auto notice = read_notice(place_.file);
                 notice.has_value() && notice->run == membership_.run) {
        nonce = notice->nonce;
        for (const std::string& address : notice->addresses)
          places.push_back({address, notice->port});
      }
      for (const Address& place : places) {
        links_.control[0] = connect_to(place, std::min(deadline_, now() + kTry), problem);
        if (!links_.control[0].is_open()) continue;
        rank_0_ = place;
        introduce(nonce);
        if (is_received(problem)) return;
      }
      std::this_thread::sleep_for(kAgain);
    }
    throw DeviceError(text("rendezvous: rank ", rank_, " (", host_, ") did not find rank 0 at ",
                           membership_.rendezvous, " within ", seconds(), " s: ", problem));
  }

  void introduce(const std::string& nonce) {
    // As rank 0 decides it: a name may mean the loopback interface on its own host only.
    const bool is_local = is_loopback(place_.file.empty() ? place_.address.host : rank_0_.host);
    listener_ = listen_at(is_local ? Address{rank_0_.host, 0} : Address{"", 0});
    const auto hello = PayloadWriter()
                           .number(static_cast<std::uint32_t>(rank_))
                           .number(static_cast<std::uint32_t>(size_))
                           .string(membership_.run)
                           .string(nonce)
                           .string(options_.configuration)
                           .string(host_)
                           .number(port_of(listener_));
    [[maybe_unused]] const bool sent =
        send_all(links_.control[0], encode(FrameType::kHello, hello.bytes()), deadline_);
  }

  /// Whether it is rank 0 of this run that listens. At the address in a file that an earlier run
  /// left, anybody may by now: one that turns this rank away, or makes no sense, or nobody any more
  /// that will ever answer, so it must acknowledge.
  bool is_received(std::string& problem) {
    readers_[0] = FrameReader();
    Frame frame;
    const Time patience = std::min(deadline_, now() + kIntroduction);
    while (wait_for(links_.control[0], POLLIN, patience)) {
      const auto result = readers_[0].read(links_.control[0], frame);
      if (result == FrameReader::Result::kNothingYet) continue;
      if (result != FrameReader::Result::kFrame) {
        problem = readers_[0].problem();
        return false;
      }
      if (frame.type != FrameType::kRefused) return frame.type == FrameType::kReady;
      PayloadReader payload(frame.payload);
      const auto kind = static_cast<Refusal>(payload.number());
      problem = payload.string();
      if (kind == Refusal::kOtherRun && !place_.file.empty()) return false;
      throw_refusal(kind, problem);
    }
    problem = "who listens there does not answer";
    return false;
  }

  Descriptor link_to(std::size_t rank, Purpose purpose) {
    Address to = seats_[rank].address;
    if (to.host.empty()) to.host = rank_0_.host;
    std::string problem;
    Descriptor link = connect_to(to, deadline_, problem);
    const auto payload = PayloadWriter()
                             .string(nonce_)
                             .number(static_cast<std::uint32_t>(rank_))
                             .number(static_cast<std::uint32_t>(purpose));
    if (!link.is_open() || !send_all(link, encode(FrameType::kLink, payload.bytes()), deadline_)) {
      // Perhaps it died; then rank 0 knows, and says so.
      const Time patience = std::min(deadline_, now() + kTry);
      while (now() < patience) step(patience);
      throw DeviceError(text("rendezvous: rank ", rank_, " (", host_, ") cannot connect to ",
                             name(rank), " at ", to.host, ":", to.port, ": ", problem));
    }
    return link;
  }

  // All.

  /// Whether every rank above this one has made its connections to it.
  [[nodiscard]] bool are_linked_above() const {
    for (const auto* const links : {&links_.control, &links_.gradients, &links_.messages}) {
      for (std::size_t i = rank_ + 1; i < size_; ++i) {
        if (!(*links)[i].is_open()) return false;
      }
    }
    return true;
  }

  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(options_.rendezvous_deadline).count();
  }

  [[nodiscard]] std::string name(std::size_t rank) const {
    return text("rank ", rank, " (", seats_[rank].host, ")");
  }

  template <class Done, class Problem>
  void step_until(Done is_done, Problem problem) {
    while (!is_done()) {
      if (now() >= deadline_) {
        refuse_all(Refusal::kFailure, text(problem(), seconds(), " s", refused_));
      }
      step(deadline_);
    }
  }

  /// Waits for anything to come, and deals with it.
  void step(Time until) {
    std::vector<pollfd> polled;
    if (may_accept()) polled.push_back({listener_.number(), POLLIN, 0});
    for (const Stranger& stranger : strangers_) {
      polled.push_back({stranger.socket.number(), POLLIN, 0});
      until = std::min(until, stranger.since + kIntroduction);
    }
    // Only rank 0's connection tells of the group before it stands; and at rank 0, everybody's.
    for (std::size_t i = 0; i < (rank_ == 0 ? size_ : 1); ++i) {
      if (links_.control[i].is_open()) polled.push_back({links_.control[i].number(), POLLIN, 0});
    }
    ::poll(polled.data(), polled.size(), milliseconds_until(until));
    for (std::size_t i = 0; i < (rank_ == 0 ? size_ : 1); ++i) {
      if (links_.control[i].is_open()) hear(i);
    }
    for (auto at = strangers_.begin(); at != strangers_.end();) {
      at = listen_to(*at) ? std::next(at) : strangers_.erase(at);
    }
    if (may_accept()) accept_all();
  }

  /// Whether it could tell a rank from a stranger: others may have rank 0's table, and connect,
  /// before it has come here. They wait in the listener's queue.
  [[nodiscard]] bool may_accept() const { return !nonce_.empty(); }

  void accept_all() {
    Address from;
    while (auto socket = accept_from(listener_, from)) {
      strangers_.push_back({std::move(*socket), {}, from, now()});
      // At once: of many that have waited, none that has said who it is must give way.
      if (!listen_to(strangers_.back())) strangers_.pop_back();
      if (strangers_.size() > kMaxStrangers) strangers_.pop_front();
    }
  }

  /// Whether it may go on as a stranger.
  bool listen_to(Stranger& stranger) {
    Frame frame;
    switch (stranger.reader.read(stranger.socket, frame)) {
      case FrameReader::Result::kNothingYet:
        return now() < stranger.since + kIntroduction;
      case FrameReader::Result::kBad:
        refused_ +=
            text("; one from ", stranger.from.host, " was refused: ", stranger.reader.problem());
        return false;
      case FrameReader::Result::kClosed:
        return false;
      case FrameReader::Result::kFrame:
        if (frame.type == FrameType::kHello && rank_ == 0) take_seat(stranger, frame);
        if (frame.type == FrameType::kLink) take_link(stranger, frame);
        return false;
    }
    return false;
  }

  void take_link(Stranger& stranger, const Frame& frame) {
    PayloadReader payload(frame.payload);
    const std::string nonce = payload.string();
    const std::size_t rank = payload.number();
    const std::size_t purpose = payload.number();
    if (!payload.is_good() || nonce != nonce_ || rank <= rank_ || rank >= size_) return;
    const std::array links = {&links_.control, &links_.gradients, &links_.messages};
    if (purpose >= links.size()) return;
    Descriptor& link = (*links[purpose])[rank];
    if (!link.is_open()) link = std::move(stranger.socket);
  }

  /// What comes over a connection of the group while it is made.
  void hear(std::size_t from) {
    Frame frame;
    for (;;) {
      switch (readers_[from].read(links_.control[from], frame)) {
        case FrameReader::Result::kFrame:
          understand(from, frame);
          // Behind it the group begins, and others read.
          if (may_go_) return;
          break;
        case FrameReader::Result::kNothingYet:
          return;
        default:
          refuse_all(Refusal::kFailure,
                     text(rank_ == 0 ? name(from) : "rank 0",
                          " is lost: it was there, but left before all ranks were connected (",
                          readers_[from].problem(), ")"));
      }
    }
  }

  void understand(std::size_t from, const Frame& frame) {
    PayloadReader payload(frame.payload);
    if (rank_ == 0) {
      if (frame.type == FrameType::kReady) seats_[from].is_ready = true;
    } else if (frame.type == FrameType::kRefused) {
      const auto kind = static_cast<Refusal>(payload.number());
      throw_refusal(kind, payload.string());
    } else if (frame.type == FrameType::kWelcome) {
      const std::string nonce = payload.string();
      for (Seat& seat : seats_) {
        seat.host = payload.string();
        seat.address.host = payload.string();
        seat.address.port = static_cast<std::uint16_t>(payload.number());
      }
      if (!payload.is_good()) throw DeviceError("rendezvous: rank 0's table of ranks is damaged");
      nonce_ = nonce;
    } else if (frame.type == FrameType::kGo) {
      may_go_ = true;
    }
  }

  const Membership& membership_;
  const GroupOptions& options_;
  const std::size_t rank_, size_;
  Time deadline_;
  const std::string host_;
  const Place place_;
  Address rank_0_;     ///< where this rank has reached it; no name
  std::string nonce_;  ///< rank 0 has it from the beginning, the others once all have come
  bool may_go_ = false;
  std::string refused_;  ///< who came and was not taken, for messages
  Descriptor listener_;
  std::list<Stranger> strangers_;
  std::vector<Seat> seats_;
  std::vector<FrameReader> readers_;
  Links links_;
};

}  // namespace

Place parse_place(const std::string& rendezvous) {
  Place place;
  if (rendezvous.rfind("tcp://", 0) == 0) {
    place.address = parse_tcp(rendezvous);
    return place;
  }
  place.is_local = rendezvous.rfind("local:", 0) == 0;
  if (!place.is_local && rendezvous.rfind("file:", 0) != 0) {
    throw ConfigError(
        text("rendezvous '", rendezvous, "' must be tcp://host:port, file:/path or local:/path"));
  }
  place.file = rendezvous.substr(rendezvous.find(':') + 1);
  if (place.file.empty()) {
    throw ConfigError(
        text("rendezvous '", rendezvous, "' must name a file: ", rendezvous, "/path"));
  }
  return place;
}

Links meet_others(const Membership& membership, const GroupOptions& options) {
  return Meeting(membership, options).meet();
}

}  // namespace slackline::group
