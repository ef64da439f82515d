#include "page.h"

#include <slackline/config_diff.h>
#include <slackline/error.h>
#include <slackline/metrics.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "chart.h"
#include "page_charts.h"
#include "page_parts.h"
#include "style.h"

namespace slackline::app {
namespace {

constexpr std::size_t kMostBadSamples = 20;  // more are in result.json

void write_verdicts(Markup& out, Runs runs) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Document& result = runs[i].result;
    out.open("article", {{"class", "card run"},
                         {"style", "border-left-color: var(--s" + std::to_string(i) + ")"}});
    out.open("h3");
    write_key(out, i);
    out.text(name_of(runs[i]));
    out.close();
    out.leaf("p", result.string("/verdict").value_or("result.json has no verdict"));
    const std::string status = result.string("/status").value_or("unknown");
    if (status != "complete") {
      out.open("p", {{"class", "warning"}});
      out.leaf("strong", "Status: " + status);
      out.text(", so its figures are of a part of the run only. " +
               result.string("/error").value_or(""));
      out.close();
    }
    out.open("p", {{"class", "muted"}});
    out.text(text(result.string("/started_at").value_or("start unknown"), ", slackline ",
                  result.string("/slackline").value_or("of unknown version"), ", "));
    out.leaf("code", runs[i].dir.string());
    if (const auto step = result.number("/resumed_at_step")) {
      out.text(text(", resumed at step ", count_text(*step), ": charts count from there"));
    }
    out.close();
    out.close();
  }
}

/// The keys that differ, and the value in each run; the runs must have a resolved.toml.
std::map<std::string, std::vector<std::string>> differing_keys(Runs runs) {
  const auto file = [](const RunFiles& run) { return (run.dir / "resolved.toml").string(); };
  std::map<std::string, std::vector<std::string>> keys;
  for (std::size_t i = 1; i < runs.size(); ++i) {
    for (const ConfigDifference& difference : config_diff(
             *runs[0].resolved_toml, *runs[i].resolved_toml, file(runs[0]), file(runs[i]))) {
      // Where a run has no difference from the first, it has the first's value.
      auto [values, is_new] = keys.try_emplace(difference.key);
      if (is_new) values->second.assign(runs.size(), difference.a.value_or("not set"));
      values->second[i] = difference.b.value_or("not set");
    }
  }
  return keys;
}

/// Whether the runs have trained on the same samples in the same order, and on the same pixels.
void write_data(Markup& out, Runs runs) {
  const auto value_of = [](const RunFiles& run, const char* pointer) {
    return run.result.string(pointer).value_or("");
  };
  const auto without =
      runs_where(runs, [&](const RunFiles& run) { return value_of(run, "/data/order").empty(); });
  if (!without.empty()) {
    write_missing(out, runs_have(without) +
                           " no digest of the data in result.json, so whether the data were the "
                           "same is not known.");
    return;
  }
  const auto all_same = [&](auto value) {
    return std::ranges::all_of(runs,
                               [&](const RunFiles& run) { return value(run) == value(runs[0]); });
  };
  const bool same_order = all_same([&](const RunFiles& run) {
    return std::pair(run.result.number("/data/samples"), value_of(run, "/data/order"));
  });
  const bool same_pixels =
      all_same([&](const RunFiles& run) { return value_of(run, "/data/pixels"); });
  out.leaf("p", text("Data trained on: ",
                     same_order ? "the same samples in the same order"
                                : "not the same samples in the same order",
                     same_order && same_pixels ? ", and the same pixels." : "",
                     same_order && !same_pixels ? ", but not the same pixels." : "",
                     !same_order ? "; slackline verify tells where they part." : ""));
}

void write_differences(Markup& out, Runs runs) {
  if (runs.size() < 2) return;
  out.leaf("h2", "What differs");
  write_data(out, runs);
  const auto without = runs_where(runs, [](const RunFiles& run) { return !run.resolved_toml; });
  if (!without.empty()) {
    write_missing(out, runs_have(without) +
                           " no resolved.toml, so the configurations cannot be compared. Every run "
                           "writes one: it was removed since, or not copied.");
    return;
  }
  const auto keys = differing_keys(runs);
  if (keys.empty()) {
    out.leaf("p", "The resolved configurations are the same, key by key.");
    return;
  }
  out.open("div", {{"class", "card"}});
  open_run_table(out, runs, "Key", "path");
  for (const auto& [key, values] : keys) {
    out.open("tr");
    out.open("th", {{"scope", "row"}});
    write_breakable(out, key, '.');
    out.close();
    for (const std::string& value : values) {
      out.open("td", {{"class", "path"}});
      out.leaf("code", value);
      out.close();
    }
    out.close();
  }
  close_table(out);
  out.close();
}

