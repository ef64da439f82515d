#pragma once

// The two things that are compared, on the same records, crops and threads.

#include <cstdint>
#include <string>
#include <vector>

#include "bare_loop.h"

namespace slackline::bench {

/// What both pipelines do.
struct Workload {
  std::string files;          ///< glob of TFRecord shards
  std::string pixels = "tf";  ///< "tf" (fast DCT) or "accurate"
  std::int32_t batch_size = 64;
  std::int32_t threads = 1;
  std::int32_t epochs = 2;  ///< that are timed; one more goes before them
};

/// What one process measured.
struct Measurement {
  double images_per_s = 0;
  double cpu_s_per_1000 = 0;  ///< of the whole process, while it was timed
  double first_batch_s = 0;   ///< from the start of the pipeline; 0 for the bare loop
  double peak_memory_mib = 0;
  double batching_us_per_batch = 0;  ///< slackline's own work outside source and transforms
};

/// The whole input path: source, transform, batches, prefetcher `plain`; the consumer gives each
/// batch back at once.
Measurement run_slackline(const Workload& workload);

/// The bare loop on records that are in memory already, with the crops that slackline draws.
Measurement run_bare(const Workload& workload);

/// Runs both once over the first epoch and returns the largest and the mean difference of pixels,
/// 0..255: the proof that they do the same work.
struct PixelDifference {
  int largest = 0;
  double mean = 0;
  std::uint64_t images = 0;
};
PixelDifference compare_pixels(const Workload& workload);

}  // namespace slackline::bench
