#pragma once

#include <cstddef>
#include <filesystem>
#include <vector>

namespace slackline::group {

/// CPUs that this process may run on, its affinity mask, ordered by core. Throws IoError if the
/// system does not say.
[[nodiscard]] std::vector<int> own_cpus();

/// Of the same CPUs, by number, those of one core (hyperthreads) beside each other. `system` is
/// /sys/devices/system/cpu; what it does not tell is a core of its own.
[[nodiscard]] std::vector<int> ordered_by_core(std::vector<int> cpus,
                                               const std::filesystem::path& system);

/// Cut among so many processes, each gets a contiguous share, at most one CPU larger than another.
/// With fewer CPUs than processes, process i gets CPU i mod their number.
[[nodiscard]] std::vector<std::vector<int>> cpu_shares(const std::vector<int>& cpus,
                                                       std::size_t processes);

/// How many CPUs of a share of `share` may be used, if `usable` of all `cpus` may. At least 1.
[[nodiscard]] std::size_t cpu_budget(std::size_t share, std::size_t usable, std::size_t cpus);

}  // namespace slackline::group
