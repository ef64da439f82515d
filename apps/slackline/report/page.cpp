#include "page.h"

#include <slackline/config_diff.h>
#include <slackline/error.h>
#include <slackline/metrics.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "chart.h"
#include "markup.h"
#include "series.h"
#include "style.h"

namespace slackline::app {
namespace {

using Json = nlohmann::ordered_json;
using Runs = std::span<const RunFiles>;

constexpr const char* kNothing = "—";
constexpr std::size_t kMostBadSamples = 20;  // more are in result.json
constexpr std::size_t kMostCounterCharts = 12;
/// From this ratio of the largest to the smallest value on, an axis is logarithmic.
constexpr double kLogRatio = 20;

std::string letter_of(std::size_t run) { return {static_cast<char>('A' + run)}; }

std::string name_of(const RunFiles& run) {
  return run.result.string("/configuration").value_or(run.dir.filename().string());
}

std::string count_text(double value) {
  // number_text() leaves out what is behind the point from 100 on; a count has nothing there.
  return std::abs(value) < 100 ? std::to_string(std::llround(value)) : number_text(value);
}

bool is_measured(const RunFiles& run) {
  return run.result.number("/throughput/measured_steps").value_or(0) > 0;
}

/// How a run is told from the others: its letter in its colour.
void write_key(Markup& out, std::size_t run) {
  out.open("span", {{"class", "key s" + std::to_string(run % kPaletteSize)}});
  out.leaf("b", letter_of(run));
  out.close();
}

/// A sentence about something that is not on the page, and why.
void write_missing(Markup& out, const std::string& sentence) {
  out.leaf("p", sentence, {{"class", "missing"}});
}

/// "run A has", "runs A and C have".
std::string runs_have(const std::vector<std::size_t>& runs) {
  std::string out = runs.size() == 1 ? "Run " : "Runs ";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (i > 0) out += i + 1 == runs.size() ? " and " : ", ";
    out += letter_of(runs[i]);
  }
  return out + (runs.size() == 1 ? " has" : " have");
}

template <class Condition>
std::vector<std::size_t> runs_where(Runs runs, Condition condition) {
  std::vector<std::size_t> out;
  for (std::size_t run = 0; run < runs.size(); ++run) {
    if (condition(runs[run])) out.push_back(run);
  }
  return out;
}

/// The head of a table that has a column for each run.
void open_run_table(Markup& out, Runs runs, const std::string& first_column,
                    const char* column_class = "number") {
  out.open("div", {{"class", "scroll"}});
  out.open("table");
  out.open("thead");
  out.open("tr");
  out.leaf("th", first_column, {{"scope", "col"}});
  for (std::size_t run = 0; run < runs.size(); ++run) {
    out.open("th", {{"scope", "col"}, {"class", column_class}});
    write_key(out, run);
    out.close();
  }
  out.close();
  out.close();
  out.open("tbody");
}
void close_table(Markup& out) {
  for (int i = 0; i < 3; ++i) out.close();
}

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

/// `name` as code that may be broken into lines behind each `separator`.
void write_breakable(Markup& out, std::string_view name, char separator) {
  out.open("code");
  while (!name.empty()) {
    const std::size_t length = std::min(name.find(separator), name.size() - 1) + 1;
    out.text(name.substr(0, length));
    name.remove_prefix(length);
    if (!name.empty()) out.empty("wbr");
  }
  out.close();
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

/// The frame of a chart: a card with a heading, what `write_contents` writes, and a caption.
template <class WriteContents>
void write_chart(Markup& out, const std::string& heading, const std::string& caption,
                 WriteContents write_contents, const char* frame = "card") {
  out.open("figure", {{"class", frame}});
  out.leaf("h3", heading);
  write_contents();
  out.leaf("figcaption", caption);
  out.close();
}

void write_legend(Markup& out, Runs runs) {
  out.open("p");
  for (std::size_t i = 0; i < runs.size(); ++i) {
    out.open("span", {{"style", "display: inline-block; margin-right: 1.5em"}});
    write_key(out, i);
    out.open("svg", {{"class", "swatch"}, {"viewBox", "0 0 36 12"}, {"aria-hidden", "true"}});
    out.empty("path", {{"d", "M0 6H36"}, {"class", "line s" + std::to_string(i % kPaletteSize)}});
    out.close();
    out.text(name_of(runs[i]));
    out.close();
  }
  out.close();
}

std::size_t warmup_of(const RunFiles& run) {
  return static_cast<std::size_t>(run.result.number("/warmup_steps").value_or(0));
}

/// Said where charts need steps.jsonl.
void write_runs_without_steps(Markup& out, Runs runs) {
  const auto without =
      runs_where(runs, [](const RunFiles& run) { return !run.steps || run.steps->empty(); });
  if (without.empty()) return;
  write_missing(out, runs_have(without) +
                         " no steps in steps.jsonl, or no such file, and no line in the charts of "
                         "throughput and step times. Every run that trains writes one: it was "
                         "removed since, or not copied.");
}

void write_throughput_chart(Markup& out, Runs runs) {
  LineChart chart{.id = "throughput",
                  .title = "Throughput over steps",
                  .description = "Images a second.",
                  .x = {.title = "step"},
                  .y = {.title = "images/s"}};
  std::size_t per_point = 1;
  double low = INFINITY, high = 0;
  std::map<std::size_t, std::string> warmups;  // steps, letters of the runs
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i].steps || runs[i].steps->empty()) continue;
    Curve curve = throughput_curve(*runs[i].steps);
    if (curve.points.empty()) continue;
    for (const Point& point : curve.points) {
      low = std::min(low, point.y);
      high = std::max(high, point.y);
    }
    for (const Spread& spread : curve.band) {
      low = std::min(low, spread.low);
      high = std::max(high, spread.high);
    }
    per_point = std::max(per_point, curve.per_point);
    if (warmup_of(runs[i]) > 0) warmups[warmup_of(runs[i])] += letter_of(i);
    const std::string all = text("run ", letter_of(i), ", ", name_of(runs[i]), ": ",
                                 count_text(static_cast<double>(curve.values)), " steps");
    chart.description += " " + all + ".";
    chart.lines.push_back({.series = i,
                           .letter = letter_of(i),
                           .name = all,
                           .points = std::move(curve.points),
                           .band = std::move(curve.band)});
  }
  if (chart.lines.empty()) return;
  chart.y.is_log = low > 0 && high / low > kLogRatio;
  for (const auto& [steps, letters] : warmups) {
    chart.marks.push_back({static_cast<double>(steps),
                           warmups.size() > 1 ? "warm-up ends: " + letters : "warm-up ends"});
  }
  std::string caption =
      per_point == 1 ? "Each point is one step."
                     : text("Each point is up to ", per_point,
                            " steps together, their images over their time; the band reaches from "
                            "the slowest of them to the fastest.");
  if (chart.y.is_log) caption += " Logarithmic scale.";
  write_chart(out, chart.title, caption, [&] { draw(out, chart); });
}

