// Ranks on hosts of their own.

#include <string>

#include "hosts.h"
#include "rank_process.h"

namespace slackline {
namespace {

using testing_support::Words;

class NetworkTest : public testing_support::GroupTest {
 protected:
  static constexpr int kHosts = 3;

  void SetUp() override {
    if (!hosts_.problem().empty()) GTEST_SKIP() << hosts_.problem();
  }
  void TearDown() override { ranks_.clear(); }

  void start_on_hosts(const Words& before_join, const Words& after_join) {
    // The host name resolves to nothing here; the port is each host's own.
    for (int i = 0; i < kHosts; ++i) start(i, kHosts, before_join, after_join, hosts_.prefix(i));
  }

  testing_support::Hosts hosts_{kHosts};
};

TEST_F(NetworkTest, RanksOfSeveralHostsMeetAtAPort) {
  rendezvous_ = "tcp://10.77.0.1:7000";
  start_on_hosts({}, {"sum=100003", "gather=5", "broadcast=100003"});
  expect_all_done();
}

TEST_F(NetworkTest, RanksOfSeveralHostsMeetInAFile) {
  start_on_hosts({}, {"sum=100003", "gather=5", "broadcast=100003"});
  expect_all_done();
}

TEST_F(NetworkTest, ARankBesideRankZeroIsFoundWhicheverAddressItCameFrom) {
  hosts_.add_address(0, "10.78.0.1");
  rendezvous_ = "tcp://10.77.0.1:7000";
  start(0, 3, {}, {"sum=1009"}, hosts_.prefix(0));
  start(2, 3, {}, {"sum=1009"}, hosts_.prefix(1));
  rendezvous_ = "tcp://10.78.0.1:7000";
  start(1, 3, {}, {"sum=1009"}, hosts_.prefix(0));
  expect_all_done();
}

TEST_F(NetworkTest, TheNameOfRankZerosHostMayMeanTheLoopbackInterfaceThere) {
  // As on Debian, whose /etc/hosts has 127.0.1.1 for a machine's own name.
  rendezvous_ = "tcp://node:7000";
  for (int i = 0; i < 3; ++i) {
    const int host = i / 2;
    Words prefix = hosts_.prefix(host);
    const Words file = testing_support::with_hosts_file(
        folder_, host == 0 ? "127.0.1.1 node\n" : "10.77.0.1 node\n");
    prefix.insert(prefix.end(), file.begin(), file.end());
    start(i, 3, {}, {"sum=1009"}, prefix);
  }
  expect_all_done();
}

TEST_F(NetworkTest, RanksOfOneHostNeedNoneOfItsAddresses) {
  rendezvous_ = "local:" + (folder_.path() / "rank_0").string();
  for (int i = 0; i < kHosts; ++i) {
    start(i, kHosts, {"deadline_ms=3000"}, {"read", "sum=1009", "gather=5"}, hosts_.prefix(0));
  }
  for (int i = 0; i < kHosts; ++i) ASSERT_TRUE(rank(i).wait_for("joined")) << rank(i).output();
  hosts_.forget_addresses(0);
  for (int i = 0; i < kHosts; ++i) rank(i).write_line();
  expect_all_done();
}

TEST_F(NetworkTest, RanksOfOneHostMeetWithoutIpv4) {
  rendezvous_ = "local:" + (folder_.path() / "rank_0").string();
  hosts_.forget_ipv4(0);
  for (int i = 0; i < kHosts; ++i) start(i, kHosts, {}, {"sum=1009"}, hosts_.prefix(0));
  expect_all_done();
}

TEST_F(NetworkTest, AHostWithoutANetworkIsLostAndKnowsItIsItself) {
  start_on_hosts({"deadline_ms=3000"}, {"sums=10007"});
  for (int i = 0; i < kHosts; ++i) ASSERT_TRUE(rank(i).wait_for("summing")) << rank(i).output();
  hosts_.cut_off(2);
  expect_all_to_blame(2, "rank 2 (host2) is lost: no sign of life for 2.4 s");
  EXPECT_EQ(rank(2).end(), 3);
  EXPECT_NE(rank(2).last_line().find("rank 2 (host2) has lost its network"), std::string::npos)
      << rank(2).output();
}

}  // namespace
}  // namespace slackline
