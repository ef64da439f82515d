#include "report.h"

#include <slackline/config_diff.h>
#include <slackline/error.h>
#include <slackline/metrics.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iomanip>
#include <optional>
#include <set>
#include <sstream>

#include "schedule.h"

namespace slackline::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<Metric, 4> kMetrics = {{
    {"images_per_s", "images/s", "/throughput/images_per_s", Better::kHigher},
    {"step_ms_median", "step time, median, ms", "/throughput/step_ms/median", Better::kLower},
    {"step_ms_p99", "step time, p99, ms", "/throughput/step_ms/p99", Better::kLower},
    {"cpu_ms_per_image", "CPU time an image, ms", "/throughput/cpu_ms_per_image", Better::kLower},
}};

/// Keys whose difference makes the amount of work differ.
const std::set<std::string> kWorkKeys = {"input.batch_size", "input.image_size", "run.epochs",
                                         "run.steps", "run.warmup_steps"};

/// Before this, a machine's drift is not worth a warning; ABBA takes out what is steady of it.
constexpr double kMuchDrift = 0.05;

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

/// With four digits or more: 1281, 21.48, 0.0031.
std::string number(double value) {
  const double size = std::abs(value);
  return fixed(value, size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
}

std::string interval(const Gain& gain) {
  return text(fixed(gain.low, 3), " to ", fixed(gain.high, 3));
}

/// The value of one run; 0 if it is not there, which is no value of any metric.
double value_of(const MeasuredRun& run, const Metric& metric) {
  const Json::json_pointer path(metric.path);
  if (!run.result.contains(path) || !run.result.at(path).is_number()) return 0;
  return run.result.at(path).get<double>();
}

std::vector<double> values_of(const Measurements& measured, int configuration,
                              const Metric& metric) {
  std::vector<double> out;
  for (const MeasuredRun& run : measured.runs) {
    if (run.configuration == configuration) out.push_back(value_of(run, metric));
  }
  return out;  // two of each block, in the order they ran
}

bool all_above_0(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](double value) { return std::isfinite(value) && value > 0; });
}

std::optional<MetricComparison> compared(const MeasurePlan& plan, const Measurements& measured,
                                         int configuration, const Metric& metric,
                                         const Rule& rule) {
  const std::vector<double> a = values_of(measured, 0, metric);
  const std::vector<double> b = values_of(measured, configuration, metric);
  if (!all_above_0(a) || !all_above_0(b)) return std::nullopt;
  std::vector<PairedBlock> blocks;
  for (std::size_t block = 0; 2 * block < a.size(); ++block) {
    blocks.push_back(paired(static_cast<int>(block), static_cast<int>(plan.files.size()),
                            {a[2 * block], a[2 * block + 1]}, {b[2 * block], b[2 * block + 1]}));
  }
  return MetricComparison{.metric = &metric,
                          .median_a = distribution_of(a).median,
                          .median_b = distribution_of(b).median,
                          .comparison = compare(blocks, metric.better, rule)};
}

std::vector<ConfigDifference> differences(const Measurements& measured, int configuration) {
  const auto i = static_cast<std::size_t>(configuration);
  return config_diff(measured.resolved[0], measured.resolved[i],
                     (measured.warmups[0].dir / "resolved.toml").string(),
                     (measured.warmups[i].dir / "resolved.toml").string());
}

/// Gathers what a reader must know before believing the table; each thing once.
class Warnings {
 public:
  Warnings(const MeasurePlan& plan, const Measurements& measured)
      : plan_(plan), measured_(measured) {}

  std::vector<std::string> all(const CompareReport& report) {
    for (const MeasuredRun& run : measured_.runs) check_run(run);
    for (int i = 1; i < static_cast<int>(plan_.files.size()); ++i) check_work(i);
    for (const ConfigurationComparison& one : report.comparisons) check_metrics(one);
    if (std::abs(std::log(report.drift_of_a)) > std::log1p(kMuchDrift)) {
      add(text("the machine drifted: A's images/s in the second half of the blocks are ",
               fixed(report.drift_of_a, 3), " times those in the first"));
    }
    return std::move(all_);
  }

 private:
  void check_run(const MeasuredRun& run) {
    const std::string label = label_of(run.configuration);
    const std::string where = text("block ", run.block + 1, ", ", label);
    const std::string status = run.result.value("status", "unknown");
    if (status != "complete") add(text(where, ": the run's status is '", status, "'"));
    const MeasuredRun& first = measured_.warmups.front();
    const auto cpus = [](const MeasuredRun& of) {
      return of.result.value("/machine/cpus_usable"_json_pointer, 0);
    };
    if (cpus(run) != cpus(first)) {
      add(text(where, ": had ", cpus(run), " usable CPUs, the first run had ", cpus(first)));
    }
    const MeasuredRun& own = measured_.warmups[static_cast<std::size_t>(run.configuration)];
    if (programs(run) != programs(own)) {
      add(text(where, ": the program or a plugin was exchanged while the comparison ran"));
    }
  }

