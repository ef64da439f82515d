#pragma once

// Hosts of a test's own: network namespaces, joined by a bridge.

#include <slackline/error.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include <unistd.h>

#include "rank_process.h"

namespace slackline::testing_support {

/// What comes before a command, of root's, that is to find this text in /etc/hosts.
inline Words with_hosts_file(const TemporaryFolder& folder, const std::string& text) {
  static int files = 0;
  const std::string file = folder.path() / ("hosts" + std::to_string(files++));
  std::ofstream(file) << text;
  return {"unshare", "-m", "sh", "-c", "mount --bind " + file + " /etc/hosts && exec \"$@\"", "sh"};
}

/// 10.77.0.1 and following, as long as their object.
class Hosts {
 public:
  explicit Hosts(int count) : count_(count) { make(); }
  ~Hosts() {
    if (!has_switch_) return;
    for (int i = 0; i < count_; ++i) shell("ip netns del " + name(i));
    shell("ip netns del " + prefix_ + "sw");
  }
  Hosts(const Hosts&) = delete;
  Hosts& operator=(const Hosts&) = delete;

  /// Why this machine cannot have any; empty if they are there.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  /// What comes before a command that is to run there.
  [[nodiscard]] Words prefix(int number) const { return {"ip", "netns", "exec", name(number)}; }
  /// Gives a host another address, to which the others have no route.
  void add_address(int number, const std::string& address) const {
    EXPECT_TRUE(shell("ip -n " + name(number) + " addr add " + address + "/32 dev eth0"));
  }
  /// Takes a host's addresses away.
  void forget_addresses(int number) const {
    EXPECT_TRUE(shell("ip -n " + name(number) + " addr flush dev eth0"));
  }
  /// Takes IPv4 away from a host.
  void forget_ipv4(int number) const {
    forget_addresses(number);
    EXPECT_TRUE(shell("ip -n " + name(number) + " -4 addr flush dev lo"));
  }
  void cut_off(int number) const {
    EXPECT_TRUE(shell("ip -n " + prefix_ + "sw link set p" + std::to_string(number) + " down"));
  }

 private:
  static bool shell(const std::string& command) {
    return std::system((command + " > /dev/null 2>&1").c_str()) == 0;
  }
  [[nodiscard]] std::string name(int number) const { return prefix_ + std::to_string(number); }

  void make() {
    problem_ = "only root may make network namespaces";
    if (::geteuid() != 0) return;
    problem_ = "there is no iproute2 on this machine";
    if (!shell("ip -V")) return;
    problem_ = "this machine does not allow network namespaces";
    // The bridge has a namespace of its own too: nothing of the machine's network is touched.
    has_switch_ = shell("ip netns add " + prefix_ + "sw");
    if (!has_switch_) return;
    problem_ = "this machine does not allow bridges and pairs of interfaces";
    const std::string in_switch = "ip -n " + prefix_ + "sw link ";
    bool is_made =
        shell(in_switch + "add name bridge0 type bridge") && shell(in_switch + "set bridge0 up");
    for (int i = 0; i < count_ && is_made; ++i) {
      const std::string n = std::to_string(i);
      is_made = shell("ip netns add " + name(i)) &&
                shell(text(in_switch, "add p", n, " type veth peer name eth0 netns ", name(i))) &&
                shell(text(in_switch, "set p", n, " master bridge0 up")) &&
                shell("ip -n " + name(i) + " addr add 10.77.0." + std::to_string(i + 1) +
                      "/24 dev eth0") &&
                shell("ip -n " + name(i) + " link set lo up") &&
                shell("ip -n " + name(i) + " link set eth0 up");
    }
    if (is_made) problem_.clear();
  }

  const int count_;
  const std::string prefix_ = "sl" + std::to_string(::getpid()) + "h";
  bool has_switch_ = false;
  std::string problem_;
};

}  // namespace slackline::testing_support
