#pragma once

// A whole run but for the data: workers that use CPU time, a prefetcher, emulated devices and the
// training loop, in simulated time. Shared with the tests.

#include <slackline/registry.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace slackline::bench {

/// The machine and the training that a prefetcher meets.
struct Scenario {
  const char* name = "";
  double step_ms = 200;       ///< on the device
  double upload_ms = 6;       ///< of one device's batch
  double input_cpu_ms = 100;  ///< that the workers spend on one device's batch
  std::int32_t workers = 4;   ///< threads that share the work on each batch
  std::int32_t cpus = 8;      ///< for workers and launches together
  std::int32_t devices = 1;   ///< mirrored, each with a batch in every step
  double step_jitter = 0;     ///< standard deviation of step_ms, as a share of it
  double input_jitter = 0;    ///< share of input_cpu_ms that is exponentially distributed: for
                              ///< each batch anew, with the same mean
  double launch_ms = 5;       ///< CPU time of launching a step on one device
  std::int32_t launch_threads = 1;   ///< for each device; 0: the loop launches one after the other
  std::int32_t steps_in_flight = 0;  ///< 0 waits for each step, as upstream

  [[nodiscard]] bool is_random() const { return step_jitter > 0 || input_jitter > 0; }
};

/// A prefetcher with its options, in the types of the plugin's table: durations in ns.
struct Setting {
  using Value = std::variant<std::int64_t, double, std::string>;

  std::string name;  ///< in tables
  std::string plugin;
  std::vector<std::pair<std::string, Value>> options;
};

/// Steps that are left out, and steps that count.
struct RunLength {
  std::int32_t warmup_steps = 400;
  std::int32_t steps = 400;
};

struct Outcome {
  double step_ms = 0;                     ///< mean
  double cpu_ms = 0;                      ///< CPU time of a step, all threads
  std::map<std::string, double> reports;  ///< of all plugins, by name
};

/// The scenario on a SimulatedClock with its CPUs: the same at every call and on every machine.
[[nodiscard]] Outcome simulate(const Scenario& scenario, const Setting& setting,
                               const RunLength& length, std::uint64_t seed, Registry& registry);

/// The same threads on the machine's clock and CPUs; `cpus` is not observed.
[[nodiscard]] Outcome run_in_real_time(const Scenario& scenario, const Setting& setting,
                                       const RunLength& length, std::uint64_t seed,
                                       Registry& registry);

}  // namespace slackline::bench
