#pragma once

#include <vector>

#include "simulation.h"

namespace slackline::bench {

/// The scenarios of the grid: each is there because strategies differ in it, or must not.
[[nodiscard]] std::vector<Scenario> scenarios();

/// What a user can choose by hand: none, plain, and delay and slack with several values.
[[nodiscard]] std::vector<Setting> fixed_settings();

/// The prefetcher `adaptive` as it comes.
[[nodiscard]] Setting adaptive_setting();

}  // namespace slackline::bench
