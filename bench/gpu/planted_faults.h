#pragma once

namespace slackline::bench {

/// Runs a kernel that reads beyond its memory, or one whose threads race for a word of shared
/// memory: compute-sanitizer must find it, or its silence about other kernels means nothing.
void plant_fault(bool is_race);

}  // namespace slackline::bench
