#pragma once

#include <cstddef>
#include <vector>

namespace slackline::group {

/// CPUs that this process may run on, by number: the first usable_cpus() of its affinity mask.
/// Throws IoError if the system does not say.
[[nodiscard]] std::vector<int> own_cpus();

/// Cut among so many processes, each gets a contiguous share, at most one CPU larger than another.
/// With fewer CPUs than processes, process i gets CPU i mod their number.
[[nodiscard]] std::vector<std::vector<int>> cpu_shares(const std::vector<int>& cpus,
                                                       std::size_t processes);

}  // namespace slackline::group
