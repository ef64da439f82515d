// A part of bench_prefetch's grid: the whole way of the batches on emulated devices, in simulated
// time.

#include <algorithm>
#include <cctype>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "grid.h"
#include "simulation.h"
#include "test_host.h"

namespace slackline::bench {

void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

namespace {

using testing_support::test_registry;

/// Each stands for its kind.
std::vector<Scenario> some_scenarios() {
  std::vector<Scenario> some = scenarios();
  const std::vector<std::string> names = {"V100",
                                          "H100, slow bus, jitter 30 %",
                                          "slow first launch",
                                          "narrow window",
                                          "upload-bound",
                                          "upload nearly a step",
                                          "input-bound",
                                          "two CPUs, short steps",
                                          "2 devices",
                                          "upload-bound, one step in flight"};
  std::erase_if(some, [&](const Scenario& scenario) {
    return std::ranges::find(names, std::string(scenario.name)) == names.end();
  });
  return some;
}

std::vector<Setting> some_fixed_settings() {
  std::vector<Setting> some = fixed_settings();
  const std::vector<std::string> names = {"none",     "plain",     "delay 2",        "delay 5",
                                          "delay 11", "slack 0.2", "slack 0.2, both"};
  std::erase_if(some, [&](const Setting& setting) {
    return std::ranges::find(names, setting.name) == names.end();
  });
  return some;
}

constexpr RunLength kLength{.warmup_steps = 300, .steps = 200};

class AdaptiveGridTest : public testing::TestWithParam<Scenario> {};
INSTANTIATE_TEST_SUITE_P(Scenarios, AdaptiveGridTest, testing::ValuesIn(some_scenarios()),
                         [](const auto& scenario) {
                           std::string name = scenario.param.name;
                           std::erase_if(name, [](unsigned char c) { return !std::isalnum(c); });
                           return name;
                         });

TEST_P(AdaptiveGridTest, IsAtMostOnePercentWorseThanTheBestFixedSetting) {
  Outcome best;
  best.step_ms = std::numeric_limits<double>::infinity();
  std::string best_name;
  for (const Setting& setting : some_fixed_settings()) {
    const Outcome outcome = simulate(GetParam(), setting, kLength, 1, test_registry());
    if (outcome.step_ms < best.step_ms) {
      best = outcome;
      best_name = setting.name;
    }
  }
  const Outcome adaptive = simulate(GetParam(), adaptive_setting(), kLength, 1, test_registry());
  EXPECT_LE(adaptive.step_ms, 1.01 * best.step_ms) << best_name;
  // How far the input is ahead at both ends of the count makes a small difference.
  EXPECT_LE(adaptive.cpu_ms, 1.01 * best.cpu_ms) << best_name;
}

TEST(PrefetchSimulationTest, IsTheSameEveryTime) {
  const auto all = scenarios();
  const auto scenario = std::ranges::find(all, std::string("8 devices, few CPUs, jitter"),
                                          [](const Scenario& each) { return each.name; });
  ASSERT_NE(scenario, all.end());
  const RunLength length{.warmup_steps = 20, .steps = 40};
  const auto run = [&](std::uint64_t seed) {
    return simulate(*scenario, adaptive_setting(), length, seed, test_registry());
  };
  const Outcome first = run(1), again = run(1), other = run(2);
  EXPECT_EQ(first.step_ms, again.step_ms);
  EXPECT_EQ(first.cpu_ms, again.cpu_ms);
  EXPECT_EQ(first.reports, again.reports);
  EXPECT_NE(first.step_ms, other.step_ms);
}

TEST(PrefetchSimulationTest, AnUploadAtTheStartOfAStepCostsAsMuchAsItTakes) {
  const Scenario v100 = scenarios().front();
  const RunLength length{.warmup_steps = 20, .steps = 40};
  const auto step_ms = [&](const Setting& setting) {
    return simulate(v100, setting, length, 1, test_registry()).step_ms;
  };
  // The first piece of the launch is 0.5 ms, three small uploads 10 us each; a batch takes 6.4 ms.
  const double shortest_ms = 200 + 0.5 + 0.03;
  EXPECT_NEAR(step_ms({"", "delay", {}}), shortest_ms, 0.001);
  EXPECT_NEAR(step_ms({"", "plain", {}}), 200 + 6.4 + 0.03, 0.001);
}

}  // namespace
}  // namespace slackline::bench
