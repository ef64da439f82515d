#pragma once

// The statistics of `slackline compare`: pure functions, from what the blocks measured to a
// verdict. docs/comparing.md has the reasons, and what simulation says of them.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace slackline::app {

/// One quantity as one block measured it, each configuration twice; all values are above 0.
struct PairedBlock {
  std::array<double, 2> a{};  ///< when A is compared with itself, a[1] plays the part of B
  std::array<double, 2> b{};
};

/// Which way a quantity is good. Gains are turned so that above 1 is always better.
enum class Better { kHigher, kLower };

enum class Verdict { kFaster, kSlower, kSame, kUnclear };
[[nodiscard]] const char* name_of(Verdict verdict);  ///< "FASTER", …

/// Which verdicts fail a comparison.
enum class FailOn {
  kSlower,     ///< SLOWER
  kUnclear,    ///< SLOWER and UNCLEAR
  kDifferent,  ///< everything but SAME
};
[[nodiscard]] bool passes(Verdict verdict, FailOn fail_on);

/// What decides. rule_text() says how.
struct Rule {
  double minimum_effect = 0.01;  ///< as a fraction; smaller differences are of no interest
  int resamples = 10'000;        ///< of the bootstrap
  std::uint64_t seed = 1;        ///< of the bootstrap
};

/// The rule of the verdict in words, a line for each.
[[nodiscard]] std::string rule_text(double minimum_effect);

/// The median of some values, and its 95 % interval by the percentile bootstrap, which takes them
/// for independent of each other. There must be one value.
struct MedianInterval {
  double median = 0, low = 0, high = 0;
};
[[nodiscard]] MedianInterval median_interval(std::vector<double> values, const Rule& rule);

/// The gain of one configuration over another: a ratio, above 1 where it is better.
struct Gain {
  double median = 1;           ///< of the blocks
  double low = 1, high = 1;    ///< 95 % interval of the median
  double autocorrelation = 0;  ///< of the blocks' log ratios, from one block to the next; -1..1
};

/// What came of comparing B with A in one quantity.
struct Comparison {
  Gain gain;         ///< of B over A
  Gain a_against_a;  ///< what the same machine shows where there is nothing to show
  double noise = 0;  ///< the farther end of the interval of a_against_a, as a fraction
  Verdict verdict = Verdict::kUnclear;
  std::vector<double> block_gains;  ///< of B over A in each block
};

/// Compares B with A. There are two blocks or more, in the order they ran.
[[nodiscard]] Comparison compare(std::span<const PairedBlock> blocks, Better better,
                                 const Rule& rule);

}  // namespace slackline::app
