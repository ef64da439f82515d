#include "page_charts.h"

#include <slackline/error.h>
#include <slackline/metrics.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "chart.h"
#include "series.h"

namespace slackline::app {
namespace {

constexpr std::size_t kMostCounterCharts = 12;
/// From this ratio of the largest to the smallest value on, an axis is logarithmic.
constexpr double kLogRatio = 20;

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

}  // namespace

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

}  // namespace slackline::app
