// What `slackline compare` says of its measurements, on measurements that are made up.

#include <slackline/error.h>

#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compare/measure.h"
#include "compare/report.h"
#include "compare/schedule.h"

namespace slackline {
namespace {

using app::CompareReport;
using app::MeasuredRun;
using app::Measurements;
using app::MeasurePlan;
using app::Rule;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

class CompareReportTest : public testing::Test {
 protected:
  /// The result of a run, as result.json has it.
  static Json result(double images_per_s) {
    return {{"slackline", "1.0.0"},
            {"status", "complete"},
            {"throughput",
             {{"images_per_s", images_per_s},
              {"measured_images", 800},
              {"step_ms", {{"median", 1000 / images_per_s}, {"p99", 1500 / images_per_s}}},
              {"cpu_ms_per_image", 0.5}}},
            {"plugins", {{"prefetcher/plain", {{"sha256", "aa"}}}}},
            {"machine", {{"cpus_usable", 2}}}};
  }

  /// Ten blocks of each configuration at its rate.
  explicit CompareReportTest(std::vector<double> rates = {1000, 900})
      : plan_{.files = {}, .set = {}, .blocks = 10, .dir = "runs"} {
    fill(rates);
  }

  void fill(const std::vector<double>& rates) {
    plan_.files.clear();
    measured_ = {};
    const int count = static_cast<int>(rates.size());
    for (int i = 0; i < count; ++i) {
      plan_.files.push_back(app::label_of(i) + ".toml");
      measured_.resolved.push_back("[input]\nbatch_size = 8\n");
      measured_.warmups.push_back({i, -1, "runs", result(rates[static_cast<std::size_t>(i)])});
    }
    for (int block = 0; block < plan_.blocks; ++block) {
      for (const int i : app::block_order(block, count)) {
        measured_.runs.push_back({i, block, "runs", result(rates[static_cast<std::size_t>(i)])});
      }
    }
  }

  [[nodiscard]] CompareReport report() const { return app::report_of(plan_, measured_, Rule()); }
  [[nodiscard]] std::string said() const {
    return app::report_text(plan_, measured_, Rule(), report());
  }

