#include <slackline/error.h>
#include <slackline/file_ops.h>

#include <iostream>

#include "compare/measure.h"
#include "compare/report.h"
#include "compare/run_process.h"
#include "verbs.h"

namespace slackline::app {
std::string compare_help() {
  return "Runs the configurations in blocks (A B B A, B A A B, ...), each run in a fresh process,\n"
         "and compares each with the first. The verdict on images/s decides the exit code:\n" +
         rule_text(Rule().minimum_effect) + "\n" +
         "Exit codes: 0 passed, 1 failed (--fail-on), 75 interrupted; if a run fails, its own.";
}

ExitCode compare_verb(const CompareArguments& arguments) {
  const RunsFolder folder(arguments.dir);
  const MeasurePlan plan{arguments.files, arguments.set, arguments.blocks, folder.path()};
  const Rule rule{.minimum_effect = arguments.minimum_effect_percent / 100, .seed = arguments.seed};
  const Measurements measured = measure(plan, std::cerr);
  if (measured.exit_code != ExitCode::kOk) {
    std::cerr << "slackline: " << measured.problem << "\n";
    return measured.exit_code;
  }
  const CompareReport report = report_of(plan, measured, rule);

  // JSON on stdout is for a program, which shall find nothing else there.
  const bool json_on_stdout = arguments.json == "-";
  (json_on_stdout ? std::cerr : std::cout) << report_text(plan, measured, rule, report);
  if (!arguments.json.empty()) {
    // File names may hold any bytes; JSON must be UTF-8.
    const std::string json =
        report_json(plan, measured, rule, report)
            .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
        "\n";
    if (json_on_stdout) {
      std::cout << json;
    } else {
      write_atomically(system_file_ops(), arguments.json, json);
    }
  }
  for (const ConfigurationComparison& one : report.comparisons) {
    if (!passes(one.headline(), arguments.fail_on)) return ExitCode::kNo;
  }
  return ExitCode::kOk;
}

}  // namespace slackline::app
