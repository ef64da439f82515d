// What the timeline costs: nanoseconds for each span, while the trace is open and while it is not;
// and, for a configuration, images/s with a trace of every measured step against without, in
// interleaved fresh processes.

#include <slackline/error.h>
#include <slackline/machine.h>
#include <slackline/metrics.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "span_cost.h"
#include "traced_runs.h"

namespace {

using namespace slackline;
using namespace slackline::bench;

/// "median (min..max)", with so many decimals.
std::string spread_text(const std::vector<double>& values, int decimals) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  std::string out(64, '\0');
  const int length = std::snprintf(out.data(), out.size(), "%.*f (%.*f..%.*f)", decimals,
                                   distribution_of(values).median, decimals, *min, decimals, *max);
  out.resize(static_cast<std::size_t>(length));
  return out;
}

void print_span_cost() {
  constexpr int kRounds = 31;
  const SpanCost cost = span_cost(kRounds);
  std::printf(
      "%s\n\nns for each span, median (min..max) of %d rounds\n"
      "  not open                        %s\n"
      "  open                            %s\n"
      "  open, with its two clock times  %s\n",
      this_machine().cpu.c_str(), kRounds, spread_text(cost.closed_ns, 1).c_str(),
      spread_text(cost.open_ns, 1).c_str(), spread_text(cost.timed_ns, 1).c_str());
}

void print_traced_runs(const TracedWorkload& workload) {
  const TracedRuns runs = traced_runs(workload);
  std::printf(
      "\n%s, %d steps after %d of warm-up, median (min..max) of %d rounds of four fresh processes\n"
      "  images/s without a trace        %s\n"
      "  with a trace, of without        %s\n"
      "  without, of without             %s\n",
      workload.config.c_str(), workload.steps, workload.warmup_steps, workload.rounds,
      spread_text(runs.images_per_s, 1).c_str(), spread_text(runs.of_untraced, 4).c_str(),
      spread_text(runs.of_itself, 4).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  TracedWorkload workload;
  CLI::App program("what the timeline of a run costs", "bench_trace");
  program.add_option("CONFIG", workload.config,
                     "TOML file, to be run with and without a trace; without it, spans only");
  program.add_option("--set", workload.set, "override one key: path=TOML, as often as needed")
      ->type_name("PATH=TOML")
      ->allow_extra_args(false);
  program.add_option("--steps", workload.steps, "that are measured, and traced")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  program.add_option("--warmup-steps", workload.warmup_steps, "before them")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  program.add_option("--rounds", workload.rounds, "of two runs with a trace and two without")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  program.add_option("--slackline", workload.program,
                     "the program, instead of the one beside this");
  CLI11_PARSE(program, argc, argv);
  try {
    if (workload.program.empty()) {
      workload.program =
          std::filesystem::read_symlink("/proc/self/exe").parent_path() / "slackline";
    }
    print_span_cost();
    if (!workload.config.empty()) print_traced_runs(workload);
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "bench_trace: %s\n", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_trace: %s\n", error.what());
    return static_cast<int>(ExitCode::kInternal);
  }
}
