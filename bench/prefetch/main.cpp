// Which prefetcher is best where: every setting in every scenario, on emulated devices and in
// simulated time, and how `adaptive` does against the best of what can be set by hand. The tables
// are in docs/prefetch.md.

#include <slackline/error.h>
#include <slackline/metrics.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "grid.h"
#include "simulation.h"

namespace {

using namespace slackline;
using namespace slackline::bench;

struct Arguments {
  RunLength length;
  int seeds = 5;                 ///< for scenarios with jitter
  std::uint64_t first_seed = 1;  ///< the others follow
  int jobs = 2;
  int rounds = 5;
  bool as_json = false;
  bool in_real_time = false;
  std::vector<std::string> scenarios, settings;  ///< names of those to run; none is all
};

/// One cell of the table: all runs of a setting in a scenario.
struct Cell {
  std::vector<Outcome> runs;  ///< one for each seed, or round

  [[nodiscard]] double mean(double Outcome::*value) const {
    double sum = 0;
    for (const Outcome& run : runs) sum += run.*value;
    return sum / static_cast<double>(runs.size());
  }
  [[nodiscard]] Distribution step_ms() const {
    std::vector<double> values;
    for (const Outcome& run : runs) values.push_back(run.step_ms);
    return distribution_of(values);
  }
};

/// Cells of every scenario (rows) and setting (columns); the last column is `adaptive`.
struct Grid {
  std::vector<Scenario> scenarios;
  std::vector<Setting> settings;
  std::vector<std::vector<Cell>> cells;

  [[nodiscard]] bool has_adaptive() const { return settings.back().plugin == "adaptive"; }
  /// Index of the fixed setting with the shortest steps.
  [[nodiscard]] std::size_t best_fixed(std::size_t row) const {
    const auto step_ms = [](const Cell& cell) { return cell.mean(&Outcome::step_ms); };
    const auto end = cells[row].end() - (has_adaptive() ? 1 : 0);
    const auto best = std::ranges::min_element(cells[row].begin(), end, {}, step_ms);
    return static_cast<std::size_t>(best - cells[row].begin());
  }
};

/// Leaves those of `items` that have one of these names, if any are given.
template <class Item>
void keep_named(std::vector<Item>& items, const std::vector<std::string>& names) {
  const auto is = [](const std::string& name) {
    return [&name](const Item& item) { return item.name == name; };
  };
  for (const std::string& name : names) {
    if (std::ranges::none_of(items, is(name))) throw ConfigError("nothing is named '" + name + "'");
  }
  if (names.empty()) return;
  std::erase_if(items, [&](const Item& item) {
    return std::ranges::find(names, std::string(item.name)) == names.end();
  });
}

Grid empty_grid(const Arguments& arguments) {
  Grid grid{scenarios(), fixed_settings(), {}};
  grid.settings.push_back(adaptive_setting());
  keep_named(grid.scenarios, arguments.scenarios);
  keep_named(grid.settings, arguments.settings);
  for (const Scenario& scenario : grid.scenarios) {
    const auto runs = arguments.in_real_time ? arguments.rounds
                      : scenario.is_random() ? arguments.seeds
                                             : 1;
    Cell cell;
    cell.runs.resize(static_cast<std::size_t>(runs));
    grid.cells.emplace_back(grid.settings.size(), cell);
  }
  return grid;
}

/// Calls all of them, several at a time; throws what the first to fail threw.
void run_all(const std::vector<std::function<void()>>& tasks, int jobs) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  std::vector<std::jthread> threads;
  for (int i = 0; i < jobs; ++i) {
    threads.emplace_back([&] {
      for (std::size_t task = next++; task < tasks.size(); task = next++) {
        try {
          tasks[task]();
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (error == nullptr) error = std::current_exception();
          next = tasks.size();
        }
      }
    });
  }
  threads.clear();
  if (error != nullptr) std::rethrow_exception(error);
}

/// In simulated time, several runs at once: they do not disturb each other. In real time one after
/// the other, and a round of all settings before the next, so that a drift of the machine hits all.
void fill(Grid& grid, const Arguments& arguments, Registry& registry) {
  std::vector<std::function<void()>> tasks;
  for (std::size_t row = 0; row < grid.scenarios.size(); ++row) {
    const std::size_t runs = grid.cells[row].front().runs.size();
    for (std::size_t run = 0; run < runs; ++run) {
      for (std::size_t column = 0; column < grid.settings.size(); ++column) {
        tasks.emplace_back([&, row, column, run] {
          const auto go = arguments.in_real_time ? run_in_real_time : simulate;
          grid.cells[row][column].runs[run] =
              go(grid.scenarios[row], grid.settings[column], arguments.length,
                 arguments.first_seed + run, registry);
        });
      }
    }
  }
  run_all(tasks, arguments.in_real_time ? 1 : arguments.jobs);
}

void print_head(const Grid& grid) {
  std::printf("| scenario |");
  for (const Setting& setting : grid.settings) std::printf(" %s |", setting.name.c_str());
  std::printf("\n|---|");
  for (std::size_t i = 0; i < grid.settings.size(); ++i) std::printf("---|");
  std::printf("\n");
}

