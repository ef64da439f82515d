// Who comes to the rendezvous, who does not, and who should not.

#include <slackline/error.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "frames.h"
#include "hosts.h"
#include "process_group/membership.h"
#include "rank_process.h"

namespace slackline {
namespace {

using testing_support::Process;

/// Waits for one on a socket that blocks.
group::Frame read_frame(const group::Descriptor& socket) {
  group::FrameReader reader;
  group::Frame frame;
  EXPECT_EQ(reader.read(socket, frame), group::FrameReader::Result::kFrame) << reader.problem();
  return frame;
}

/// A WELCOME to so many ranks of this machine, all at that port.
std::string welcome(int size, std::uint16_t port) {
  group::PayloadWriter table;
  table.string("nonce");
  for (int i = 0; i < size; ++i) table.string("host").string("").number(port);
  return group::encode(group::FrameType::kWelcome, table.bytes());
}

/// What rank `rank` says on a connection to a lower one.
std::string link(int rank, std::uint32_t purpose) {
  return group::encode(group::FrameType::kLink, group::PayloadWriter()
                                                    .string("nonce")
                                                    .number(static_cast<std::uint32_t>(rank))
                                                    .number(purpose)
                                                    .bytes());
}

/// A port that nobody else gets: bound, so that rank 0 can still listen there, but not listening.
class RendezvousTest : public testing_support::GroupTest {
 protected:
  RendezvousTest() {
    const int on = 1;
    ::setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof any;
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&any), size), 0);
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&any), &size);
    port_ = any;
    tcp_ = "tcp://127.0.0.1:" + std::to_string(ntohs(any.sin_port));
  }
  ~RendezvousTest() override { ::close(socket_); }

  /// Connects as soon as rank 0 listens, and sends that.
  void strange(const std::string& bytes) {
    for (;;) {
      group::Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (connect_to_port(socket) == 0) {
        strangers_.push_back(std::move(socket));
        break;
      }
    }
    ::send(strangers_.back().number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

  [[nodiscard]] int connect_to_port(const group::Descriptor& socket) const {
    return ::connect(socket.number(), reinterpret_cast<const sockaddr*>(&port_), sizeof port_);
  }

  /// The port in rank 0's notice, as soon as there is one.
  [[nodiscard]] std::uint16_t noticed_port() const {
    for (;;) {
      std::ifstream file(folder_.path() / "rank_0");
      std::string line;
      for (int i = 0; i < 4; ++i) std::getline(file, line);
      if (file) return static_cast<std::uint16_t>(std::stoi(line));
    }
  }

  int socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in port_{};
  std::string tcp_;
  std::vector<group::Descriptor> strangers_;
};

TEST_F(RendezvousTest, RanksMeetAtAPort) {
  rendezvous_ = tcp_;
  for (int i = 4; i >= 0; --i) start(i, 5, {}, {"sum=1009"});
  expect_all_done();
}

TEST_F(RendezvousTest, StrangersAreLetGo) {
  rendezvous_ = tcp_;
  start(0, 2, {}, {"sum=5"});
  strange("");
  strange("GET / HTTP/1.1\r\nHost: here\r\n\r\n");
  strange("G");
  const std::array<unsigned char, 12> endless = {'G', 'S', 'L', 'K', 2,   0,
                                                 1,   0,   255, 255, 255, 255};
  strange({endless.begin(), endless.end()});
  const std::array<unsigned char, 12> empty = {'G', 'S', 'L', 'K', 2, 0, 1, 0, 0, 0, 0, 0};
  strange({empty.begin(), empty.end()});
  start(1, 2, {}, {"sum=5"});
  expect_all_done();
}

TEST_F(RendezvousTest, StrangersAreNamedIfARankDoesNotCome) {
  rendezvous_ = tcp_;
  start(0, 2, {"come_ms=1000"});
  strange("GET / HTTP/1.1\r\n\r\n");
  const std::array<unsigned char, 12> newer = {'G', 'S', 'L', 'K', 9, 0, 1, 0, 0, 0, 0, 0};
  strange({newer.begin(), newer.end()});
  expect_all_to_blame(-1,
                      "rank 1 of 2 did not come within 1 s; one from 127.0.0.1 was refused: it "
                      "does not speak slackline's protocol; one from 127.0.0.1 was refused: it "
                      "speaks version 9 of slackline's protocol, and this is 2");
}

TEST_F(RendezvousTest, MissingRanksAreNamedToAllThatCame) {
  for (const int i : {0, 1, 3}) start(i, 5, {"come_ms=1000", "deadline_ms=60000"});
  expect_all_to_blame(-1, "rendezvous: ranks 2 and 4 of 5 did not come within 1 s");
}

TEST_F(RendezvousTest, RankZeroThatNeverComesIsMissed) {
  start(1, 2, {"come_ms=200"});
  expect_all_to_blame(-1, "did not find rank 0 at " + rendezvous_ + " within 0.2 s");
}

TEST_F(RendezvousTest, TheSameRankTwiceIsRefused) {
  start(0, 3, {"come_ms=3600000"});
  start(1, 3, {"come_ms=3600000"});
  Process& twin = start(1, 3, {"come_ms=5000", "host=twin"});
  EXPECT_EQ(rank(0).end(), 4) << rank(0).output();
  EXPECT_NE(rank(0).last_line().find("two processes are rank 1: one on "), std::string::npos)
      << rank(0).output();
  EXPECT_EQ(rank(1).end(), 4) << rank(1).output();
  EXPECT_EQ(twin.end(), 4) << twin.output();
  EXPECT_EQ(rank(0).last_line(), rank(1).last_line());
}

TEST_F(RendezvousTest, AnotherConfigurationIsRefusedNamingWhoHasIt) {
  for (int i = 0; i < 2; ++i) {
    start(i, 2, {"come_ms=3600000", i == 1 ? "configuration=other" : "configuration=one"});
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(rank(i).end(), 4) << rank(i).output();
    EXPECT_EQ(
        rank(i).last_line(),
        "config: rendezvous: rank 1 (host1) has another configuration than rank 0 (host0): its "
        "digest is 'other', and here it is 'one'");
  }
}

TEST_F(RendezvousTest, AnotherNumberOfRanksIsRefused) {
  start(0, 2, {"come_ms=3600000"});
  start(1, 3, {"come_ms=3600000"});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(rank(i).end(), 4) << rank(i).output();
    EXPECT_EQ(
        rank(i).last_line(),
        "config: rendezvous: rank 1 (host1) was started as one of 3 ranks, and rank 0 (host0) "
        "as one of 2");
  }
}