void write_step_time_chart(Markup& out, Runs runs) {
  LineChart chart{.id = "step-times",
                  .title = "Distribution of step times",
                  .description = "The share of the measured steps that took no longer than a time.",
                  .x = {.title = "step time, ms"},
                  .y = {.title = "% of steps", .ticks = {0, 25, 50, 75, 90, 100}}};
  std::size_t per_point = 1;
  double low = INFINITY, high = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i].steps || runs[i].steps->size() <= warmup_of(runs[i])) continue;
    std::vector<double> times_ms;
    for (const Step& step : std::span(*runs[i].steps).subspan(warmup_of(runs[i]))) {
      times_ms.push_back(step.total_ms());
    }
    const Distribution known = distribution_of(times_ms);
    Curve curve = distribution_curve(std::move(times_ms));
    low = std::min(low, curve.points.front().x);
    high = std::max(high, curve.points.back().x);
    per_point = std::max(per_point, curve.per_point);
    const std::string run = text("run ", letter_of(i), ", ", name_of(runs[i]));
    chart.description +=
        text(" ", run, ": half within ", number_text(known.median), " ms, 90 % in ",
             number_text(known.p90), " ms, 99 % in ", number_text(known.p99), " ms.");
    for (const auto& [percent, time_ms] :
         {std::pair{50, known.median}, {90, known.p90}, {99, known.p99}}) {
      chart.dots.push_back(
          {i,
           {time_ms, static_cast<double>(percent)},
           text(run, ": ", percent, " % of the steps within ", number_text(time_ms), " ms")});
    }
    chart.lines.push_back(
        {.series = i,
         .letter = letter_of(i),
         .name = text(run, ": ", count_text(static_cast<double>(curve.values)), " steps"),
         .points = std::move(curve.points),
         .is_stairs = true,
         .letter_at = static_cast<double>(i + 1) / static_cast<double>(runs.size() + 1)});
  }
  if (chart.lines.empty()) {
    if (!runs_where(runs, [](const RunFiles& run) {
           return run.steps && !run.steps->empty();
         }).empty()) {
      write_missing(out, "No step times: every run ended within its warm-up.");
    }
    return;
  }
  chart.x.is_log = low > 0 && high / low > kLogRatio;
  std::string caption = "Further left is faster, steeper is steadier. Dots are p50, p90 and p99.";
  if (per_point > 1) {
    caption += text(" Drawn through one step in ", per_point,
                    ", the fastest and the slowest of all included.");
  }
  if (chart.x.is_log) caption += " Logarithmic scale.";
  write_chart(out, chart.title, caption, [&] { draw(out, chart); });
}

