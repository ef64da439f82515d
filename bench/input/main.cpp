// The whole input path against a bare libjpeg-turbo loop that does the same decoding, cropping and
// resizing with no framework around it: images/s on one and two threads, in one interleaved run of
// fresh processes.

#include <slackline/error.h>
#include <slackline/machine.h>
#include <slackline/metrics.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "framework_cost.h"
#include "measured_process.h"
#include "pipelines.h"

namespace {

using namespace slackline;
using namespace slackline::bench;

struct Arguments {
  Workload workload;
  int rounds = 7;
  bool json = false;
};

/// One row of the table: a pipeline on so many threads, over all rounds.
struct Row {
  std::string pipeline;
  int threads = 0;
  std::vector<Measurement> rounds;
};

struct Spread {
  double median = 0, min = 0, max = 0;
};
template <class Field>
Spread spread_of(const Row& row, Field field) {
  std::vector<double> values;
  for (const Measurement& m : row.rounds) values.push_back(m.*field);
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  return {distribution_of(values).median, *min, *max};
}

/// The median of the ratios of each round: both measured within seconds of each other.
Spread ratio_of(const Row& row, const Row& base) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < row.rounds.size(); ++i) {
    ratios.push_back(row.rounds[i].images_per_s / base.rounds[i].images_per_s);
  }
  const auto [min, max] = std::minmax_element(ratios.begin(), ratios.end());
  return {distribution_of(ratios).median, *min, *max};
}

/// Of each round, the rate of `two` threads divided by that of `one`.
Spread scaling_of(const Row& one, const Row& two) { return ratio_of(two, one); }

nlohmann::ordered_json json_of(const Spread& s) {
  return {{"median", s.median}, {"min", s.min}, {"max", s.max}};
}

struct Report {
  Arguments arguments;
  PixelDifference pixels;
  std::array<Row, 4> rows;  ///< bare and slackline on one thread, then on two
  double framework_us = 0;
};

/// The bare loop on the same number of threads.
const Row& base_of(const Report& report, std::size_t row) { return report.rows[row / 2 * 2]; }

void print_json(const Report& report) {
  nlohmann::ordered_json json;
  json["workload"] = {{"files", report.arguments.workload.files},
                      {"pixels", report.arguments.workload.pixels},
                      {"batch_size", report.arguments.workload.batch_size},
                      {"epochs", report.arguments.workload.epochs},
                      {"rounds", report.arguments.rounds}};
  json["machine"] = this_machine().cpu;
  json["pixel_difference"] = {{"largest", report.pixels.largest},
                              {"mean", report.pixels.mean},
                              {"images", report.pixels.images}};
  json["framework_us_per_batch"] = report.framework_us;
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    const Row& row = report.rows[i];
    json["rows"].push_back(
        {{"pipeline", row.pipeline},
         {"threads", row.threads},
         {"images_per_s", json_of(spread_of(row, &Measurement::images_per_s))},
         {"of_bare", json_of(ratio_of(row, base_of(report, i)))},
         {"of_one_thread", json_of(scaling_of(report.rows[i % 2], row))},
         {"cpu_s_per_1000", json_of(spread_of(row, &Measurement::cpu_s_per_1000))},
         {"peak_memory_mib", json_of(spread_of(row, &Measurement::peak_memory_mib))},
         {"first_batch_s", json_of(spread_of(row, &Measurement::first_batch_s))},
         {"batching_us_per_batch", json_of(spread_of(row, &Measurement::batching_us_per_batch))}});
  }
  std::printf("%s\n", json.dump(2).c_str());
}

void print_table(const Report& report) {
  const Workload& workload = report.arguments.workload;
  std::printf(
      "%s, %d rounds of fresh processes, %d epochs timed after one of warm-up, pixels = %s\n"
      "pixels differ by %.3f in the mean, %d at most, over %llu images\n\n",
      this_machine().cpu.c_str(), report.arguments.rounds, workload.epochs, workload.pixels.c_str(),
      report.pixels.mean, report.pixels.largest,
      static_cast<unsigned long long>(report.pixels.images));
  std::printf("%-10s %7s  %24s  %21s  %8s  %10s  %8s  %11s\n", "pipeline", "threads",
              "images/s (min..max)", "of bare (min..max)", "scaling", "CPU-s/1000", "peak MiB",
              "1st batch s");
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    const Row& row = report.rows[i];
    const Spread rate = spread_of(row, &Measurement::images_per_s);
    const Spread ratio = ratio_of(row, base_of(report, i));
    std::printf(
        "%-10s %7d  %9.1f (%5.0f..%5.0f)  %6.3f (%5.3f..%5.3f)  %8.3f  %10.3f  %8.0f  %11.3f\n",
        row.pipeline.c_str(), row.threads, rate.median, rate.min, rate.max, ratio.median, ratio.min,
        ratio.max, scaling_of(report.rows[i % 2], row).median,
        spread_of(row, &Measurement::cpu_s_per_1000).median,
        spread_of(row, &Measurement::peak_memory_mib).median,
        spread_of(row, &Measurement::first_batch_s).median);
  }
  std::printf(
      "\nframework alone: %.1f us a batch of %d, with a source and a transform that do nothing\n"
      "in the run:      %.1f us of worker time a batch outside source and transform\n"
      "memory of `bare` holds all JPEGs; its records are in memory before the clock starts\n",
      report.framework_us, workload.batch_size,
      spread_of(report.rows[1], &Measurement::batching_us_per_batch).median);
}

void run_rounds(const Arguments& arguments) {
  Report report{
      .arguments = arguments,
      .pixels = in_own_process(2, [&] { return compare_pixels(arguments.workload); }),
      .rows = {{{"bare", 1, {}}, {"slackline", 1, {}}, {"bare", 2, {}}, {"slackline", 2, {}}}},
      .framework_us = 0};
  for (int round = 0; round < arguments.rounds; ++round) {
    // Each round starts with another row, so that none always follows the same one.
    for (std::size_t k = 0; k < report.rows.size(); ++k) {
      Row& row = report.rows[(k + static_cast<std::size_t>(round)) % report.rows.size()];
      Workload workload = arguments.workload;
      workload.threads = row.threads;
      row.rounds.push_back(in_own_process(row.threads, [&] {
        return row.pipeline == "bare" ? run_bare(workload) : run_slackline(workload);
      }));
    }
  }
  report.framework_us =
      in_own_process(1, [&] { return framework_us_per_batch(arguments.workload.batch_size); });
  arguments.json ? print_json(report) : print_table(report);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App program("the whole input path against a bare libjpeg-turbo loop", "bench_input");
  program
      .add_option("--files", arguments.workload.files,
                  "TFRecord shards in ImageNet's schema; a glob")
      ->required();
  program.add_option("--pixels", arguments.workload.pixels, "as of the transform")
      ->check(CLI::IsMember({"tf", "accurate"}))
      ->capture_default_str();
  program.add_option("--rounds", arguments.rounds, "of one fresh process for each row")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  program.add_option("--epochs", arguments.workload.epochs, "that are timed in each process")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  program.add_option("--batch", arguments.workload.batch_size, "samples")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  program.add_flag("--json", arguments.json, "print JSON instead of the table");
  CLI11_PARSE(program, argc, argv);
  try {
    run_rounds(arguments);
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "bench_input: %s\n", error.what());
    return static_cast<int>(error.exit_code());
  }
}
