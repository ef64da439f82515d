#include <slackline/error.h>
#include <slackline/machine.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

#include <sched.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace slackline {
namespace {

int affinity_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set);
}

/// Of `cpus` those that SLACKLINE_CPUS allows.
int allowed_by_launcher(int cpus) {
  const char* const value = std::getenv("SLACKLINE_CPUS");
  if (value == nullptr) return cpus;
  const char* const end = value + std::strlen(value);
  int allowed = 0;
  const auto [last, error] = std::from_chars(value, end, allowed);
  if (error != std::errc{} || last != end || allowed < 1) {
    throw ConfigError(text("environment variable SLACKLINE_CPUS is '", value,
                           "'; it must be a number of CPUs, at least 1"));
  }
  return std::min(cpus, allowed);
}

/// This process's group in the v2 hierarchy ("0::/a/b" in /proc/self/cgroup), or "/".
std::filesystem::path own_cgroup() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  }
  return "/";
}

/// The value behind "key" in a file of "key : value" lines; empty if there is none.
std::string field_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return {};
}

/// From "Intel(R) Xeon(R) CPU @ 2.20GHz"; 0 if the name says nothing.
double advertised_mhz(const std::string& cpu) {
  const std::size_t at = cpu.find('@');
  if (at == std::string::npos) return 0;
  std::istringstream words(cpu.substr(at + 1));
  double value = 0;
  std::string unit;
  words >> value >> unit;
  return unit == "GHz" ? 1e3 * value : unit == "MHz" ? value : 0;
}

double mhz_of(const std::string& cpu) {
  const double advertised = advertised_mhz(cpu);
  if (advertised > 0) return advertised;
  const std::string now = field_of("/proc/cpuinfo", "cpu MHz");
  return now.empty() ? 0 : std::stod(now);
}

std::vector<std::string> nvidia_gpus() {
  std::vector<std::string> out;
  std::error_code none;
  for (const auto& gpu : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", none)) {
    out.push_back(field_of((gpu.path() / "information").c_str(), "Model"));
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

int usable_cpus(const std::filesystem::path& cgroup_root) {
  int cpus = allowed_by_launcher(affinity_cpus());
  std::filesystem::path group = own_cgroup().relative_path();
  for (;;) {
    std::ifstream file(cgroup_root / group / "cpu.max");
    double quota = 0, period = 0;  // "max 100000" leaves quota unread: no limit
    if (file >> quota >> period && period > 0) {
      cpus = std::min(cpus, static_cast<int>(std::ceil(quota / period)));
    }
    if (group.empty()) break;
    group = group.parent_path();
  }
  return std::max(cpus, 1);
}

std::uint64_t peak_memory_bytes() {
  // Not getrusage(): its ru_maxrss starts with what the parent process had.
  const std::string kilobytes = field_of("/proc/self/status", "VmHWM");
  return kilobytes.empty() ? 0 : std::stoull(kilobytes) * 1024;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Machine this_machine() {
  Machine machine;
  utsname name{};
  if (uname(&name) == 0) {
    machine.host = name.nodename;
    machine.kernel = std::string(name.sysname) + " " + name.release;
  }
  machine.cpu = field_of("/proc/cpuinfo", "model name");
  machine.cpu_mhz = mhz_of(machine.cpu);
  machine.cpus_online = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  machine.cpus_usable = usable_cpus();
  struct sysinfo info {};
  if (sysinfo(&info) == 0) {
    machine.memory_bytes = static_cast<std::uint64_t>(info.totalram) * info.mem_unit;
  }
  const std::string available_kilobytes = field_of("/proc/meminfo", "MemAvailable");
  if (!available_kilobytes.empty()) {
    machine.memory_available_bytes = std::stoull(available_kilobytes) * 1024;
  }
  machine.gpus = nvidia_gpus();
  return machine;
}

}  // namespace slackline
