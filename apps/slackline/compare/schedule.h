#pragma once

// In which order the runs of a comparison follow each other.

#include <array>
#include <vector>

#include "comparison.h"

namespace slackline::app {

/// The configurations that a block runs, one after another, as numbers from 0 (A) on: all of them
/// in one order and then back, so that a steady drift of the machine meets each alike. The order
/// rotates from block to block, so that none is always in the middle: A B B A, B A A B, ….
[[nodiscard]] std::vector<int> block_order(int block, int configurations);

/// Pairs what a block measured of A and of another configuration, in the order they ran. Which of
/// A's two runs plays the part of B when A is compared with itself changes with every round of the
/// rotation: else a drift would pass for noise.
[[nodiscard]] PairedBlock paired(int block, int configurations, std::array<double, 2> a,
                                 std::array<double, 2> b);

}  // namespace slackline::app