/// A row of the table of figures.
struct Figure {
  const char* label;
  const char* unit;
  const char* pointer;  ///< into result.json
  double factor = 1;    ///< from the unit there to the unit here
  bool is_count = false;
};
constexpr double kMebibyte = 1 << 20;
constexpr auto kFigures = std::to_array<Figure>({
    {"Throughput", "images/s", "/throughput/images_per_s"},
    {"Throughput if input were free", "images/s", "/throughput/headspace_images_per_s"},
    {"Input-bound", "% of time", "/throughput/input_bound_percent"},
    {"Step, median", "ms", "/throughput/step_ms/median"},
    {"Step, p10", "ms", "/throughput/step_ms/p10"},
    {"Step, p90", "ms", "/throughput/step_ms/p90"},
    {"Step, p99", "ms", "/throughput/step_ms/p99"},
    {"CPU time", "ms an image", "/throughput/cpu_ms_per_image"},
    {"CPU time of the input workers", "ms an image", "/input/cpu_ms_per_image"},
    {"Time to the first batch", "s", "/time_to_first_batch_s"},
    {"Peak memory", "MiB", "/peak_memory_bytes", 1 / kMebibyte},
    {"CPU time of the process", "s", "/cpu_s"},
    {"Wall time of the whole run", "s", "/wall_time_s"},
    {"Steps measured", "", "/throughput/measured_steps", 1, true},
    {"Warm-up steps, left out", "", "/warmup_steps", 1, true},
    {"Bad samples", "", "/bad_samples/count", 1, true},
    {"Training loss, last epoch", "", "/last_epoch/loss"},
    {"Training accuracy, last epoch", "%", "/last_epoch/accuracy", 100},
});

void write_figures(Markup& out, Runs runs) {
  out.leaf("h2", "Figures");
  out.open("div", {{"class", "card"}});
  open_run_table(out, runs, "Figure");
  const auto row = [&](const std::string& label, const std::string& unit, const auto& value_of) {
    out.open("tr");
    out.open("th", {{"scope", "row"}});
    out.text(label);
    if (!unit.empty()) out.leaf("span", ", " + unit, {{"class", "muted"}});
    out.close();
    for (const RunFiles& run : runs) out.leaf("td", value_of(run), {{"class", "number"}});
    out.close();
  };
  for (const Figure& figure : kFigures) {
    row(figure.label, figure.unit, [&](const RunFiles& run) -> std::string {
      const std::string pointer = figure.pointer;
      const bool is_statistic = pointer.starts_with("/throughput/") && !figure.is_count;
      const std::optional<double> value = run.result.number(pointer);
      // The statistics of no steps are zeros, which would look like measurements.
      if (!value.has_value() || (is_statistic && !is_measured(run))) return kNothing;
      return figure.is_count ? count_text(*value) : number_text(*value * figure.factor);
    });
  }
  row("Held-out accuracy, last evaluation", "%", [](const RunFiles& run) -> std::string {
    const Json& evaluations = run.result.at("/evaluations", Json::value_t::array);
    if (evaluations.empty()) return kNothing;
    const auto accuracy =
        run.result.number(text("/evaluations/", evaluations.size() - 1, "/accuracy"));
    return accuracy ? number_text(100 * *accuracy) : kNothing;
  });
  close_table(out);
  out.leaf("p",
           text(kNothing, " means not measured. Warm-up is left out of throughput and step times.",
                runs.size() > 1 ? " Each column is one run: whether a difference is more than "
                                  "chance, slackline compare can tell."
                                : ""),
           {{"class", "muted"}});
  out.close();
}

