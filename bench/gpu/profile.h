#pragma once

#include "device_net.h"

namespace slackline::bench {

/// Prints where the time of a step's operations goes, each timed in its place in the step: µs, GB/s
/// of what it reads and writes, TFLOP/s, and how near that is to the roofline of these two speeds.
void print_profile(DeviceNet& net, const NetOptions& options, int steps);

}  // namespace slackline::bench
