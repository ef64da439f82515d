#pragma once

#include <slackline/collective.h>
#include <slackline/ranks.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "process_group/membership.h"

namespace slackline::group {

struct GroupOptions {
  /// A digest of everything on which the ranks must agree; at most 256 bytes.
  std::string configuration;
  /// What errors call this machine; empty: its host name.
  std::string host;
  /// In which all ranks must have come and be connected, from the start of rank 0.
  std::chrono::milliseconds rendezvous_deadline{60'000};
  /// A rank from which nothing was heard for so long is lost, whatever it computes: heartbeats come
  /// from a thread of their own. At least 100 ms.
  std::chrono::milliseconds deadline{10'000};
};

/// The ranks of one run, each a process, connected over TCP: any two by one connection for
/// gradients, which are this Collective's, one for what ranks() tell each other, and one for
/// heartbeats. README.md has the protocol.
///
/// Lifecycle  join_group() in every process; then calls; destruction says goodbye and waits for
///            nobody. The Collective's calls are the same at every rank, in the same order, and so
///            are those of ranks(); what comes first of the one and the other does not matter.
/// Threads    one caller at a time of the Collective, one of ranks(); abort(), check() and waited()
///            by any thread.
/// Errors     DeviceError from the calls that wait and all later ones, once a rank is lost, aborts,
///            or ends while others call: it names the rank and its host, and is the same at every
///            survivor, because rank 0 decides whom to name. A connection that closes is seen at
///            once; silence after the deadline (after another one, if rank 0 falls silent too, in
///            between). A call whose arguments differ between the ranks is a DeviceError at all of
///            them, has changed nothing, and further ones may follow.
class ProcessGroup : public Collective {
 public:
  /// The same processes, for what they tell each other. Valid as long as the group.
  [[nodiscard]] virtual Ranks& ranks() = 0;

  [[nodiscard]] virtual std::int32_t local_rank() const = 0;  ///< on its host. Constant.

  /// As Collective has it, for memory of the host (`stream` is null): waits until done. The sums
  /// have the bits of sum_in_rank_order(). Does not allocate.
  void all_reduce_sum(std::span<float> values, void* stream) override = 0;

  /// Throws DeviceError if a rank is lost or has aborted: "<doing>: rank 3 (node7) …". Does not
  /// wait.
  virtual void check(const char* doing) = 0;

  /// In all_reduce_sum(), for the last rank to come, in all calls so far.
  [[nodiscard]] virtual std::chrono::nanoseconds waited() const noexcept = 0;
};

/// Meets the other ranks. Alone it needs no network.
///
/// Errors     ConfigError if the rendezvous makes no sense, or a rank has another configuration,
///            number of ranks or version of the protocol, or the same rank: at all that have come.
///            DeviceError naming those that have not come by the deadline, or died on the way.
[[nodiscard]] std::unique_ptr<ProcessGroup> join_group(const Membership& membership,
                                                       const GroupOptions& options);

}  // namespace slackline::group