  MeasurePlan plan_;
  Measurements measured_;
};

TEST_F(CompareReportTest, WithoutNoiseTheGainIsExact) {
  const app::ConfigurationComparison one = report().comparisons.at(0);
  EXPECT_EQ(one.headline(), app::Verdict::kSlower);
  EXPECT_NEAR(one.metrics.at(0).comparison.gain.median, 0.9, 1e-12);
  EXPECT_NEAR(one.metrics.at(1).comparison.gain.median, 0.9, 1e-12) << "a longer step is a loss";
  EXPECT_EQ(one.metrics.at(3).comparison.verdict, app::Verdict::kSame) << "CPU time an image";
  EXPECT_THAT(report().warnings, IsEmpty());
  EXPECT_THAT(said(),
              HasSubstr("B is SLOWER: 0.900 times the images/s of A (95 % interval 0.900 to "
                        "0.900); A against itself shows up to 0.0 %\n"));
}

TEST_F(CompareReportTest, EveryFurtherConfigurationIsComparedWithTheFirst) {
  fill({1000, 1100, 1000});
  EXPECT_THAT(said(), AllOf(HasSubstr("B is FASTER: 1.100 times"),
                            HasSubstr("C is the SAME within 1 %: 1.000 times")));
}

TEST_F(CompareReportTest, RunsAreNotMixedUp) {
  // Half of B's runs, the second of each block, are half as fast: the geometric mean shows it.
  int seen = 0;
  for (MeasuredRun& run : measured_.runs) {
    if (run.configuration == 1 && seen++ % 2 == 1) run.result = result(450);
  }
  EXPECT_NEAR(report().comparisons[0].metrics[0].comparison.gain.median, 0.9 * std::sqrt(0.5),
              1e-12);
}

TEST_F(CompareReportTest, KeysThatDifferAreListed) {
  measured_.resolved[1] = "[input]\nbatch_size = 8\nworkers = 3\n";
  EXPECT_THAT(said(), HasSubstr("\n  input.workers: (not set) -> 3\n"));
  EXPECT_THAT(report().warnings, IsEmpty()) << "this may be what the comparison is about";
}

TEST_F(CompareReportTest, ThatNothingDiffersIsSaidToo) {
  EXPECT_THAT(said(), HasSubstr("the resolved configurations are the same\n"));
}

TEST_F(CompareReportTest, DifferentWorkIsWarnedOf) {
  measured_.resolved[1] = "[input]\nbatch_size = 16\nimage_size = [8, 8]\n[run]\nsteps = 5\n";
  EXPECT_THAT(report().warnings,
              testing::ElementsAre("not the same work: input.batch_size is 8 in A and 16 in B",
                                   HasSubstr("input.image_size is not set in A and "),
                                   "not the same work: run.steps is not set in A and 5 in B"));
  measured_.warmups[1].result["throughput"]["measured_images"] = 790;
  EXPECT_THAT(report().warnings, Contains("not the same work: A measured 800 images a run, B 790"));
}

TEST_F(CompareReportTest, ARunThatIsNotCompleteIsWarnedOf) {
  measured_.runs[5].result["status"] = "interrupted";
  EXPECT_THAT(report().warnings, Contains("block 2, A: the run's status is 'interrupted'"));
}

TEST_F(CompareReportTest, AnotherCpuBudgetIsWarnedOf) {
  measured_.runs[5].result["machine"]["cpus_usable"] = 1;
  EXPECT_THAT(report().warnings, Contains("block 2, A: had 1 usable CPUs, the first run had 2"));
}

TEST_F(CompareReportTest, APluginThatIsExchangedMeanwhileIsWarnedOf) {
  measured_.runs[5].result["plugins"]["prefetcher/plain"]["sha256"] = "bb";
  EXPECT_THAT(
      report().warnings,
      Contains("block 2, A: the program or a plugin was exchanged while the comparison ran"));
}

TEST_F(CompareReportTest, ADriftOfTheMachineIsWarnedOf) {
  for (MeasuredRun& run : measured_.runs) {
    if (run.block >= 5) run.result["throughput"]["images_per_s"] = 700;
  }
  EXPECT_THAT(report().warnings, Contains(HasSubstr("in the second half of the blocks are 0.700")));
}

TEST_F(CompareReportTest, AQuantityThatARunLacksIsNotComparedAndThatIsSaid) {
  measured_.runs[7].result["throughput"].erase("cpu_ms_per_image");
  EXPECT_EQ(report().comparisons[0].metrics.size(), 3u);
  EXPECT_THAT(report().warnings, Contains("'CPU time an image, ms' of A and B is not compared: not "
                                          "every run measured it"));
}

TEST_F(CompareReportTest, RunsThatMeasuredNothingCannotBeCompared) {
  measured_.runs[2].result["throughput"]["images_per_s"] = 0;
  try {
    (void)report();
    FAIL() << "nothing was refused";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "compare: B.toml: nothing was measured; [run] steps must be more than "
                 "warmup_steps");
  }
}

TEST_F(CompareReportTest, TheJsonHoldsEverything) {
  const Json json = app::report_json(plan_, measured_, Rule(), report());
  EXPECT_EQ(json["order"], "ABBABAABABBABAABABBABAABABBABAABABBABAAB");
  EXPECT_EQ(json["runs"].size(), 40u);
  EXPECT_EQ(json["runs"][4]["block"], 2);
  EXPECT_EQ(json["runs"][4]["result"], result(900)) << "whole, as the run wrote it";
  EXPECT_EQ(json["warmups"].size(), 2u);
  EXPECT_EQ(json["rule"]["seed"], 1);
  EXPECT_EQ(json["rule"]["resamples"], 10'000);
  EXPECT_EQ(json["machine"]["cpus_usable"], 2);
  const Json& first = json["comparisons"][0]["metrics"][0];
  EXPECT_EQ(first["metric"], "images_per_s");
  EXPECT_EQ(first["block_gains"].size(), 10u);
  EXPECT_EQ(first["verdict"], "SLOWER");
}

}  // namespace
}  // namespace slackline
