#pragma once

// The measured runs of `slackline compare`: fresh processes, one after another, in blocks.

#include <slackline/error.h>

#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace slackline::app {

/// What is to be measured.
struct MeasurePlan {
  std::vector<std::string> files;  ///< configurations; the first is A
  std::vector<std::string> set;    ///< "path=TOML" of each --set, for all of them
  int blocks = 10;
  std::filesystem::path dir;  ///< exists; each run gets a directory in it
};

/// "A" for 0, "B" for 1, …
[[nodiscard]] std::string label_of(int configuration);

/// One process that ran to its end.
struct MeasuredRun {
  int configuration = 0;
  int block = -1;                 ///< from 0; -1 is the warm-up
  std::filesystem::path dir;      ///< where its files are
  nlohmann::ordered_json result;  ///< its result.json
};

/// All that was measured.
struct Measurements {
  std::vector<MeasuredRun> warmups;   ///< one of each configuration
  std::vector<MeasuredRun> runs;      ///< in the order they ran
  std::vector<std::string> resolved;  ///< resolved.toml of each configuration
  /// kOk, or why the measuring ended early; then `problem` says it in words, with the stderr of the
  /// process that failed.
  ExitCode exit_code = ExitCode::kOk;
  std::string problem;
};

/// Runs each configuration once as a warm-up, then all blocks; one line to `progress` for each.
/// SIGINT and SIGTERM end it (kInterrupted). Throws IoError if a process cannot be started or its
/// results cannot be read. Only in a program with one thread.
[[nodiscard]] Measurements measure(const MeasurePlan& plan, std::ostream& progress);

}  // namespace slackline::app
