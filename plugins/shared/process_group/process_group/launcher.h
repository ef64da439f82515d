#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace slackline::group {

struct LaunchPlan {
  std::vector<std::string>
      command;  ///< a program's path or name (as execvp looks it up), and words
  std::int32_t processes = 1;
  /// How long the others may go on once one has failed: they find out, and say so themselves. Then
  /// they get SIGTERM, and a second later SIGKILL. One that ends with kInterrupted has not failed:
  /// as long as none does, the others may save what they have.
  std::chrono::milliseconds deadline{10'000};
};

struct LaunchEnd {
  int exit_code = 0;    ///< of the rank to blame; 128 + the signal that killed it
  std::string message;  ///< which one it is, and what became of it; empty if all ended with 0
};

/// Runs a command as the ranks of one run on this host, and waits until all have ended. Each gets
/// its SLACKLINE_… variables, a rendezvous of their own, no input, no other launcher's
/// variables, and its share of the CPUs that this process may run on, its affinity mask, ordered by
/// core and cut into contiguous shares, so that not every rank starts workers for all of them. If
/// usable_cpus() are fewer, SLACKLINE_CPUS says how many of its share a rank may use: which ones is
/// the kernel's choice, as others with a quota share the same CPUs. With fewer CPUs than ranks,
/// rank i runs on the CPU at i mod their number in that order. SIGINT, SIGTERM, SIGHUP
/// and SIGUSR1 are passed on. Should this process be killed, so are they.
///
/// To blame is the first that failed; but of those that failed within a second, one that a signal
/// killed before one with an exit code, and that before one with kInternal, which is what the loss
/// of another gives. If nobody failed with more than that, those that had to be killed are named.
///
/// Threads    one caller in the process, in which no other thread takes these signals.
/// Errors     ConfigError if the command cannot be executed, IoError if no process can be started:
///            then none is left.
[[nodiscard]] LaunchEnd launch(const LaunchPlan& plan);

}  // namespace slackline::group
