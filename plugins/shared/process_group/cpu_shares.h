#pragma once

#include <cstddef>
#include <vector>

namespace slackline::group {

/// CPUs that this process may run on, by number: its affinity mask. Throws IoError if the system
/// does not say.
[[nodiscard]] std::vector<int> own_cpus();

/// Cut among so many processes, each gets a contiguous share, at most one CPU larger than another.
/// With fewer CPUs than processes, process i gets CPU i mod their number.
[[nodiscard]] std::vector<std::vector<int>> cpu_shares(const std::vector<int>& cpus,
                                                       std::size_t processes);

/// How many CPUs of a share of `share` may be used, if `usable` of all `cpus` may. At least 1.
[[nodiscard]] std::size_t cpu_budget(std::size_t share, std::size_t usable, std::size_t cpus);

}  // namespace slackline::group
