// The statistics of `slackline compare`: what is called FASTER, SLOWER, SAME or UNCLEAR.

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compare/comparison.h"
#include "compare/schedule.h"
#include "simulation.h"

namespace slackline {
namespace {

using app::Better;
using app::block_order;
using app::compare;
using app::Comparison;
using app::PairedBlock;
using app::Rule;
using app::Verdict;
using bench::Drift;
using bench::simulate;
using bench::VerdictCounts;
using testing::DoubleNear;
using testing::ElementsAre;

/// Ten blocks; A's two runs differ by `noise`, now one way and now the other, and B's gains over A
/// are spread evenly over `gain` ± `spread`.
std::vector<PairedBlock> blocks_of(double gain, double spread, double noise) {
  std::vector<PairedBlock> out;
  for (int i = 0; i < 10; ++i) {
    // 0 9 2 7 4 5 6 3 8 1: neighbours do not resemble each other
    const double place = (i % 2 == 0 ? i : 10 - i) / 4.5 - 1;
    const double b = 100 * gain * (1 + spread * place);
    const double half = (i % 4 < 2 ? 0.5 : -0.5) * noise;
    out.push_back({.a = {100 * std::exp(-half), 100 * std::exp(half)}, .b = {b, b}});
  }
  return out;
}

Verdict verdict(double gain, double spread, double noise) {
  return compare(blocks_of(gain, spread, noise), Better::kHigher, Rule()).verdict;
}

TEST(CompareSchedule, ABlockGoesThereAndBackAndTheOrderRotates) {
  EXPECT_THAT(block_order(0, 2), ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(block_order(1, 2), ElementsAre(1, 0, 0, 1));
  EXPECT_EQ(block_order(2, 2), block_order(0, 2));
  EXPECT_THAT(block_order(0, 3), ElementsAre(0, 1, 2, 2, 1, 0));
  EXPECT_THAT(block_order(1, 3), ElementsAre(1, 2, 0, 0, 2, 1));
  EXPECT_THAT(block_order(2, 3), ElementsAre(2, 0, 1, 1, 0, 2));
}

TEST(CompareSchedule, WhichRunOfAPlaysBChangesWithEveryRoundOfTheRotation) {
  std::vector<double> played;
  for (int block = 0; block < 6; ++block) {
    played.push_back(app::paired(block, 2, {1, 2}, {3, 4}).a[1]);
  }
  EXPECT_THAT(played, ElementsAre(2, 2, 1, 1, 2, 2));
}

TEST(CompareStatistics, AClearGainIsFasterAndAClearLossIsSlower) {
  EXPECT_EQ(verdict(1.03, 0.01, 0.002), Verdict::kFaster);
  EXPECT_EQ(verdict(0.97, 0.01, 0.002), Verdict::kSlower);
}

TEST(CompareStatistics, ForATimeLessIsFaster) {
  const auto longer = blocks_of(1.03, 0.01, 0.002);
  EXPECT_EQ(compare(longer, Better::kLower, Rule()).verdict, Verdict::kSlower);
  EXPECT_THAT(compare(longer, Better::kLower, Rule()).gain.median, DoubleNear(1 / 1.03, 1e-3));
}

TEST(CompareStatistics, AnIntervalWithinTheMinimumEffectIsTheSame) {
  EXPECT_EQ(verdict(1.000, 0.004, 0.002), Verdict::kSame);
  EXPECT_EQ(verdict(1.004, 0.004, 0.002), Verdict::kSame) << "it excludes 1, but by too little";
}

TEST(CompareStatistics, AGainWithinTheNoiseOfAAgainstItselfIsUnclear) {
  EXPECT_EQ(verdict(1.03, 0.01, 0.05), Verdict::kUnclear);
  EXPECT_EQ(verdict(0.97, 0.01, 0.05), Verdict::kUnclear);
}

TEST(CompareStatistics, AnIntervalThatHoldsOneAndMoreThanTheMinimumEffectIsUnclear) {
  EXPECT_EQ(verdict(1.00, 0.04, 0.002), Verdict::kUnclear);
  EXPECT_EQ(verdict(1.02, 0.06, 0.002), Verdict::kUnclear);
}

TEST(CompareStatistics, TheMinimumEffectIsTheUsers) {
  Rule rule;
  rule.minimum_effect = 0.05;
  EXPECT_EQ(compare(blocks_of(1.03, 0.01, 0.002), Better::kHigher, rule).verdict, Verdict::kSame);
}

TEST(CompareStatistics, OneWildBlockMovesNothing) {
  std::vector<PairedBlock> blocks = blocks_of(1.03, 0.01, 0.002);
  const Comparison before = compare(blocks, Better::kHigher, Rule());
  blocks[4].b = {10, 10};
  const Comparison after = compare(blocks, Better::kHigher, Rule());
  EXPECT_EQ(after.verdict, Verdict::kFaster);
  EXPECT_THAT(after.gain.median, DoubleNear(before.gain.median, 0.003));
}

TEST(CompareStatistics, TheSameSeedGivesTheSameInterval) {
  const auto blocks = blocks_of(1.01, 0.01, 0.01);
  Rule other;
  other.seed = 2;
  const Comparison first = compare(blocks, Better::kHigher, Rule());
  EXPECT_EQ(first.gain.low, compare(blocks, Better::kHigher, Rule()).gain.low);
  EXPECT_THAT(first.gain.low, DoubleNear(compare(blocks, Better::kHigher, other).gain.low, 1e-3));
}

TEST(CompareStatistics, TheIntervalIsThatOfTheMedianOfTenEvenlySpreadValues) {
  // The bootstrap distribution of the median of ten values is known: its 2.5 % quantile lies
  // between the second and the third, here 0.966 and 0.974.
  const Comparison one = compare(blocks_of(1, 0.045, 0.01), Better::kHigher, Rule());
  EXPECT_GT(one.gain.low, 0.964);
  EXPECT_LT(one.gain.low, 0.976);
  EXPECT_GT(one.gain.high, 1.024);
  EXPECT_LT(one.gain.high, 1.036);
}

TEST(CompareStatistics, BlocksThatResembleTheirNeighboursWidenTheInterval) {
  const std::vector<PairedBlock> mixed = blocks_of(1, 0.01, 0.002);
  std::vector<PairedBlock> sorted = mixed;
  std::sort(sorted.begin(), sorted.end(),
            [](const PairedBlock& x, const PairedBlock& y) { return x.b[0] < y.b[0]; });
  const Comparison narrow = compare(mixed, Better::kHigher, Rule());
  const Comparison wide = compare(sorted, Better::kHigher, Rule());
  EXPECT_LT(narrow.gain.autocorrelation, 0);
  EXPECT_GT(wide.gain.autocorrelation, 0.5);
  EXPECT_GT(wide.gain.high - wide.gain.low, 1.7 * (narrow.gain.high - narrow.gain.low));
  EXPECT_THAT(wide.gain.median, DoubleNear(narrow.gain.median, 1e-12));
}

TEST(CompareStatistics, TheRuleNamesItsMinimumEffect) {
  EXPECT_THAT(app::rule_text(0.02),
              testing::AllOf(testing::HasSubstr("both 2 %"), testing::HasSubstr("1/1.02 to 1.02")));
}

TEST(CompareStatistics, TheGateFailsOnWhatItIsToldTo) {
  using app::FailOn;
  using app::passes;
  EXPECT_FALSE(passes(Verdict::kSlower, FailOn::kSlower));
  EXPECT_TRUE(passes(Verdict::kUnclear, FailOn::kSlower));
  EXPECT_FALSE(passes(Verdict::kSlower, FailOn::kUnclear));
  EXPECT_FALSE(passes(Verdict::kUnclear, FailOn::kUnclear));
  EXPECT_TRUE(passes(Verdict::kFaster, FailOn::kUnclear));
  EXPECT_FALSE(passes(Verdict::kFaster, FailOn::kDifferent));
  EXPECT_FALSE(passes(Verdict::kUnclear, FailOn::kDifferent));
  EXPECT_TRUE(passes(Verdict::kSame, FailOn::kDifferent));
}

// Simulation: 200 comparisons of ten blocks on made-up machines, with 1 % noise of a run.

struct OfAMachine {
  std::string name;
  Drift drift;

  // Names the test; without it GoogleTest prints bytes that differ in each process.
  friend std::ostream& operator<<(std::ostream& out, const OfAMachine& machine) {
    return out << machine.name;
  }
};

class CompareSimulation : public testing::TestWithParam<OfAMachine> {
 protected:
  static VerdictCounts counts(double true_gain, double noise) {
    return simulate(GetParam().drift, noise, 10, true_gain, 200, 20261123, Rule());
  }
};

TEST_P(CompareSimulation, AAgainstItselfIsHardlyEverCalledDifferent) {
  const VerdictCounts found = counts(1, 0.01);
  EXPECT_LE(found.faster + found.slower, 2);
  EXPECT_GE(found.covered, 180) << "nominally 190";
}

TEST_P(CompareSimulation, NorIsItOnANoisyMachine) {
  const VerdictCounts found = counts(1, 0.03);
  EXPECT_LE(found.faster + found.slower, 2);
}

TEST_P(CompareSimulation, AThreePercentSlowdownIsFound) {
  const VerdictCounts found = counts(0.97, 0.01);
  EXPECT_GE(found.slower, 190);
  EXPECT_EQ(found.faster, 0);
}

INSTANTIATE_TEST_SUITE_P(OnAMachineWith, CompareSimulation,
                         testing::Values(OfAMachine{"NoDrift", Drift::kNone},
                                         OfAMachine{"LinearDrift", Drift::kLinear},
                                         OfAMachine{"ARandomWalk", Drift::kWalk},
                                         OfAMachine{"CorrelatedRuns", Drift::kCorrelated}),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace slackline
