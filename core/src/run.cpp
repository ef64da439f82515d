#include <slackline/checkpoint.h>
#include <slackline/error.h>
#include <slackline/machine.h>
#include <slackline/run.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "assembly.h"
#include "cpu_budget.h"
#include "logs/run_logs.h"
#include "logs/time_of_day.h"
#include "progress.h"
#include "rank_start.h"
#include "results.h"
#include "resume.h"
#include "run_dir.h"
#include "trace_json.h"
#include "training.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;

double unix_seconds(std::chrono::system_clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

/// When a run began, on every clock that counts.
struct WholeRun {
  std::chrono::system_clock::time_point started = std::chrono::system_clock::now();
  Stopwatch watch;
  double cpu_before_s = cpu_seconds();
};

/// Prints nowhere: only rank 0 speaks.
std::ostream& nowhere() {
  static std::ostream stream(nullptr);
  return stream;
}

/// What rank 0 has on disk: finds or makes it, and locks it.
RankStart begin_or_resume(const Config& config, RunControl& control, Assembly& parts,
                          TensorStore& store, std::chrono::system_clock::time_point now,
                          std::optional<DirectoryLock>& lock) {
  RankStart start;
  if (control.resume) {
    start.dir = control.dir;
    // What is no run's directory is not touched: resume() refuses it.
    if (!checkpoint_files(start.dir).empty()) {
      lock.emplace(control.files, start.dir, parts.notes());
    }
    start.state = resume(config, control, parts, store);
    return start;
  }
  if (const Path& weights = config.run.weights; !weights.value.empty()) {
    load_weights(weights.value, store);
  }
  try {
    start.dir = make_run_dir(config, control, now);
    lock.emplace(control.files, start.dir, parts.notes());
    require_no_results(start.dir);
  } catch (const ConfigError& error) {
    if (control.dir.empty()) throw config.locate("run", error);
    throw;
  }
  write_atomically(control.files, start.dir / "resolved.toml", config.to_toml(false));
  return start;
}

/// Each rank's numbers, for rank 0 to write.
std::vector<RankSummary> summaries(Assembly& parts, const RunMeasurements& measured,
                                   const BadSampleAccount& account) {
  if (parts.ranks == nullptr) return {};
  const RankSummary mine{.input_wait_s = measured.throughput.input_wait_s,
                         .rank_wait_s = measured.throughput.rank_wait_s,
                         .input_cpu_s = std::chrono::duration<double>(measured.input.cpu).count(),
                         .measured_cpu_s = measured.measured_cpu_s,
                         .images = measured.measured_images,
                         .left_out = measured.left_out,
                         .bad_samples = account.all().size(),
                         .peak_memory_bytes = peak_memory_bytes()};
  std::vector<RankSummary> all(static_cast<std::size_t>(parts.rank_count()));
  parts.ranks->all_gather(std::as_bytes(std::span(&mine, 1)),
                          std::as_writable_bytes(std::span(all)));
  return all;
}

std::string trace_title(const Config& config, const Assembly& parts) {
  std::string title = "slackline " + config.name();
  if (parts.ranks != nullptr) title += text(", rank ", parts.rank());
  return title;
}

/// One rank's run, connected to the others.
RunOutcome run_rank(const Config& config, RunControl& control, Assembly& parts,
                    const WholeRun& whole) {
  const TimeOfDay time_of_day(whole.started);
  const bool is_first = parts.rank() == 0;
  TensorStore& store = parts.strategy->state();
  std::optional<DirectoryLock> lock;  // until the results are written
  RankStart start;
  if (is_first) start = begin_or_resume(config, control, parts, store, whole.started, lock);
  RunOutcome outcome;
  outcome.rank = parts.rank();
  fs::path dir = start.dir;
  if (parts.ranks != nullptr) {
    share_start(*parts.ranks, start, store);
    dir = start.dir;
    if (!is_first) {
      dir /= text("rank-", parts.rank());
      make_directories(control.files, dir);
    }
  }
  outcome.dir = dir;
  TrainingState& state = start.state;
  LineFile step_lines(control.files, outcome.dir / "steps.jsonl",
                      control.resume && is_first ? FileOps::Open::kAppend : FileOps::Open::kEmpty);
  std::optional<CheckpointFolder> checkpoints;
  if (config.checkpoint.has_value() && is_first) {
    checkpoints.emplace(control.files, outcome.dir, config.checkpoint->keep, step_lines);
  }

  Progress progress(is_first ? control.out : nowhere(), is_first && control.is_terminal,
                    config.run.log_steps);
  BadSampleAccount account(config.input.on_bad_sample, config.input.max_bad_samples);
  RunMeasurements measured;
  measured.started_at = utc_text(whole.started);
  measured.unix_time_at_start_s = unix_seconds(whole.started);
  measured.transform_names = parts.train.transform_names;
  const InputWorkers workers =
      input_workers(config.input, usable_cpus(), parts.strategy->launch_threads_per_device(),
                    parts.strategy->device_count());
  measured.devices = parts.strategy->device_count();
  measured.rank = parts.rank();
  measured.num_classes = config.input.num_classes;
  measured.workers = workers.count;
  measured.workers_rule = workers.rule;
  measured.resumed_at_step = state.steps;
  measured.upstream = TimeHistory(config.input.batch_size, config.run.log_steps);

  RunLogs logs = is_first ? RunLogs(config, outcome.dir, control.files, parts.notes(), time_of_day)
                          : RunLogs();
  Stopwatch watch = whole.watch;
  const auto measure_whole_run = [&] {
    measured.wall_time_s += std::chrono::duration<double>(watch.lap()).count();
    measured.cpu_s = cpu_seconds() - whole.cpu_before_s;
    measured.peak_memory_bytes = peak_memory_bytes();
  };
  const auto write_result = [&] {
    measure_whole_run();
    write_atomically(control.files, outcome.dir / "result.json",
                     result_json(config, parts.notes(), account, measured));
  };

  try {
    logs.started({.config = config, .steps_before = state.steps});
    Training training(config, parts, control, account, measured, progress, step_lines,
                      checkpoints.has_value() ? &*checkpoints : nullptr, state, logs);
    training.train();
    if (training.stopped()) measured.status = "interrupted";
    measured.ranks = summaries(parts, measured, account);
    measure_whole_run();
    logs.ended(measured);
  } catch (const std::exception& error) {
    measured.status = "failed";
    measured.error = error.what();
    try {
      logs.ended(measured);
    } catch (const std::exception& another) {
      parts.notes().warn("metrics", another.what());  // the first one is told
    }
    try {
      write_result();
    } catch (const IoError&) {
      // What went wrong first is told: often the same disk was full.
    }
    throw;
  }
  if (measured.status == "interrupted") {
    outcome.exit_code = ExitCode::kInterrupted;
  }
  measured.digest = state.digest;
  // First, and the large file behind it: should this process be killed, because another rank has
  // ended, say, the results are there.
  write_result();
  if (config.run.trace_steps > 0) {
    parts.trace().close();
    write_atomically(control.files, outcome.dir / "trace.json",
                     trace_json(parts.trace().snapshot(), trace_title(config, parts)));
  }
  progress.line(
      summary_text(measured, account, parts.notes(), (outcome.dir / "result.json").string()));
  outcome.steps = state.steps;
  outcome.throughput = measured.throughput;
  outcome.evaluations = measured.evaluations;
  outcome.is_resumable = config.checkpoint.has_value();
  return outcome;
}

}  // namespace

double Evaluation::loss() const { return means_of(sums).loss; }
double Evaluation::accuracy() const { return means_of(sums).accuracy; }
double Evaluation::accuracy_top_5() const { return means_of(sums).accuracy_top_5; }

void check(const Config& config) {
  const Assembly parts(config);
  if (const Path& weights = config.run.weights; !weights.value.empty()) {
    check_weights(weights.value, parts.strategy->state());
  }
}

RankPlan planned_ranks(const Config& config) { return Assembly::ranks_of(config); }

RunOutcome run(const Config& config, RunControl& control) {
  const WholeRun whole;
  Assembly parts(config);
  if (const RankPlan plan = parts.strategy->ranks(); !plan.is_launched) {
    throw config.locate(config.strategy.table,
                        ConfigError(text("wants ", plan.size,
                                         " processes, and this is none of them: `slackline run` "
                                         "starts them, and so do mpirun and srun")));
  }
  Ranks* const ranks = parts.strategy->connect(digest_of(config));
  if (ranks != nullptr && ranks->size() > 1) parts.ranks = ranks;
  try {
    return run_rank(config, control, parts, whole);
  } catch (const std::exception& error) {
    if (ranks != nullptr) ranks->abort(error.what());
    throw;
  }
}

}  // namespace slackline
