#pragma once

#include <slackline/run_options.h>

#include <cstdint>
#include <string>

namespace slackline {

/// How many input workers a run has, and why.
struct InputWorkers {
  std::int32_t count = 1;
  std::string rule;  ///< in words, for the results
};

/// `cpus` are the usable ones; each of `devices` has `launch_threads` of its own. The rule of
/// input.private_threads is that of tensorflow/models (set_gpu_thread_mode_and_count, 2019), where
/// every device has one more thread for the runtime and its events. Where upstream comes to 0 or
/// less, which there means no pool at all or an error, it is 1.
[[nodiscard]] InputWorkers input_workers(const InputOptions& input, std::int32_t cpus,
                                         std::int32_t launch_threads, std::int32_t devices);

}  // namespace slackline