/// A part of a whole, as bars and as rows of the table below them.
struct Part {
  std::string name;
  double time_s = 0;
  double ms = 0;  ///< of a step, or of an image
};

/// Bars of shares with the table of their values, which is their legend too.
void write_parts(Markup& out, Runs runs, const std::string& id, const std::string& heading,
                 const std::string& caption, const std::string& ms_of,
                 const std::vector<std::vector<Part>>& parts_of_runs) {
  BarChart chart{.id = id, .title = heading, .description = caption};
  // In the order of the first run that has them; the colour follows the name.
  const std::map<std::string, std::size_t> known = {
      {"input wait", 1}, {"submit", 6}, {"device wait", 2}, {"read", 6},
      {"batching", 2},   {"turn", 3},   {"idle", 4}};
  constexpr std::array<std::size_t, 4> kOthers = {1, 5, 7, 0};
  std::vector<std::string> names;
  std::map<std::string, std::size_t> series;
  std::size_t others = 0;
  for (const auto& parts : parts_of_runs) {
    for (const Part& part : parts) {
      const auto found = known.find(part.name);
      const bool is_known = found != known.end();
      const std::size_t colour = is_known ? found->second : kOthers[others % kOthers.size()];
      if (!series.emplace(part.name, colour).second) continue;
      if (!is_known) ++others;
      names.push_back(part.name);
    }
  }
  struct Cell {
    std::string share, time;
  };
  std::vector<std::map<std::string, Cell>> cells(runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    double whole_s = 0;
    for (const Part& part : parts_of_runs[i]) whole_s += part.time_s;
    if (whole_s <= 0) continue;
    Bar& bar = chart.bars.emplace_back(Bar{.letter = letter_of(i), .segments = {}});
    for (const Part& part : parts_of_runs[i]) {
      const double share = part.time_s / whole_s;
      const std::string percent = fixed_text(100 * share, 1) + " %";
      cells[i][part.name] = {percent, number_text(part.ms) + " ms"};
      // "transform/x" is "x" where there is little room.
      bar.segments.push_back({series[part.name], part.name.substr(part.name.rfind('/') + 1), share,
                              text("run ", letter_of(i), ", ", percent)});
    }
  }
  write_chart(
      out, heading, caption,
      [&] {
        if (chart.bars.empty()) {
          write_missing(out, "Nothing was measured: no step was trained after the warm-up.");
          return;
        }
        out.open("div", {{"class", "beside"}});
        draw(out, chart);
        open_run_table(out, runs, "Share, ms " + ms_of);
        for (const std::string& name : names) {
          out.open("tr");
          out.open("th", {{"scope", "row"}});
          out.open("svg", {{"class", "swatch"}, {"viewBox", "0 0 36 12"}, {"aria-hidden", "true"}});
          out.empty("rect", {{"width", "36"},
                             {"height", "12"},
                             {"class", "bar s" + std::to_string(series.at(name))}});
          out.close();
          write_breakable(out, name, '/');
          out.close();
          for (const auto& row : cells) {
            const auto found = row.find(name);
            out.open("td", {{"class", "number"}});
            out.text(found == row.end() ? kNothing : found->second.share);
            if (found != row.end()) {
              out.empty("br");
              out.leaf("span", found->second.time, {{"class", "muted"}});
            }
            out.close();
          }
          out.close();
        }
        close_table(out);
        out.close();
      },
      "card wide");
}