  /// The version of the program and the SHA-256 of each plugin.
  static Json programs(const MeasuredRun& run) {
    Json out = {run.result.value("slackline", "")};
    const Json plugins = run.result.value("plugins", Json::object());
    for (const auto& [id, plugin] : plugins.items())
      out.push_back({id, plugin.value("sha256", "")});
    return out;
  }

  void check_work(int configuration) {
    const std::string label = label_of(configuration);
    for (const ConfigDifference& differs : differences(measured_, configuration)) {
      if (!kWorkKeys.contains(differs.key)) continue;
      add(text("not the same work: ", differs.key, " is ", differs.a.value_or("not set"),
               " in A and ", differs.b.value_or("not set"), " in ", label));
    }
    const auto images = [&](int i) {
      return measured_.warmups[static_cast<std::size_t>(i)].result.value(
          "/throughput/measured_images"_json_pointer, std::uint64_t{0});
    };
    if (images(0) != images(configuration)) {
      add(text("not the same work: A measured ", images(0), " images a run, ", label, " ",
               images(configuration)));
    }
  }

  void check_metrics(const ConfigurationComparison& one) {
    for (const Metric& metric : kMetrics) {
      const auto same = [&](const MetricComparison& m) { return m.metric == &metric; };
      if (std::none_of(one.metrics.begin(), one.metrics.end(), same)) {
        add(text("'", metric.title, "' of A and ", label_of(one.configuration),
                 " is not compared: not every run measured it"));
      }
    }
  }

  void add(std::string warning) {
    if (std::find(all_.begin(), all_.end(), warning) == all_.end()) {
      all_.push_back(std::move(warning));
    }
  }

  const MeasurePlan& plan_;
  const Measurements& measured_;
  std::vector<std::string> all_;
};

std::string file_of(const MeasurePlan& plan, int configuration) {
  return plan.files[static_cast<std::size_t>(configuration)];
}

std::string differences_text(const Measurements& measured, int configuration) {
  const std::vector<ConfigDifference> all = differences(measured, configuration);
  if (all.empty()) return "  the resolved configurations are the same\n";
  std::ostringstream out;
  for (const ConfigDifference& differs : all) {
    out << "  " << differs.key << ": " << differs.a.value_or("(not set)") << " -> "
        << differs.b.value_or("(not set)") << "\n";
  }
  return out.str();
}

std::string table(const ConfigurationComparison& one) {
  const std::string b = label_of(one.configuration);
  std::ostringstream out;
  const auto row = [&](const std::string& title, const std::string& of_a, const std::string& of_b,
                       const std::string& gain, const std::string& range, const std::string& noise,
                       const std::string& verdict) {
    out << "  " << std::left << std::setw(23) << title << std::right << std::setw(10) << of_a
        << std::setw(10) << of_b << std::setw(8) << gain << "  " << std::left << std::setw(16)
        << range << std::setw(16) << noise << verdict << "\n";
  };
  row("median of all runs", "A", b, "gain", "95 % interval", "A against A", "");
  for (const MetricComparison& metric : one.metrics) {
    const Comparison& c = metric.comparison;
    row(metric.metric->title, number(metric.median_a), number(metric.median_b),
        fixed(c.gain.median, 3), interval(c.gain), interval(c.a_against_a), name_of(c.verdict));
  }
  return out.str();
}

std::string headline_text(const ConfigurationComparison& one, const Rule& rule) {
  const Comparison& c = one.metrics.front().comparison;
  const std::string b = label_of(one.configuration);
  const std::string noise = text("; A against itself shows up to ", fixed(100 * c.noise, 1), " %");
  const std::string gain = text(fixed(c.gain.median, 3), " times the images/s of A (95 % interval ",
                                interval(c.gain), ")", noise);
  const std::string minimum = text(100 * rule.minimum_effect, " %");
  switch (c.verdict) {
    case Verdict::kFaster:
    case Verdict::kSlower:
      return text(b, " is ", name_of(c.verdict), ": ", gain);
    case Verdict::kSame:
      return text(b, " is the SAME within ", minimum, ": ", gain);
    case Verdict::kUnclear:
      break;
  }
  return text(b, " is UNCLEAR: ", gain,
              "; more blocks, longer runs or a quieter machine would tell more");
}

Json json_of(const Gain& gain) {
  return {{"median", gain.median},
          {"low", gain.low},
          {"high", gain.high},
          {"block_autocorrelation", gain.autocorrelation}};
}

