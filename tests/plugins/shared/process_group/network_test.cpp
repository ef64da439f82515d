// Ranks on hosts of their own: network namespaces, joined by a bridge.

#include <cstdlib>
#include <string>

#include "rank_process.h"

namespace slackline {
namespace {

using testing_support::Words;

bool shell(const std::string& command) {
  return std::system((command + " > /dev/null 2>&1").c_str()) == 0;
}

class NetworkTest : public testing_support::GroupTest {
 protected:
  static constexpr int kHosts = 3;

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root may make network namespaces";
    if (!shell("ip -V")) GTEST_SKIP() << "there is no iproute2 on this machine";
    const std::string id = std::to_string(::getpid());
    prefix_ = "sl" + id + "h";
    // The bridge has a namespace of its own too: nothing of the machine's network is touched.
    if (!shell("ip netns add " + prefix_ + "sw")) {
      GTEST_SKIP() << "this machine does not allow network namespaces";
    }
    bool is_made = shell("ip -n " + prefix_ + "sw link add name bridge0 type bridge && ip -n " +
                         prefix_ + "sw link set bridge0 up");
    for (int i = 0; i < kHosts && is_made; ++i) {
      const std::string n = std::to_string(i);
      const std::string port = "ip -n " + prefix_ + "sw link ";
      is_made = shell("ip netns add " + host(i)) &&
                shell(port + "add p" + n + " type veth peer name eth0 netns " + host(i)) &&
                shell(port + "set p" + n + " master bridge0 up") &&
                shell("ip -n " + host(i) + " addr add 10.77.0." + std::to_string(i + 1) +
                      "/24 dev eth0") &&
                shell("ip -n " + host(i) + " link set lo up") &&
                shell("ip -n " + host(i) + " link set eth0 up");
    }
    if (!is_made) GTEST_SKIP() << "this machine does not allow bridges and pairs of interfaces";
  }
  void TearDown() override {
    ranks_.clear();
    if (prefix_.empty()) return;
    for (int i = 0; i < kHosts; ++i) shell("ip netns del " + host(i));
    shell("ip netns del " + prefix_ + "sw");
  }

  [[nodiscard]] std::string host(int number) const { return prefix_ + std::to_string(number); }
  void start_on_hosts(const Words& before_join, const Words& after_join) {
    // The host name resolves to nothing here; the port is each host's own.
    for (int i = 0; i < kHosts; ++i) {
      start(i, kHosts, before_join, after_join, {"ip", "netns", "exec", host(i)});
    }
  }
  void cut_off(int number) const {
    EXPECT_TRUE(shell("ip -n " + prefix_ + "sw link set p" + std::to_string(number) + " down"));
  }

  std::string prefix_;
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

TEST_F(NetworkTest, AHostWithoutANetworkIsLostAndKnowsItIsItself) {
  start_on_hosts({"deadline_ms=1500"}, {"sums=10007"});
  for (int i = 0; i < kHosts; ++i) ASSERT_TRUE(rank(i).wait_for("summing")) << rank(i).output();
  cut_off(2);
  expect_all_to_blame(2, "rank 2 (host2) is lost: no sign of life for 1.2 s");
  EXPECT_EQ(rank(2).end(), 3);
  EXPECT_NE(rank(2).last_line().find("rank 2 (host2) has lost its network"), std::string::npos)
      << rank(2).output();
}

}  // namespace
}  // namespace slackline
