#include "resume.h"

#include <slackline/config_diff.h>
#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "learning_rate.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;

/// Whether another value of the key would change the learning rates.
bool is_length_of_schedule(std::string_view key, const Config& config) {
  return depends_on_run_length(config.optimizer) &&
         (key == "run.steps" || (key == "run.epochs" && config.run.steps == 0));
}

/// Keys that may differ between a run and its continuation, which is configured by `config`.
bool may_change(std::string_view key, const Config& config) {
  static constexpr std::array<std::string_view, 3> kKeys = {"input.workers", "input.batches_ahead",
                                                            "input.private_threads"};
  static constexpr std::array<std::string_view, 4> kTables = {"prefetcher.", "strategy.",
                                                              "checkpoint.", "metrics."};
  if (is_length_of_schedule(key, config)) return false;
  if (key.starts_with("run.")) return key != "run.seed" && key != "run.weights";
  return std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end() ||
         std::any_of(kTables.begin(), kTables.end(),
                     [&](std::string_view table) { return key.starts_with(table); });
}

FoundCheckpoint find_checkpoint(const fs::path& dir) {
  FoundCheckpoint found = newest_checkpoint(dir);
  if (found.checkpoint.has_value()) return found;
  if (found.damaged.empty()) {
    throw IoError(text(dir.string(),
                       ": cannot be resumed: there is no checkpoint in its folder 'checkpoints'; a "
                       "run writes them if its configuration has a table [checkpoint]"),
                  ENOENT);
  }
  std::string message;
  for (const DamagedCheckpoint& each : found.damaged) message += "\n  " + each.reason;
  throw DataError(text(dir.string(), ": cannot be resumed: no checkpoint is good:", message));
}

/// The first `steps` lines of a run's steps.jsonl. DataError if there are fewer.
struct StepLines {
  fs::path file;
  std::string contents;
  std::size_t end = 0;  ///< of those that count
};

StepLines read_step_lines(const fs::path& dir, std::uint64_t steps) {
  StepLines out{.file = dir / "steps.jsonl", .contents = {}};
  std::ifstream in(out.file, std::ios::binary);
  if (!in) {
    throw IoError(text(out.file.string(), ": cannot read the steps of the run to resume"), errno);
  }
  out.contents.assign(std::istreambuf_iterator<char>(in), {});
  for (std::uint64_t i = 0; i < steps; ++i) {
    out.end = out.contents.find('\n', out.end);
    if (out.end == std::string::npos) {
      throw DataError(text(out.file.string(), ": has ", i, " lines, and ", steps,
                           " steps were trained: it is not whole"));
    }
    ++out.end;
  }
  return out;
}

/// Each rank reads a shard of its own: only as many can go on where they were.
void check_ranks(const Checkpoint& checkpoint, std::int32_t ranks_now) {
  const std::size_t then =
      std::max<std::size_t>(1, checkpoint.info().training.rank_positions.size());
  if (std::cmp_equal(then, ranks_now)) return;
  throw ConfigError("resume",
                    text(checkpoint.file().name(), ": is of a run of ", then,
                         then == 1 ? " process" : " processes, each with its part of the data",
                         ", and this one has ", ranks_now, ": must be as many"));
}

void remove_stale_temporaries(FileOps& files, const fs::path& dir) {
  for (const char* name : {"result.json", "resolved.toml", "steps.jsonl", "trace.json"}) {
    remove_stale_temporary(files, dir / name);
  }
}

void set_aside(FileOps& files, const std::vector<DamagedCheckpoint>& damaged) {
  if (damaged.empty()) return;
  for (const DamagedCheckpoint& each : damaged) {
    files.rename(each.file, each.file.string() + ".damaged");
  }
  files.sync_directory(damaged.front().file.parent_path());
}

}  // namespace

std::string training_differences(const std::string& toml_then, const Config& now) {
  std::string out;
  for (const ConfigDifference& difference :
       config_diff(toml_then, now.to_toml(false), "the checkpoint's configuration")) {
    if (may_change(difference.key, now)) continue;
    out += text("\n  ", difference.key, ": ", difference.a.value_or("not set"), " then, ",
                difference.b.value_or("not set"), " now",
                is_length_of_schedule(difference.key, now)
                    ? " (the learning rates depend on how long the run is, as [optimizer] "
                      "schedule_steps is 0)"
                    : "");
  }
  return out;
}

TrainingState resume(const Config& config, const RunControl& control, Assembly& parts,
                     TensorStore& store) {
  const fs::path& dir = control.dir;
  const FoundCheckpoint found = find_checkpoint(dir);
  const Checkpoint& checkpoint = *found.checkpoint;
  const CheckpointInfo& info = checkpoint.info();
  const std::string differences = training_differences(info.toml, config);
  if (!differences.empty() && !control.resume_anyway) {
    throw ConfigError("resume", text(checkpoint.file().name(),
                                     ": cannot be resumed with another configuration:", differences,
                                     "\n  (--resume-anyway goes on with what is set now)"));
  }
  check_ranks(checkpoint, parts.rank_count());
  checkpoint.check_tensors(store);
  const StepLines lines = read_step_lines(dir, info.training.steps);

  // From here on the directory is changed.
  const auto warn = [&](const std::string& message) {
    parts.notes().warn("resume", message);
    control.out << "warning: " << message << "\n";
  };
  if (!differences.empty()) {
    warn(text("goes on with another configuration, as asked:", differences));
  }
  for (const DamagedCheckpoint& each : found.damaged) {
    warn(text(each.reason, "; it is set aside as ", each.file.filename().string(),
              ".damaged, and the run goes on from the one before"));
  }
  remove_stale_temporaries(control.files, dir);
  set_aside(control.files, found.damaged);
  if (lines.end != lines.contents.size()) {
    write_atomically(control.files, lines.file,
                     std::string_view(lines.contents).substr(0, lines.end));
  }
  checkpoint.restore(store);
  write_atomically(control.files, dir / "resolved.toml", config.to_toml(false));
  control.out << "goes on behind step " << info.training.steps << " from "
              << checkpoint.file().name() << "\n";
  return info.training;
}

}  // namespace slackline
