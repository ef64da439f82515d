#pragma once

#include <slackline/export.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace slackline {

/// CPUs that this process may use: those of its affinity mask, and no more than the CPU quota of
/// its control group and of each group above it allows (cgroup v2 cpu.max, rounded up), nor than
/// the environment variable SLACKLINE_CPUS says, in which a launcher may share a quota out
/// (ConfigError if it is no number). At least 1.
/// std::thread::hardware_concurrency() knows nothing of quotas. `cgroup_root` is where the cgroup
/// tree is mounted.
SLACKLINE_API int usable_cpus(const std::filesystem::path& cgroup_root = "/sys/fs/cgroup");

/// The largest memory this process has had resident, in bytes.
SLACKLINE_API std::uint64_t peak_memory_bytes();

/// CPU time that this process has used, user and system, all threads, in seconds.
SLACKLINE_API double cpu_seconds();

/// What a result should say of the machine it was made on.
struct Machine {
  std::string host;
  std::string kernel;
  std::string cpu;     ///< model name
  double cpu_mhz = 0;  ///< as the model name advertises it, else of one CPU now; 0 if not known
  int cpus_online = 0;
  int cpus_usable = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_available_bytes = 0;  ///< now, without swapping
  std::vector<std::string> gpus;             ///< model names, of those that NVIDIA's driver lists
};
SLACKLINE_API Machine this_machine();

}  // namespace slackline
