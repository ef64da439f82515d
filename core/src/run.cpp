#include <slackline/checkpoint.h>
#include <slackline/error.h>
#include <slackline/machine.h>
#include <slackline/run.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "assembly.h"
#include "cpu_budget.h"
#include "logs/run_logs.h"
#include "logs/time_of_day.h"
#include "progress.h"
#include "results.h"
#include "resume.h"
#include "trace_json.h"
#include "training.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;

/// Makes the directory for the results. One that has results already is not touched.
fs::path make_run_dir(const Config& config, const RunControl& control,
                      std::chrono::system_clock::time_point now) {
  fs::path dir = control.dir.empty() ? fs::path(config.run.dir.value) : control.dir;
  if (dir.empty()) {
    const fs::path first = fs::path("runs") / (config.name() + "-" + utc_text(now));
    dir = first;
    for (int i = 2; fs::exists(dir); ++i) dir = first.string() + "-" + std::to_string(i);
  }
  if (fs::exists(dir / "result.json")) {
    throw ConfigError("dir", text(dir.string(),
                                  ": holds the results of a run already; give "
                                  "another directory, or none for a new one"));
  }
  if (!checkpoint_files(dir).empty()) {
    throw ConfigError("dir",
                      text(dir.string(),
                           ": holds checkpoints of a run already; go on with it by --resume, "
                           "or give another directory"));
  }
  make_directories(control.files, dir);
  return dir;
}

double unix_seconds(std::chrono::system_clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
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

RunOutcome run(const Config& config, RunControl& control) {
  const auto started = std::chrono::system_clock::now();
  const TimeOfDay time_of_day(started);
  Stopwatch whole_run;
  const double cpu_before_s = cpu_seconds();

  Assembly parts(config);
  RunOutcome outcome;
  TrainingState state;
  if (control.resume) {
    outcome.dir = control.dir;
    state = resume(config, control, parts);
  } else {
    if (const Path& weights = config.run.weights; !weights.value.empty()) {
      load_weights(weights.value, parts.strategy->state());
    }
    try {
      outcome.dir = make_run_dir(config, control, started);
    } catch (const ConfigError& error) {
      if (control.dir.empty()) throw config.locate("run", error);
      throw;
    }
    write_atomically(control.files, outcome.dir / "resolved.toml", config.to_toml(false));
  }
  LineFile step_lines(control.files, outcome.dir / "steps.jsonl",
                      control.resume ? FileOps::Open::kAppend : FileOps::Open::kEmpty);
  std::optional<CheckpointFolder> checkpoints;
  if (config.checkpoint.has_value()) {
    checkpoints.emplace(control.files, outcome.dir, config.checkpoint->keep, step_lines);
  }

  Progress progress(control.out, control.is_terminal, config.run.log_steps);
  BadSampleAccount account(config.input.on_bad_sample, config.input.max_bad_samples);
  RunMeasurements measured;
  measured.started_at = utc_text(started);
  measured.unix_time_at_start_s = unix_seconds(started);
  measured.transform_names = parts.train.transform_names;
  const InputWorkers workers =
      input_workers(config.input, usable_cpus(), parts.strategy->launch_threads_per_device(),
                    parts.strategy->device_count());
  measured.devices = parts.strategy->device_count();
  measured.num_classes = config.input.num_classes;
  measured.workers = workers.count;
  measured.workers_rule = workers.rule;
  measured.resumed_at_step = state.steps;
  measured.upstream = TimeHistory(config.input.batch_size, config.run.log_steps);

  RunLogs logs(config, outcome.dir, control.files, parts.notes(), time_of_day);
  const auto measure_whole_run = [&] {
    measured.wall_time_s += std::chrono::duration<double>(whole_run.lap()).count();
    measured.cpu_s = cpu_seconds() - cpu_before_s;
    measured.peak_memory_bytes = peak_memory_bytes();
  };
  const auto write_result = [&] {
    measure_whole_run();
    write_atomically(control.files, outcome.dir / "result.json",
                     result_json(config, parts.notes(), account, measured));
  };

  try {
    logs.started({.config = config, .steps_before = state.steps});
    Training(config, parts, control, account, measured, progress, step_lines,
             checkpoints.has_value() ? &*checkpoints : nullptr, state, logs)
        .train();
    if (control.stop.stop_requested()) measured.status = "interrupted";
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
  if (config.run.trace_steps > 0) {
    parts.trace().close();
    write_atomically(control.files, outcome.dir / "trace.json",
                     trace_json(parts.trace().snapshot(), "slackline " + config.name()));
  }
  measured.digest = state.digest;
  write_result();
  progress.line(
      summary_text(measured, account, parts.notes(), (outcome.dir / "result.json").string()));
  outcome.steps = state.steps;
  outcome.throughput = measured.throughput;
  outcome.evaluations = measured.evaluations;
  outcome.is_resumable = checkpoints.has_value();
  return outcome;
}

}  // namespace slackline