void write_loop_chart(Markup& out, Runs runs) {
  std::vector<std::vector<Part>> parts(runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Document& result = runs[i].result;
    const double steps = result.number("/throughput/measured_steps").value_or(0);
    for (const auto& [name, pointer] : {std::pair{"input wait", "/throughput/input_wait_s"},
                                        {"submit", "/throughput/submit_s"},
                                        {"device wait", "/throughput/device_wait_s"}}) {
      const std::optional<double> time_s = result.number(pointer);
      if (time_s && steps > 0) parts[i].push_back({name, *time_s, 1e3 * *time_s / steps});
    }
  }
  write_parts(out, runs, "loop", "What the training loop waited for",
              "Time of the measured steps. Input wait: the next batch was not there. Submit: the "
              "host enqueued the step. Device wait: the device was busy, as it should be.",
              "a step", parts);
}

void write_worker_chart(Markup& out, Runs runs) {
  std::vector<std::vector<Part>> parts(runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Document& result = runs[i].result;
    for (const auto& [name, ignored] :
         result.at("/input/worker_time", Json::value_t::object).items()) {
      // A name may hold the characters that mean something in a JSON pointer.
      const Json::json_pointer place = Json::json_pointer("/input/worker_time") / name;
      parts[i].push_back({name, result.number((place / "s").to_string()).value_or(0),
                          result.number((place / "ms_per_image").to_string()).value_or(0)});
    }
  }
  write_parts(out, runs, "workers", "What the input workers did",
              "Time of all workers together. Read, the transforms and batching are work; turn is "
              "waiting for the source, idle is waiting for room: idle workers could do more.",
              "an image", parts);
}

void write_counter_charts(Markup& out, Runs runs) {
  const auto without = runs_where(runs, [](const RunFiles& run) { return !run.counters; });
  if (!without.empty()) {
    write_missing(out, runs_have(without) +
                           " no trace.json, so the depth of the queues over time is not known: "
                           "a run writes it if [run] trace_steps is above 0.");
  }
  std::size_t charts = 0, left_out = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i].counters) continue;
    if (runs[i].counters->empty()) {
      write_missing(out, "The trace.json of run " + letter_of(i) +
                             " counts nothing, so there is no depth of queues to show.");
    }
    std::map<std::string, std::vector<const Counter*>> by_name;
    for (const Counter& counter : *runs[i].counters) by_name[counter.name].push_back(&counter);
    for (const auto& [name, counters] : by_name) {
      if (charts == kMostCounterCharts) {
        ++left_out;
        continue;
      }
      const bool is_buffer = name == "buffer";
      LineChart chart{.id = "counter-" + std::to_string(charts++),
                      .title = text("Run ", letter_of(i), ": ",
                                    is_buffer ? "depth of the queues over time" : name),
                      .description = "By track:",
                      .x = {.title = "time in the trace, s"},
                      .y = {.title = is_buffer ? "batches" : name}};
      std::size_t per_point = 1;
      const std::size_t shown = std::min(counters.size(), kPaletteSize);
      std::string legend;
      for (std::size_t track = 0; track < shown; ++track) {
        Curve curve = counter_curve(counters[track]->samples);
        per_point = std::max(per_point, curve.per_point);
        const std::string number = std::to_string(track + 1);
        legend += text(track > 0 ? "; " : "", number, ": ", counters[track]->track);
        chart.lines.push_back({.series = track,
                               .letter = number,
                               .name = counters[track]->track,
                               .points = std::move(curve.points),
                               .band = std::move(curve.band)});
        // The mean over a stretch of time does not hold until the next: a line, not stairs.
        chart.lines.back().is_stairs = chart.lines.back().band.empty();
      }
      chart.description += " " + legend + ".";
      std::string caption = legend + ".";
      if (shown < counters.size()) {
        caption += text(" ", counters.size() - shown, " more tracks are in trace.json.");
      }
      if (per_point > 1) {
        caption += text(" Lines are means over stretches of time (up to ", per_point,
                        " changes each), bands reach from the lowest value in it to the highest.");
      }
      write_chart(out, chart.title, caption, [&] { draw(out, chart); });
    }
  }
  if (left_out > 0) {
    write_missing(out, text(left_out, " more quantities are in trace.json and not drawn here."));
  }
}

void write_charts(Markup& out, Runs runs) {
  out.leaf("h2", "Charts");
  write_legend(out, runs);
  write_runs_without_steps(out, runs);
  out.open("div", {{"class", "charts"}});
  write_throughput_chart(out, runs);
  write_step_time_chart(out, runs);
  write_loop_chart(out, runs);
  write_worker_chart(out, runs);
  write_counter_charts(out, runs);
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