/// The verdicts of slackline compare, whose letters are its own: they stand for configurations.
void write_comparison(Markup& out, const Document& comparison) {
  out.leaf("h2", "Comparison");
  out.open("div", {{"class", "card"}});
  out.open("p", {{"class", "muted"}});
  out.text(text(comparison.number("/blocks") ? count_text(*comparison.number("/blocks")) : kNothing,
                " blocks of runs. The letters in this part are those of configurations: "));
  const Json& configurations = comparison.at("/configurations", Json::value_t::array);
  for (std::size_t i = 0; i < configurations.size(); ++i) {
    const std::string place = text("/configurations/", i);
    out.text(text(i > 0 ? ", " : "", comparison.string(place + "/label").value_or("?"), " is "));
    out.leaf("code", comparison.string(place + "/file").value_or("unknown"));
  }
  out.text(".");
  out.close();
  const Json& comparisons = comparison.at("/comparisons", Json::value_t::array);
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    const std::string place = text("/comparisons/", i);
    const std::string letter = comparison.string(place + "/configuration").value_or("?");
    out.leaf("h3",
             text(letter, " against A: ", comparison.string(place + "/verdict").value_or("?")));
    out.open("div", {{"class", "scroll"}});
    out.open("table");
    out.open("thead");
    out.open("tr");
    out.leaf("th", "Metric", {{"scope", "col"}});
    for (const std::string& column :
         {std::string("A"), letter, std::string("Gain (95 %)"), std::string("A against A")}) {
      out.leaf("th", column, {{"scope", "col"}, {"class", "number"}});
    }
    out.leaf("th", "Verdict", {{"scope", "col"}});
    out.close();
    out.close();
    out.open("tbody");
    const Json& metrics = comparison.at(place + "/metrics", Json::value_t::array);
    for (std::size_t m = 0; m < metrics.size(); ++m) {
      const std::string metric = text(place, "/metrics/", m);
      const auto number = [&](const std::string& key) {
        const auto value = comparison.number(metric + key);
        return value ? number_text(*value) : std::string(kNothing);
      };
      // Ratios near 1: three digits after the point show what matters.
      const auto ratio = [&](const std::string& key) {
        const auto value = comparison.number(metric + key);
        return value ? fixed_text(*value, 3) : std::string(kNothing);
      };
      const auto interval = [&](const std::string& key) {
        return ratio(key + "/low") + " to " + ratio(key + "/high");
      };
      out.open("tr");
      out.leaf("th", comparison.string(metric + "/metric").value_or("?"), {{"scope", "row"}});
      out.leaf("td", number("/median_a"), {{"class", "number"}});
      out.leaf("td", number("/median_b"), {{"class", "number"}});
      out.leaf("td", ratio("/gain/median") + " (" + interval("/gain") + ")", {{"class", "number"}});
      out.leaf("td", interval("/a_against_a"), {{"class", "number"}});
      out.leaf("td", comparison.string(metric + "/verdict").value_or("?"));
      out.close();
    }
    close_table(out);
  }
  out.leaf("p",
           "A gain is a ratio of medians: above 1 is better than A, whether more of the metric is "
           "better or less. A against A shows what chance does. " +
               comparison.string("/rule/text").value_or(""),
           {{"class", "muted"}});
  const Json& warnings = comparison.at("/warnings", Json::value_t::array);
  for (std::size_t i = 0; i < warnings.size(); ++i) {
    out.leaf("p", "Warning: " + comparison.string(text("/warnings/", i)).value_or(""),
             {{"class", "warning"}});
  }
  out.close();
}

void write_warnings(Markup& out, const RunFiles& run) {
  const Json& warnings = run.result.at("/warnings", Json::value_t::array);
  if (warnings.empty()) out.leaf("p", "No warnings.");
  if (!warnings.empty()) {
    out.open("ul");
    for (std::size_t i = 0; i < warnings.size(); ++i) {
      out.leaf("li", run.result.string(text("/warnings/", i)).value_or(""), {{"class", "warning"}});
    }
    out.close();
  }
  const Json& samples = run.result.at("/bad_samples/samples", Json::value_t::array);
  if (samples.empty()) {
    out.leaf("p", "No bad samples.");
    return;
  }
  out.leaf("p", text("Bad samples: ", samples.size(), ", policy ",
                     run.result.string("/bad_samples/policy").value_or("unknown"), ":"));
  out.open("ul");
  for (std::size_t i = 0; i < std::min(samples.size(), kMostBadSamples); ++i) {
    const std::string place = text("/bad_samples/samples/", i);
    out.leaf("li", text("epoch ", run.result.number(place + "/epoch").value_or(0) + 1, ": ",
                        run.result.string(place + "/reason").value_or("no reason given")));
  }
  out.close();
  if (samples.size() > kMostBadSamples) {
    out.leaf("p", text("… and ", samples.size() - kMostBadSamples, " more in result.json."),
             {{"class", "muted"}});
  }
}

