#include "traced_runs.h"

#include <slackline/error.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace slackline::bench {
namespace {

namespace fs = std::filesystem;

/// A folder that is gone in the end.
class RunsFolder {
 public:
  RunsFolder() {
    std::string name = (fs::temp_directory_path() / "slackline-bench-trace-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw IoError(text(name, ": cannot create"), errno);
    path_ = name;
  }
  ~RunsFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  RunsFolder(const RunsFolder&) = delete;
  RunsFolder& operator=(const RunsFolder&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Runs a command to its end, without what it writes to stdout.
void run_command(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failed = posix_spawn(&child, arguments[0], &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) throw IoError(text(words[0], ": cannot start"), failed);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) throw PluginError(text(words[0], ": a run failed; its reason is above"));
}

/// Images/s of one run.
double rate_of_run(const TracedWorkload& workload, bool is_traced, const fs::path& dir) {
  std::vector<std::string> words = {workload.program.string(), "run", workload.config, "--dir",
                                    dir.string()};
  std::vector<std::string> set = workload.set;
  set.push_back(text("run.steps=", workload.steps + workload.warmup_steps));
  set.push_back(text("run.warmup_steps=", workload.warmup_steps));
  set.push_back(text("run.trace_steps=", is_traced ? workload.steps : 0));
  for (const std::string& each : set) {
    words.emplace_back("--set");
    words.push_back(each);
  }
  run_command(words);
  if (fs::exists(dir / "trace.json") != is_traced) {
    throw PluginError(text(dir.string(), ": trace.json ", is_traced ? "is missing" : "is there",
                           ": traced and untraced runs are not what they should be"));
  }
  std::ifstream in(dir / "result.json");
  const double rate = nlohmann::json::parse(in)["throughput"]["images_per_s"].get<double>();
  fs::remove_all(dir);
  return rate;
}

}  // namespace

TracedRuns traced_runs(const TracedWorkload& workload) {
  const RunsFolder folder;
  TracedRuns out;
  for (int round = 0; round < workload.rounds; ++round) {
    const bool traced_first = round % 2 == 1;
    std::array<double, 4> rates{};
    for (std::size_t i = 0; i < rates.size(); ++i) {
      const bool is_inner = i == 1 || i == 2;
      rates[i] = rate_of_run(workload, is_inner != traced_first, folder.path() / "run");
    }
    const double outer = (rates[0] + rates[3]) / 2, inner = (rates[1] + rates[2]) / 2;
    out.images_per_s.push_back(traced_first ? inner : outer);
    out.of_untraced.push_back(traced_first ? outer / inner : inner / outer);
    out.of_itself.push_back(traced_first ? rates[2] / rates[1] : rates[3] / rates[0]);
  }
  return out;
}

}  // namespace slackline::bench
