#pragma once

// What `slackline compare` makes of its measurements: verdicts, warnings, a table, JSON.

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "comparison.h"
#include "measure.h"

namespace slackline::app {

/// A quantity that configurations are compared in.
struct Metric {
  const char* name;   ///< in the JSON
  const char* title;  ///< in the table, with its unit
  const char* path;   ///< JSON pointer into result.json
  Better better;
};

/// One configuration against A in one quantity.
struct MetricComparison {
  const Metric* metric = nullptr;
  double median_a = 0, median_b = 0;  ///< of all runs, in the metric's unit
  Comparison comparison;
};

/// One configuration against A. The first metric is images/s, whose verdict is the headline.
struct ConfigurationComparison {
  int configuration = 1;
  std::vector<MetricComparison> metrics;

  [[nodiscard]] Verdict headline() const { return metrics.front().comparison.verdict; }
};

/// Everything that is said at the end.
struct CompareReport {
  std::vector<ConfigurationComparison> comparisons;
  double drift_of_a = 1;              ///< images/s of A in the second half, over the first half
  std::vector<std::string> warnings;  ///< what makes the comparison unfair or doubtful
};

/// Throws ConfigError if a run measured nothing.
[[nodiscard]] CompareReport report_of(const MeasurePlan& plan, const Measurements& measured,
                                      const Rule& rule);

/// The tables, and the verdict in words.
[[nodiscard]] std::string report_text(const MeasurePlan& plan, const Measurements& measured,
                                      const Rule& rule, const CompareReport& report);

/// Everything: each run with its whole result.json, the blocks, the rule, the verdicts.
[[nodiscard]] nlohmann::ordered_json report_json(const MeasurePlan& plan,
                                                 const Measurements& measured, const Rule& rule,
                                                 const CompareReport& report);

}  // namespace slackline::app
