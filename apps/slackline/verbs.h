#pragma once

// What the verbs of the command do. Each prints to stdout and returns the exit code; errors are
// exceptions, which main() prints.

#include <slackline/error.h>

#include <cstdint>
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace slackline::app {

/// A configuration as the command line names it.
struct ConfigArguments {
  std::string file;
  std::vector<std::string> set;  ///< "path=TOML" of each --set
};

struct RunArguments {
  std::vector<std::string> command;  ///< all words, to start as each rank of a run
  ConfigArguments config;            ///< `file` may be empty with `resume`
  std::string dir;                   ///< for the results, or empty
  std::string resume;                ///< directory of an earlier run, or empty
  bool resume_anyway = false;        ///< also with the configuration of another training
};
ExitCode run_verb(const RunArguments& arguments);
ExitCode check_verb(const ConfigArguments& config);
ExitCode show_verb(const ConfigArguments& config, bool origins);

struct CompareArguments {
  std::vector<std::string> files;  ///< the first is what the others are compared with
  std::vector<std::string> set;    ///< "path=TOML" of each --set, for all of them
  std::string dir;                 ///< keeps the runs; empty for a temporary one
  std::string json;                ///< file for the results, "-" for stdout, or empty
  int blocks = 10;
  double minimum_effect_percent = 1;
  std::uint64_t seed = 1;  ///< of the bootstrap
  FailOn fail_on = FailOn::kSlower;
};
ExitCode compare_verb(const CompareArguments& arguments);
/// What --help says under the options: the rule of the verdict, and the exit codes.
std::string compare_help();

struct DoctorArguments {
  ConfigArguments config;
  std::string dir;     ///< keeps the runs; empty for a temporary one
  std::string json;    ///< file for the results, "-" for stdout, or empty
  int rounds = 5;      ///< of a run for each rung
  double seconds = 2;  ///< that the measured steps of a run should take
};
ExitCode doctor_verb(const DoctorArguments& arguments);

/// How many runs one page shows side by side: more colours cannot be told apart.
inline constexpr std::size_t kMostReportedRuns = 8;

/// What `slackline report` was asked for.
struct ReportArguments {
  std::vector<std::string> dirs;  ///< of runs, 1..kMostReportedRuns
  std::string out;                ///< file to write; empty for report.html in the first of them
  std::string comparison;         ///< file that `compare --json` wrote, or empty
};
ExitCode report_verb(const ReportArguments& arguments);

/// `a` and `b` are directories of runs. Exit code 1 if their data differs; if one of them is the
/// beginning of the other, only without `prefix_ok`.
ExitCode verify_verb(const std::string& a, const std::string& b, bool prefix_ok);

/// `path` is a checkpoint, the directory of a run or its folder of checkpoints. Exit code 65 if one
/// is damaged.
ExitCode verify_checkpoint_verb(const std::string& path);
ExitCode checkpoint_info_verb(const std::string& file, bool json);

enum class Format { kText, kJson, kToml };

ExitCode list_plugins_verb(Format format);
ExitCode plugin_path_verb();
/// `id` is "kind/name".
ExitCode inspect_verb(const std::string& id, Format format);

}  // namespace slackline::app
