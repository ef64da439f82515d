#pragma once

// A machine that is made up: what `slackline compare` would measure on it, without measuring.

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>
#include <vector>

#include "compare/comparison.h"
#include "compare/schedule.h"

namespace slackline::bench {

/// What the machine does beside the noise of each run, which is independent and normal.
enum class Drift {
  kNone,
  kLinear,      ///< 10 % faster from the first run to the last
  kWalk,        ///< a random walk, whose steps are half the noise
  kCorrelated,  ///< all the noise is AR(1): each run keeps 0.8 of the last one's deviation
  kSpikes,      ///< one run in ten is slowed, by 10 % on average
  kPeriodic,    ///< a sine of twice the noise, five runs long
};

/// Logarithms of the rates of as many runs.
inline std::vector<double> machine_runs(Drift drift, double noise, int runs,
                                        std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  std::exponential_distribution<double> slowed(1 / 0.10);
  const double phase = 2 * std::numbers::pi * uniform(random);
  std::vector<double> out;
  double state = noise * normal(random);
  for (int i = 0; i < runs; ++i) {
    const double own = noise * normal(random);
    switch (drift) {
      case Drift::kNone:
        out.push_back(own);
        break;
      case Drift::kLinear:
        out.push_back(own + 0.10 * i / runs);
        break;
      case Drift::kWalk:
        out.push_back(own + state);
        state += 0.5 * noise * normal(random);
        break;
      case Drift::kCorrelated:
        out.push_back(state);
        state = 0.8 * state + 0.6 * own;  // 0.8² + 0.6² = 1: the deviation stays `noise`
        break;
      case Drift::kSpikes:
        out.push_back(own - (uniform(random) < 0.1 ? slowed(random) : 0));
        break;
      case Drift::kPeriodic:
        out.push_back(own + 2 * noise * std::sin(phase + 2 * std::numbers::pi * i / 5));
        break;
    }
  }
  return out;
}

/// One comparison of A with a B that is `true_gain` times as fast, in `blocks` blocks.
inline std::vector<app::PairedBlock> simulated_blocks(Drift drift, double noise, int blocks,
                                                      double true_gain, std::mt19937_64& random) {
  constexpr int kConfigurations = 2;
  const std::vector<double> machine =
      machine_runs(drift, noise, 2 * kConfigurations * blocks, random);
  std::vector<app::PairedBlock> out;
  auto run = machine.begin();
  for (int block = 0; block < blocks; ++block) {
    std::array<std::vector<double>, kConfigurations> rates;
    for (const int i : app::block_order(block, kConfigurations)) {
      rates[static_cast<std::size_t>(i)].push_back(std::exp(*run++) * (i == 1 ? true_gain : 1));
    }
    out.push_back(app::paired(block, kConfigurations, {rates[0][0], rates[0][1]},
                              {rates[1][0], rates[1][1]}));
  }
  return out;
}

/// How many of several comparisons came to each verdict.
struct VerdictCounts {
  int faster = 0, slower = 0, same = 0, unclear = 0;
  int covered = 0;  ///< the interval held the true gain
};

/// `comparisons` comparisons, each on a machine of its own.
inline VerdictCounts simulate(Drift drift, double noise, int blocks, double true_gain,
                              int comparisons, std::uint64_t seed, const app::Rule& rule) {
  std::mt19937_64 random(seed);
  VerdictCounts counts;
  for (int i = 0; i < comparisons; ++i) {
    const app::Comparison one = app::compare(
        simulated_blocks(drift, noise, blocks, true_gain, random), app::Better::kHigher, rule);
    counts.faster += one.verdict == app::Verdict::kFaster;
    counts.slower += one.verdict == app::Verdict::kSlower;
    counts.same += one.verdict == app::Verdict::kSame;
    counts.unclear += one.verdict == app::Verdict::kUnclear;
    counts.covered += one.gain.low <= true_gain && true_gain <= one.gain.high;
  }
  return counts;
}

}  // namespace slackline::bench
