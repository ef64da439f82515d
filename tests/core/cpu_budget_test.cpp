#include "cpu_budget.h"

#include <array>

#include <gtest/gtest.h>

namespace slackline {
namespace {

TEST(CpuBudgetTest, PrivateThreadsFollowUpstreamsRuleAndAreNeverFewerThanOne) {
  // min(cpu - 2*g - g, 8*g), computed by hand; upstream gets 0 for (24, 8), and -4 for (20, 8).
  constexpr std::array<std::array<int, 3>, 10> kCases = {{{96, 8, 64},
                                                          {80, 8, 56},
                                                          {64, 8, 40},
                                                          {40, 8, 16},
                                                          {32, 8, 8},
                                                          {24, 8, 1},
                                                          {20, 8, 1},
                                                          {16, 1, 8},
                                                          {8, 1, 5},
                                                          {4, 1, 1}}};
  InputOptions input;
  input.private_threads = true;
  for (const auto& [cpus, devices, workers] : kCases) {
    EXPECT_EQ(input_workers(input, cpus, 2, devices).count, workers) << cpus << ", " << devices;
  }
}

TEST(CpuBudgetTest, TheRuleIsReportedWithItsNumbers) {
  InputOptions input;
  EXPECT_EQ(input_workers(input, 6, 2, 1).rule, "one for each usable CPU");
  EXPECT_EQ(input_workers(input, 6, 2, 1).count, 6);
  input.private_threads = true;
  EXPECT_EQ(input_workers(input, 24, 2, 8).rule,
            "private_threads: min(24 CPUs - 2*8 - 8, 8*8) = 0, raised to 1");
  EXPECT_EQ(input_workers(input, 8, 0, 1).count, 7) << "no launch threads of its own";
  input.private_threads = false;
  input.workers = 3;
  EXPECT_EQ(input_workers(input, 24, 2, 8).count, 3);
  EXPECT_EQ(input_workers(input, 24, 2, 8).rule, "as configured");
}

}  // namespace
}  // namespace slackline
