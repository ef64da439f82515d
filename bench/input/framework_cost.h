#pragma once

#include <cstdint>

namespace slackline::bench {

/// Microseconds that the framework alone costs for each batch: input workers, slots, batches and
/// the prefetcher `none`, with a source and a transform that do nothing, on one worker.
double framework_us_per_batch(std::int32_t batch_size);

}  // namespace slackline::bench
