#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace slackline::bench {

/// What is run, traced and not.
struct TracedWorkload {
  std::filesystem::path program;  ///< slackline
  std::string config;
  std::vector<std::string> set;  ///< "path=TOML" of each --set
  int steps = 200;               ///< that are measured, and traced
  int warmup_steps = 20;
  int rounds = 7;
};

/// One value for each round.
struct TracedRuns {
  std::vector<double> images_per_s;  ///< without the trace
  std::vector<double> of_untraced;   ///< rate with the trace, as part of that without
  std::vector<double> of_itself;  ///< the same of two runs without: what the machine's noise does
};

/// Each round has four fresh processes, untraced, traced, traced, untraced, or the other way round
/// in every second one: so a machine that gets slower or faster does it to both. Throws PluginError
/// if a run fails; its reason is on stderr.
TracedRuns traced_runs(const TracedWorkload& workload);

}  // namespace slackline::bench
