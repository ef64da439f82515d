#pragma once

// One measured run: a configuration in a fresh process, and what came of it.

#include <slackline/error.h>

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "child_process.h"

namespace slackline::app {

/// What a process left behind.
struct FinishedRun {
  ExitCode exit_code = ExitCode::kOk;  ///< if it is another, `problem` says why in words, with the
                                       ///< stderr of the process, and there is no result
  std::string problem;
  nlohmann::ordered_json result;  ///< its result.json
};

/// Runs `slackline run FILE` with these --set and --dir; makes the directory. `what` names the run
/// in the problem. Throws IoError if it cannot be started or its result cannot be read.
[[nodiscard]] FinishedRun run_configuration(ChildProcess& child, const std::string& file,
                                            const std::vector<std::string>& set,
                                            const std::filesystem::path& dir,
                                            const std::string& what);

/// Where the runs of a verb go: a new directory that was asked for, or one that is removed at the
/// end.
class RunsFolder {
 public:
  /// `wanted` is empty for a temporary one. Throws IoError, or ConfigError if it is not empty.
  explicit RunsFolder(const std::string& wanted);
  ~RunsFolder();
  RunsFolder(const RunsFolder&) = delete;
  RunsFolder& operator=(const RunsFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  bool is_temporary_;
  std::filesystem::path path_;
};

}  // namespace slackline::app
