#pragma once

#include <slackline/file_ops.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "run_listener.h"
#include "step_interval.h"
#include "time_of_day.h"

namespace slackline {

/// The files of tensorflow/models' BenchmarkFileLogger (official/utils/logs/logger.py, May 2019):
/// benchmark_run.log says what runs, metric.log grows by a line for each number. What became of the
/// run, which upstream keeps in a table of its own, is in benchmark_run_status.log.
class BenchmarkLog final : public RunListener {
 public:
  using Warn = std::function<void(const std::string& message)>;

  BenchmarkLog(std::filesystem::path dir, FileOps& files, const TimeOfDay& time, Warn warn)
      : dir_(std::move(dir)), files_(files), time_(time), warn_(std::move(warn)) {}

  void started(const RunStart& start) override;
  void phase(RunPhase /*phase*/, std::uint32_t /*epoch*/) override {}
  void step(const StepRecord& record) override;
  void evaluated(const Evaluation& evaluation) override;
  void ended(const RunMeasurements& measured) override;

 private:
  /// A value that is no number is left out, with a warning the first time. `unit` may be empty.
  void metric(const std::string& name, double value, std::string_view unit = {});
  void write_status(const std::string& status);

  const std::filesystem::path dir_;
  FileOps& files_;
  const TimeOfDay& time_;
  const Warn warn_;
  std::optional<LineFile> metrics_;
  std::string run_id_;
  std::uint64_t log_steps_ = 1;
  std::uint64_t warmup_left_ = 0;  ///< steps that are not measured yet
  std::uint64_t steps_ = 0;        ///< trained
  StepInterval current_;           ///< since the last point, without the warm-up
  StepInterval all_;               ///< before that, without the warm-up
  std::set<std::string> warned_;   ///< metrics
};

}  // namespace slackline
