#include <slackline/file_ops.h>

#include <iostream>

#include "report/chart.h"
#include "report/page.h"
#include "report/run_files.h"
#include "verbs.h"

namespace slackline::app {

static_assert(kMostReportedRuns <= kPaletteSize, "each run needs a colour and a dash pattern");

ExitCode report_verb(const ReportArguments& arguments) {
  std::vector<RunFiles> runs;
  for (const std::string& dir : arguments.dirs) runs.push_back(read_run(dir));
  std::optional<Document> comparison;
  if (!arguments.comparison.empty()) comparison = read_comparison(arguments.comparison);
  const std::filesystem::path file = arguments.out.empty() ? runs.front().dir / "report.html"
                                                           : std::filesystem::path(arguments.out);
  write_atomically(system_file_ops(), file, report_page(runs, comparison));
  std::cout << "report      " << file.string() << "\n";
  return ExitCode::kOk;
}

}  // namespace slackline::app
