#include "cpu_shares.h"

#include <slackline/error.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <map>
#include <utility>

#include <sched.h>

namespace slackline::group {

std::vector<int> own_cpus() {
  cpu_set_t mask;
  if (::sched_getaffinity(0, sizeof mask, &mask) != 0) {
    throw IoError("cannot tell on which CPUs this process may run", errno);
  }
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &mask)) cpus.push_back(cpu);
  }
  return ordered_by_core(std::move(cpus), "/sys/devices/system/cpu");
}

std::vector<int> ordered_by_core(std::vector<int> cpus, const std::filesystem::path& system) {
  std::map<int, std::vector<int>> cores;  // by their first CPU
  for (const int cpu : cpus) {
    // "0,64" or "0-1"
    std::ifstream file(system / text("cpu", cpu) / "topology" / "thread_siblings_list");
    int first = 0;
    cores[file >> first ? first : cpu].push_back(cpu);
  }
  cpus.clear();
  for (const auto& [first, core] : cores) cpus.insert(cpus.end(), core.begin(), core.end());
  return cpus;
}

std::vector<std::vector<int>> cpu_shares(const std::vector<int>& cpus, std::size_t processes) {
  std::vector<std::vector<int>> shares(processes);
  for (std::size_t i = 0; i < processes; ++i) {
    if (cpus.size() < processes) {
      shares[i] = {cpus[i % cpus.size()]};
    } else {
      const auto border = [&](std::size_t process) {
        return cpus.begin() + static_cast<std::ptrdiff_t>(process * cpus.size() / processes);
      };
      shares[i].assign(border(i), border(i + 1));
    }
  }
  return shares;
}

std::size_t cpu_budget(std::size_t share, std::size_t usable, std::size_t cpus) {
  return std::max<std::size_t>(1, share * usable / cpus);
}

}  // namespace slackline::group
