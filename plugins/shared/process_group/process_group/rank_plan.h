#pragma once

#include <slackline/model.h>
#include <slackline/options.h>
#include <slackline/ranks.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "process_group/process_group.h"

/// What strategies whose replicas are the processes of a run have in common.
namespace slackline::group {

/// The options that such a strategy has, under these names but the first one.
struct RankOptions {
  std::string_view strategy;     ///< for errors
  std::string_view size_option;  ///< name of `size`
  std::int32_t size = 0;         ///< of the run; 0: as many as a launcher started, or one
  std::int32_t deadline_s = 10;  ///< in which all know of one that is lost
  std::int32_t rendezvous_deadline_s = 60;
};

/// The rows of a table of options that has `deadline_s` and `rendezvous_deadline_s`.
template <class Options>
struct RankRows {
  static Option<Options> deadline() {
    return option<Options, std::int32_t>(
               "deadline_s", &Options::deadline_s,
               "in which all processes know of one that is lost, even if rank 0 falls silent too; "
               "it is, once nothing was heard from it for 2/5 of this")
        .range(1, 3600)
        .unit("s");
  }
  static Option<Options> rendezvous_deadline() {
    return option<Options, std::int32_t>(
               "rendezvous_deadline_s", &Options::rendezvous_deadline_s,
               "in which all processes must have come, from the start of rank 0, and then have "
               "connected whatever sums their gradients")
        .range(1, 86400)
        .unit("s");
  }
};

/// Throws ConfigError if a launcher started another number of processes than the options say.
[[nodiscard]] RankPlan plan_ranks(const RankOptions& options, const Membership& membership);

/// join_group(), for a process of the plan; `configuration` is GroupOptions's. Throws ConfigError
/// if this is none.
[[nodiscard]] std::unique_ptr<ProcessGroup> join_ranks(const RankOptions& options,
                                                       const RankPlan& plan,
                                                       const Membership& membership,
                                                       const std::string& configuration);

/// The sums of all ranks, added in their order. `scratch` is as large as there are ranks. Waits for
/// all of them; does not allocate.
[[nodiscard]] StepSums sum_over_ranks(Ranks& ranks, const StepSums& own,
                                      std::span<StepSums> scratch);

}  // namespace slackline::group
