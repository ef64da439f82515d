#include "cpu_budget.h"

#include <slackline/error.h>

#include <algorithm>

namespace slackline {

InputWorkers input_workers(const InputOptions& input, std::int32_t cpus,
                           std::int32_t launch_threads, std::int32_t devices) {
  if (input.workers > 0) return {input.workers, "as configured"};
  if (!input.private_threads) return {cpus, "one for each usable CPU"};
  const std::int32_t left = cpus - launch_threads * devices - devices;
  const std::int32_t most = 8 * devices;
  return {std::clamp(left, 1, most), text("private_threads: min(", cpus, " CPUs - ", launch_threads,
                                          "*", devices, " - ", devices, ", 8*", devices, ") = ",
                                          std::min(left, most), left < 1 ? ", raised to 1" : "")};
}

}  // namespace slackline
