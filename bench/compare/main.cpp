// How often the verdicts of `slackline compare` are right, on machines that are made up: the table
// in docs/comparing.md.

#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "simulation.h"

namespace {

using namespace slackline;
using namespace slackline::bench;

struct Machine {
  const char* name;
  Drift drift;
};
constexpr Machine kMachines[] = {
    {"independent", Drift::kNone}, {"linear drift", Drift::kLinear},
    {"random walk", Drift::kWalk}, {"AR(1) 0.8", Drift::kCorrelated},
    {"spikes", Drift::kSpikes},    {"periodic", Drift::kPeriodic},
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App program("simulates comparisons and counts their verdicts", "compare_simulation");
  int comparisons = 1000, blocks = 10;
  std::uint64_t seed = 1;
  program.add_option("--comparisons", comparisons, "for each line and true gain")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  program.add_option("--blocks", blocks, "in each comparison")
      ->capture_default_str()
      ->check(CLI::Range(10, 10'000));
  program.add_option("--seed", seed, "of the machines")->capture_default_str();
  CLI11_PARSE(program, argc, argv);

  std::printf("%d comparisons of %d blocks in each cell, in %%\n\n", comparisons, blocks);
  std::printf(
      "| machine | noise of a run | A/A: FASTER or SLOWER | A/A: SAME | interval holds 1 | "
      "3 %% slower: found | called FASTER | 10 %% slower: found |\n"
      "|---|---|---|---|---|---|---|---|\n");
  const auto percent = [&](int count) { return 100.0 * count / comparisons; };
  for (const Machine& machine : kMachines) {
    for (const double noise : {0.003, 0.01, 0.03}) {
      const auto counts = [&](double gain) {
        return simulate(machine.drift, noise, blocks, gain, comparisons, seed, app::Rule());
      };
      const VerdictCounts same = counts(1), slower = counts(0.97), slow = counts(0.90);
      std::printf("| %s | %.1f %% | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f |\n", machine.name,
                  100 * noise, percent(same.faster + same.slower), percent(same.same),
                  percent(same.covered), percent(slower.slower), percent(slower.faster),
                  percent(slow.slower));
    }
  }
  return 0;
}