TEST_F(RendezvousTest, ARankOfAnotherRunIsTurnedAwayAndTheGroupMeetsWithoutIt) {
  rendezvous_ = tcp_;
  start(0, 2, {"come_ms=3600000"}, {"sum=5"}, {}, {"SLACKLINE_RUN=today"});
  Process& lost = start(1, 2, {"come_ms=3600000"}, {}, {}, {"SLACKLINE_RUN=yesterday"});
  EXPECT_EQ(lost.end(), 4) << lost.output();
  EXPECT_EQ(lost.last_line(),
            "config: rendezvous: it belongs to run 'yesterday', and this is 'today'");
  Process& right = start(1, 2, {"come_ms=3600000"}, {"sum=5"}, {}, {"SLACKLINE_RUN=today"});
  EXPECT_EQ(right.end(), 0) << right.output();
  EXPECT_EQ(rank(0).end(), 0) << rank(0).output();
}

TEST_F(RendezvousTest, TheFileOfAnEarlierRunDoesNotMislead) {
  // Its port is closed now, or, worse, somebody else's.
  ::listen(socket_, 8);
  const std::string stale =
      "slackline rendezvous 1\nabcd\n\n" + std::to_string(ntohs(port_.sin_port)) + "\n127.0.0.1\n";
  const std::string closed = "slackline rendezvous 1\nabcd\n\n1\n127.0.0.1\n";
  for (const std::string& notice : {closed, stale}) {
    ranks_.clear();
    std::ofstream(folder_.path() / "rank_0") << notice;
    start(1, 2, {"say=coming"}, {"sum=5"});
    ASSERT_TRUE(rank(0).wait_for("coming"));
    // Who listens there hangs up.
    if (notice == stale) ::close(::accept(socket_, nullptr, nullptr));
    start(0, 2, {}, {"sum=5"});
    if (notice == stale) ::shutdown(socket_, SHUT_RDWR);
    expect_all_done();
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "rank_0")) << "it leaves none itself";
}

