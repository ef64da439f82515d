#pragma once

// What the verbs of the command do. Each prints to stdout and returns the exit code; errors are
// exceptions, which main() prints.

#include <slackline/error.h>

#include <string>
#include <vector>

namespace slackline::app {

/// A configuration as the command line names it.
struct ConfigArguments {
  std::string file;
  std::vector<std::string> set;  ///< "path=TOML" of each --set
};

ExitCode run_verb(const ConfigArguments& config, const std::string& dir);
ExitCode check_verb(const ConfigArguments& config);
ExitCode show_verb(const ConfigArguments& config, bool origins);

enum class Format { kText, kJson, kToml };

ExitCode list_plugins_verb(Format format);
ExitCode plugin_path_verb();
/// `id` is "kind/name".
ExitCode inspect_verb(const std::string& id, Format format);

}  // namespace slackline::app
