#pragma once

#include <slackline/error.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <type_traits>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

namespace slackline::bench {

/// Lets this process use only the first `cpus` of its CPUs.
inline void use_first_cpus(int cpus) {
  cpu_set_t allowed, chosen;
  CPU_ZERO(&chosen);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&chosen) < cpus; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &chosen);
  }
  sched_setaffinity(0, sizeof chosen, &chosen);
}

/// What `measure()` returns in a fresh process on that many CPUs, so that memory, the allocator and
/// CPU time belong to it alone. The calling process must have one thread. Throws PluginError if the
/// process failed; its reason is on stderr.
template <class Measure>
auto in_own_process(int cpus, const Measure& measure) {
  using Result = decltype(measure());
  static_assert(std::is_trivially_copyable_v<Result>, "it goes through a pipe");
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) throw IoError("cannot make a pipe", errno);
  const pid_t child = ::fork();
  if (child < 0) throw IoError("cannot fork", errno);
  if (child == 0) {
    int status = 1;
    try {
      use_first_cpus(cpus);
      const Result result = measure();
      if (::write(ends[1], &result, sizeof result) == static_cast<ssize_t>(sizeof result))
        status = 0;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "bench_input: %s\n", error.what());
    }
    ::_exit(status);
  }
  ::close(ends[1]);
  Result result;
  const auto got = ::read(ends[0], &result, sizeof result);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0 || got != static_cast<ssize_t>(sizeof result)) {
    throw PluginError("a measured process failed; its reason is above");
  }
  return result;
}

}  // namespace slackline::bench
