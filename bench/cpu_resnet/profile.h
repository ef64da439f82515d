#pragma once

#include <cstdint>

#include "net_cpu/executor.h"

namespace slackline::bench {

/// Prints where the time of training steps goes, by kind of operation and for the slowest ones.
void print_profile(std::int32_t depth, std::int32_t batch, std::int32_t image,
                   net::cpu::Precision precision, int threads, int steps);

}  // namespace slackline::bench
