#include "process_group/rank_plan.h"

#include <slackline/error.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <type_traits>

namespace slackline::group {

RankPlan plan_ranks(const RankOptions& options, const Membership& membership) {
  if (!membership.is_launched) {
    const std::int32_t size = std::max(1, options.size);
    return {.rank = 0, .size = size, .is_launched = size == 1};
  }
  if (options.size != 0 && options.size != membership.size) {
    throw ConfigError(text("strategy ", options.strategy, ": ", options.size_option, " is ",
                           options.size, ", but the launcher started ", membership.size,
                           membership.size == 1 ? " process" : " processes",
                           "; make them the same, or ", options.size_option,
                           " 0, which is as many as there are"));
  }
  return {.rank = membership.rank, .size = membership.size, .is_launched = true};
}

std::unique_ptr<ProcessGroup> join_ranks(const RankOptions& options, const RankPlan& plan,
                                         const Membership& membership,
                                         const std::string& configuration) {
  if (!plan.is_launched) {
    throw ConfigError(text("strategy ", options.strategy, ": this process is none of the ",
                           plan.size, "; `slackline run`, mpirun or srun must start them"));
  }
  GroupOptions group;
  group.configuration = configuration;
  group.rendezvous_deadline = std::chrono::seconds(options.rendezvous_deadline_s);
  // The loss of rank 0 may be found only after that of another: twice within the deadline.
  group.deadline = std::chrono::milliseconds(1000) * options.deadline_s / 2;
  return join_group(membership, group);
}

StepSums sum_over_ranks(Ranks& ranks, const StepSums& own, std::span<StepSums> scratch) {
  static_assert(std::is_trivially_copyable_v<StepSums>);
  assert(scratch.size() == static_cast<std::size_t>(ranks.size()));
  ranks.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(scratch));
  StepSums total;
  for (const StepSums& each : scratch) total += each;
  return total;
}

}  // namespace slackline::group