void print_cells(const Grid& grid, const char* title, double Outcome::*value) {
  std::printf("%s\n\n", title);
  print_head(grid);
  for (std::size_t row = 0; row < grid.scenarios.size(); ++row) {
    std::printf("| %s |", grid.scenarios[row].name);
    for (const Cell& cell : grid.cells[row]) std::printf(" %.2f |", cell.mean(value));
    std::printf("\n");
  }
  std::printf("\n");
}

void print_against_best(const Grid& grid) {
  std::printf(
      "Against the best fixed setting\n\n"
      "| scenario | best fixed | ms | adaptive, ms | ratio | CPU ms, fixed | adaptive "
      "|\n|---|---|---|---|---|---|---|\n");
  double worst = 0;
  int better = 0, equal = 0;
  for (std::size_t row = 0; row < grid.scenarios.size(); ++row) {
    const Cell& fixed = grid.cells[row][grid.best_fixed(row)];
    const Cell& adaptive = grid.cells[row].back();
    const double ratio = adaptive.mean(&Outcome::step_ms) / fixed.mean(&Outcome::step_ms);
    worst = std::max(worst, ratio);
    constexpr double kEqual = 0.001;
    if (ratio < 1 - kEqual) ++better;
    if (std::abs(ratio - 1) <= kEqual) ++equal;
    std::printf("| %s | %s | %.2f | %.2f | %.4f | %.2f | %.2f |\n", grid.scenarios[row].name,
                grid.settings[grid.best_fixed(row)].name.c_str(), fixed.mean(&Outcome::step_ms),
                adaptive.mean(&Outcome::step_ms), ratio, fixed.mean(&Outcome::cpu_ms),
                adaptive.mean(&Outcome::cpu_ms));
  }
  std::printf(
      "\nWorst ratio %.4f. Of %zu scenarios adaptive is better than every fixed setting in %d, and "
      "within 0.1 %% of the best in %d.\n",
      worst, grid.scenarios.size(), better, equal);
}

void print_real_time(const Grid& grid) {
  std::printf("Step times in real time, ms: median (p10..p90) of the rounds\n\n");
  print_head(grid);
  for (std::size_t row = 0; row < grid.scenarios.size(); ++row) {
    std::printf("| %s |", grid.scenarios[row].name);
    for (const Cell& cell : grid.cells[row]) {
      const Distribution step_ms = cell.step_ms();
      std::printf(" %.2f (%.2f..%.2f) |", step_ms.median, step_ms.p10, step_ms.p90);
    }
    std::printf("\n");
  }
}

void print_json(const Grid& grid) {
  using nlohmann::json;
  json out = json::array();
  for (std::size_t row = 0; row < grid.scenarios.size(); ++row) {
    json settings = json::object();
    for (std::size_t column = 0; column < grid.settings.size(); ++column) {
      const Cell& cell = grid.cells[row][column];
      json runs = json::array();
      for (const Outcome& run : cell.runs) {
        runs.push_back(
            {{"step_ms", run.step_ms}, {"cpu_ms", run.cpu_ms}, {"reports", run.reports}});
      }
      settings[grid.settings[column].name] = {{"step_ms", cell.mean(&Outcome::step_ms)},
                                              {"cpu_ms", cell.mean(&Outcome::cpu_ms)},
                                              {"runs", runs}};
    }
    out.push_back({{"scenario", grid.scenarios[row].name}, {"settings", settings}});
  }
  std::printf("%s\n", out.dump(2).c_str());
}

void run(const Arguments& arguments) {
  Registry registry(Registry::default_search_path());
  Grid grid = empty_grid(arguments);
  fill(grid, arguments, registry);
  if (arguments.as_json) {
    print_json(grid);
  } else if (arguments.in_real_time) {
    print_real_time(grid);
  } else {
    print_cells(grid, "Step times, ms", &Outcome::step_ms);
    print_cells(grid, "CPU time of a step, ms", &Outcome::cpu_ms);
    if (grid.has_adaptive() && grid.settings.size() > 1) print_against_best(grid);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App program("runs every prefetcher in every scenario, on emulated devices",
                   "bench_prefetch");
  program.add_option("--scenario", arguments.scenarios, "only this one; as often as needed")
      ->allow_extra_args(false);
  program.add_option("--setting", arguments.settings, "only this one; as often as needed")
      ->allow_extra_args(false);
  program.add_option("--warmup-steps", arguments.length.warmup_steps, "that are left out")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  program.add_option("--steps", arguments.length.steps, "that count")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  program.add_option("--seeds", arguments.seeds, "runs of a scenario with jitter")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  program.add_option("--first-seed", arguments.first_seed, "the others follow")
      ->capture_default_str();
  program.add_option("--jobs", arguments.jobs, "runs at once, in simulated time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  program.add_flag("--json", arguments.as_json, "everything, as JSON");
  program.add_flag("--real", arguments.in_real_time,
                   "on the machine's clock and CPUs, one run after the other");
  program.add_option("--rounds", arguments.rounds, "of all settings, with --real")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI11_PARSE(program, argc, argv);
  try {
    run(arguments);
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "bench_prefetch: %s\n", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_prefetch: %s\n", error.what());
    return static_cast<int>(ExitCode::kInternal);
  }
}
