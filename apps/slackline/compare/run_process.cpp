#include "run_process.h"

#include <slackline/file_ops.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

namespace slackline::app {
namespace {

namespace fs = std::filesystem;

/// Ours, if the process gave one of them; anything else is a failure inside the program.
ExitCode exit_code_of(const ProcessEnd& end) {
  constexpr std::array kKnown = {ExitCode::kUsage,      ExitCode::kBadData,
                                 ExitCode::kIo,         ExitCode::kInterrupted,
                                 ExitCode::kPermission, ExitCode::kConfiguration};
  for (const ExitCode known : kKnown) {
    if (end.exit_code == static_cast<int>(known)) return known;
  }
  return ExitCode::kInternal;
}

std::string how_it_ended(const ProcessEnd& end) {
  if (end.signal != 0)
    return text("was killed by signal ", end.signal, " (", strsignal(end.signal), ")");
  return text("ended with exit code ", end.exit_code);
}

void make_directory(const fs::path& dir) {
  std::error_code failed;
  fs::create_directories(dir, failed);
  if (failed) throw IoError(text(dir.string(), ": cannot create"), failed.value());
}

}  // namespace

FinishedRun run_configuration(ChildProcess& child, const std::string& file,
                              const std::vector<std::string>& set, const fs::path& dir,
                              const std::string& what) {
  make_directory(dir);
  std::vector<std::string> arguments = {"run", "--dir", dir.string()};
  for (const std::string& one : set) {
    arguments.push_back("--set");
    arguments.push_back(one);
  }
  arguments.push_back("--");  // the file's name may start with a dash
  arguments.push_back(file);

  const ProcessEnd end = child.run(arguments, dir);
  if (child.interrupted()) return {ExitCode::kInterrupted, what + " was interrupted", {}};
  if (end.exit_code != 0) {
    const std::string said = contents_of(dir / "stderr.txt");
    return {exit_code_of(end),
            text(what, " ", how_it_ended(end), said.empty() ? "; it said nothing" : ":\n",
                 said.substr(0, said.find_last_not_of('\n') + 1)),
            {}};
  }
  FinishedRun finished;
  finished.result = nlohmann::ordered_json::parse(contents_of(dir / "result.json"));
  return finished;
}

RunsFolder::RunsFolder(const std::string& wanted) : is_temporary_(wanted.empty()) {
  if (is_temporary_) {
    std::string name = (fs::temp_directory_path() / "slackline-runs-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw IoError(text(name, ": cannot create"), errno);
    path_ = name;
    return;
  }
  path_ = wanted;
  make_directory(path_);
  if (!fs::is_empty(path_)) {
    throw ConfigError("dir", text(wanted,
                                  ": is not empty; give a new directory, or none for a temporary "
                                  "one"));
  }
}

RunsFolder::~RunsFolder() {
  std::error_code ignored;
  if (is_temporary_) fs::remove_all(path_, ignored);
}

}  // namespace slackline::app