void write_plugins(Markup& out, const RunFiles& run) {
  out.open("div", {{"class", "scroll"}});
  out.open("table");
  out.open("thead");
  out.open("tr");
  for (const char* column : {"Plugin", "Version", "SHA-256", "Reports"}) {
    out.leaf("th", column, {{"scope", "col"}});
  }
  out.close();
  out.close();
  out.open("tbody");
  for (const auto& [id, ignored] : run.result.at("/plugins", Json::value_t::object).items()) {
    const Json::json_pointer place = Json::json_pointer("/plugins") / id;
    const auto word = [&](const char* key) {
      return run.result.string((place / key).to_string()).value_or(kNothing);
    };
    out.open("tr");
    out.open("th", {{"scope", "row"}});
    write_breakable(out, id, '/');
    out.close();
    out.leaf("td", word("version"));
    out.open("td");
    out.leaf("code", word("sha256").substr(0, 12), {{"title", word("sha256")}});
    out.close();
    std::string reports;
    const Json::json_pointer report_place = place / "reports";
    for (const auto& [name, unused] :
         run.result.at(report_place.to_string(), Json::value_t::object).items()) {
      const Json::json_pointer report = report_place / name;
      const auto value = run.result.number((report / "value").to_string());
      reports += text(reports.empty() ? "" : "; ", name, " ",
                      !value                         ? kNothing
                      : *value == std::round(*value) ? count_text(*value)
                                                     : number_text(*value),
                      " ", run.result.string((report / "unit").to_string()).value_or(""));
    }
    out.leaf("td", reports, {{"class", "reports"}});
    out.close();
  }
  close_table(out);
}

void write_details(Markup& out, Runs runs) {
  out.leaf("h2", "Details");
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Document& result = runs[i].result;
    out.open("section", {{"class", "card"}});
    out.open("h3");
    write_key(out, i);
    out.text(name_of(runs[i]));
    out.close();
    write_warnings(out, runs[i]);
    write_plugins(out, runs[i]);
    const auto count = [&](const char* pointer) {
      const auto value = result.number(pointer);
      return value ? count_text(*value) : std::string(kNothing);
    };
    const auto memory = result.number("/machine/memory_bytes");
    out.leaf(
        "p",
        text("Machine: ", result.string("/machine/host").value_or("unknown"), ", ",
             result.string("/machine/cpu").value_or("unknown CPU"), ", ",
             count("/machine/cpus_usable"), " of ", count("/machine/cpus_online"), " CPUs usable, ",
             memory ? number_text(*memory / (1024 * kMebibyte)) : kNothing, " GiB memory, kernel ",
             result.string("/machine/kernel").value_or("unknown"), "."));
    if (runs[i].resolved_toml) {
      out.open("details");
      out.leaf("summary", "Resolved configuration: runs again as it stands");
      out.open("pre");
      out.leaf("code", *runs[i].resolved_toml);
      out.close();
      out.close();
    } else {
      write_missing(out,
                    "There is no resolved.toml in its directory: it was removed, or not copied.");
    }
    out.close();
  }
}

}  // namespace

std::string report_page(Runs runs, const std::optional<Document>& comparison) {
  std::string title = "slackline report:";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    title += text(i > 0 ? "," : "", " ", name_of(runs[i]));
  }
  Markup out;
  out.verbatim("<!DOCTYPE html>\n");
  out.open("html", {{"lang", "en"}});
  out.open("head");
  out.empty("meta", {{"charset", "utf-8"}});
  out.empty("meta", {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}});
  out.leaf("title", title);
  out.open("style");
  out.verbatim(kStyle);
  out.close();
  out.close();
  out.open("body");
  out.open("main");
  out.leaf("h1", runs.size() == 1 ? "Report of a run" : text("Report of ", runs.size(), " runs"));
  write_verdicts(out, runs);
  write_differences(out, runs);
  write_figures(out, runs);
  if (comparison.has_value()) write_comparison(out, *comparison);
  write_charts(out, runs);
  write_details(out, runs);
  out.close();
  out.close();
  out.close();
  return std::move(out).str();
}

}  // namespace slackline::app
