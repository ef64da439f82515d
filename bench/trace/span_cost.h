#pragma once

#include <vector>

namespace slackline::bench {

/// Nanoseconds for each span, one value for each round.
struct SpanCost {
  std::vector<double> closed_ns;  ///< the call, while the trace is not open
  std::vector<double> open_ns;    ///< the call, with its first touch of fresh memory
  std::vector<double> timed_ns;   ///< open, with the two readings of the clock that it needs
};

/// Fills a track of the default size in every round.
SpanCost span_cost(int rounds);

}  // namespace slackline::bench