Json json_of(const MetricComparison& one) {
  const Comparison& c = one.comparison;
  return {{"metric", one.metric->name},
          {"better", one.metric->better == Better::kHigher ? "higher" : "lower"},
          {"median_a", one.median_a},
          {"median_b", one.median_b},
          {"gain", json_of(c.gain)},
          {"a_against_a", json_of(c.a_against_a)},
          {"noise", c.noise},
          {"block_gains", c.block_gains},
          {"verdict", name_of(c.verdict)}};
}

Json json_of(const MeasuredRun& run) {
  Json out = {{"configuration", label_of(run.configuration)}, {"dir", run.dir.string()}};
  if (run.block >= 0) out["block"] = run.block + 1;
  out["result"] = run.result;
  return out;
}

}  // namespace

CompareReport report_of(const MeasurePlan& plan, const Measurements& measured, const Rule& rule) {
  for (const MeasuredRun& run : measured.runs) {
    if (value_of(run, kMetrics.front()) > 0) continue;
    throw ConfigError("steps", text("compare: ", file_of(plan, run.configuration),
                                    ": nothing was measured; [run] steps must be more than "
                                    "warmup_steps"));
  }
  CompareReport report;
  for (int i = 1; i < static_cast<int>(plan.files.size()); ++i) {
    ConfigurationComparison one{.configuration = i, .metrics = {}};
    for (const Metric& metric : kMetrics) {
      if (auto result = compared(plan, measured, i, metric, rule)) {
        one.metrics.push_back(*std::move(result));
      }
    }
    report.comparisons.push_back(std::move(one));
  }
  const std::vector<double> a = values_of(measured, 0, kMetrics.front());
  const auto half = a.begin() + static_cast<std::ptrdiff_t>(a.size() / 2);
  report.drift_of_a =
      distribution_of({half, a.end()}).median / distribution_of({a.begin(), half}).median;
  report.warnings = Warnings(plan, measured).all(report);
  return report;
}

std::string report_text(const MeasurePlan& plan, const Measurements& measured, const Rule& rule,
                        const CompareReport& report) {
  std::ostringstream out;
  for (const ConfigurationComparison& one : report.comparisons) {
    const std::string b = label_of(one.configuration);
    out << "\nA  " << file_of(plan, 0) << "\n"
        << b << "  " << file_of(plan, one.configuration) << "\n"
        << differences_text(measured, one.configuration) << "\n"
        << table(one);
  }
  out << "\n"
      << plan.blocks << " blocks, " << measured.runs.size()
      << " measured processes, after a warm-up of each configuration that is not counted.\n"
      << "Gain: B/A where more is better, A/B where less is; above 1 is always better.\n"
      << "\n"
      << rule_text(rule.minimum_effect) << "\n\n";
  for (const std::string& warning : report.warnings) out << "warning: " << warning << "\n";
  for (const ConfigurationComparison& one : report.comparisons) {
    out << headline_text(one, rule) << "\n";
  }
  return out.str();
}

Json report_json(const MeasurePlan& plan, const Measurements& measured, const Rule& rule,
                 const CompareReport& report) {
  Json configurations = Json::array(), warmups = Json::array(), runs = Json::array();
  for (std::size_t i = 0; i < plan.files.size(); ++i) {
    Json differs = Json::array();
    for (const ConfigDifference& one : differences(measured, static_cast<int>(i))) {
      differs.push_back({{"key", one.key},
                         {"a", one.a ? Json(*one.a) : Json()},
                         {"b", one.b ? Json(*one.b) : Json()}});
    }
    configurations.push_back({{"label", label_of(static_cast<int>(i))},
                              {"file", plan.files[i]},
                              {"differs_from_a", differs},
                              {"resolved_toml", measured.resolved[i]}});
  }
  for (const MeasuredRun& run : measured.warmups) warmups.push_back(json_of(run));
  std::string order;
  for (const MeasuredRun& run : measured.runs) {
    runs.push_back(json_of(run));
    order += label_of(run.configuration);
  }
  Json comparisons = Json::array();
  for (const ConfigurationComparison& one : report.comparisons) {
    Json metrics = Json::array();
    for (const MetricComparison& metric : one.metrics) metrics.push_back(json_of(metric));
    comparisons.push_back({{"configuration", label_of(one.configuration)},
                           {"verdict", name_of(one.headline())},
                           {"metrics", metrics}});
  }
  return {{"format", 1},
          {"slackline", SLACKLINE_VERSION},
          {"machine", measured.warmups.front().result.value("machine", Json::object())},
          {"configurations", configurations},
          {"set", plan.set},
          {"blocks", plan.blocks},
          {"order", order},
          {"rule",
           {{"text", rule_text(rule.minimum_effect)},
            {"minimum_effect", rule.minimum_effect},
            {"interval", 0.95},
            {"resamples", rule.resamples},
            {"seed", rule.seed}}},
          {"comparisons", comparisons},
          {"drift_of_a", report.drift_of_a},
          {"warnings", report.warnings},
          {"warmups", warmups},
          {"runs", runs}};
}

}  // namespace slackline::app