TEST_F(RendezvousTest, WhoHasNotReadTheFileIsTurnedAway) {
  start(0, 2, {"come_ms=3600000"}, {"sum=5"});
  port_.sin_port = htons(noticed_port());
  strange(group::encode(group::FrameType::kHello, group::PayloadWriter()
                                                      .number(1)
                                                      .number(2)
                                                      .string("")
                                                      .string("")
                                                      .string("")
                                                      .string("stranger")
                                                      .number(1)
                                                      .bytes()));
  EXPECT_EQ(read_frame(strangers_.back()).type, group::FrameType::kRefused);
  start(1, 2, {"come_ms=3600000"}, {"sum=5"});
  expect_all_done();
}

TEST_F(RendezvousTest, RanksOfOneHostListenOnItsLoopbackInterfaceOnly) {
  rendezvous_ = "local:" + (folder_.path() / "rank_0").string();
  start(0, 2, {}, {"sum=5"});
  port_.sin_port = htons(noticed_port());
  std::ifstream file(folder_.path() / "rank_0");
  const std::string notice(std::istreambuf_iterator<char>(file), {});
  EXPECT_THAT(notice, testing::EndsWith(text("\n", ntohs(port_.sin_port), "\n127.0.0.1\n")));
  // Another address of this machine.
  port_.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
  const group::Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect_to_port(socket), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
  start(1, 2, {}, {"sum=5"});
  expect_all_done();
}

TEST_F(RendezvousTest, RanksAboveMayConnectBeforeTheTableHasCome) {
  // This is every rank but 1; more connect to it than it keeps strangers.
  constexpr int kSize = group::kMaxRanks;
  rendezvous_ = tcp_;
  ASSERT_EQ(::listen(socket_, 8), 0);
  const std::uint16_t own_port = ntohs(port_.sin_port);
  start(1, kSize, {"come_ms=20000", "deadline_ms=20000"});
  const group::Descriptor control(::accept(socket_, nullptr, nullptr));
  const std::string hello = read_frame(control).payload;
  std::uint16_t port = 0;
  std::memcpy(&port, hello.data() + hello.size() - sizeof(std::uint32_t), sizeof port);
  ASSERT_TRUE(group::send_all(control, group::encode(group::FrameType::kReady), {}));
  port_.sin_port = htons(port);
  for (int rank = 2; rank < kSize; ++rank) {
    for (const std::uint32_t purpose : {0, 1, 2}) strange(link(rank, purpose));
  }
  // Who did not wait would hang up soon.
  pollfd first{strangers_.front().number(), POLLIN, 0};
  EXPECT_EQ(::poll(&first, 1, 200), 0);
  ASSERT_TRUE(group::send_all(control, welcome(kSize, own_port), {}));
  EXPECT_EQ(read_frame(control).type, group::FrameType::kReady) << "all have connected";
  ASSERT_TRUE(group::send_all(control, group::encode(group::FrameType::kGo), {}));
  expect_all_done();
}

TEST_F(RendezvousTest, AnAddressThatLeadsNowhereDoesNotHideTheOthersOfTheName) {
  if (std::system("unshare -m true 2> /dev/null") != 0) {
    GTEST_SKIP() << "only root may have a file of hosts of its own";
  }
  // Behind the first connection, which nobody accepts, Linux drops what comes: the first address
  // is silent. Rank 0 is at the second.
  ASSERT_EQ(::listen(socket_, 0), 0);
  strange("");
  const std::string port = std::to_string(ntohs(port_.sin_port));
  rendezvous_ = "tcp://127.0.0.2:" + port;
  start(0, 3, {"come_ms=20000"}, {"sum=5"});
  rendezvous_ = "tcp://several:" + port;
  for (int i = 1; i < 3; ++i) {
    start(i, 3, {"come_ms=20000", "deadline_ms=20000"}, {"sum=5"},
          testing_support::with_hosts_file(folder_, "127.0.0.1 several\n127.0.0.2 several\n"));
  }
  expect_all_done();
}

TEST_F(RendezvousTest, WhatIsNoPlaceToMeetIsRefused) {
  for (const char* const place : {"tcp://host", "tcp://:1", "tcp://host:0", "tcp://host:65536",
                                  "tcp://host:1x", "udp://host:1", "file:", "local:"}) {
    ranks_.clear();
    rendezvous_ = place;
    EXPECT_EQ(start(0, 2, {}).end(), 4) << place;
    EXPECT_NE(rank(0).last_line().find("rendezvous '" + rendezvous_ + "' must "), std::string::npos)
        << rank(0).output();
  }
}

}  // namespace
}  // namespace slackline
