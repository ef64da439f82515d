#pragma once

// From measured values to lines of a chart. Long series are made shorter without hiding anything:
// where many values fall on one place, the lowest and the highest of them stay.

#include <cstddef>
#include <span>
#include <vector>

#include "chart.h"
#include "run_files.h"

namespace slackline::app {

/// The most points of a line: as many places as a chart tells apart from left to right; fewer for
/// throughput, which jumps from step to step.
inline constexpr std::size_t kColumns = 200, kThroughputPoints = 80;

/// A series as a line, and behind it how far its values spread.
struct Curve {
  std::vector<Point> points = {};
  std::vector<Spread> band = {};  ///< empty if every value is a point
  std::size_t values = 0;         ///< how many there were
  std::size_t per_point = 1;      ///< the most that one point stands for
};

/// Throughput over steps, in images/s; x is the step's number, from 0. A point that stands for
/// several steps has their images over their time, its band the slowest and the fastest of them.
/// Steps that took no time at all have no rate and are left out.
Curve throughput_curve(std::span<const Step> steps);

/// The share of `values` (0..100 %) that are no larger than x. Where there are many, every so many
/// of them, the smallest and the largest included.
Curve distribution_curve(std::vector<double> values);

/// A counter over time, in seconds. With few changes each is a point; with many, a point has the
/// mean over its stretch of time, its band the lowest and the highest value in it.
Curve counter_curve(std::span<const Counter::Sample> samples);

}  // namespace slackline::app
