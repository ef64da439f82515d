#pragma once

#include <slackline/file_ops.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <utility>

#include "run_listener.h"
#include "time_of_day.h"

namespace slackline {

/// Lines as MLCommons' mllog writes them, with those of its keys that say how a run went and
/// nothing of a submission. Every interval that begins ends.
class MlperfLog final : public RunListener {
 public:
  /// A run that goes on with another one appends to that one's lines.
  MlperfLog(std::filesystem::path path, FileOps& files, const TimeOfDay& time)
      : path_(std::move(path)), files_(files), time_(time) {}

  void started(const RunStart& start) override;
  void phase(RunPhase phase, std::uint32_t epoch) override;
  void step(const StepRecord& record) override;
  void evaluated(const Evaluation& evaluation) override;
  void ended(const RunMeasurements& measured) override;

 private:
  struct Line;
  void write(const Line& line);
  void end_epoch();
  void end_evaluation();

  const std::filesystem::path path_;
  FileOps& files_;
  const TimeOfDay& time_;
  std::optional<LineFile> file_;
  std::optional<std::uint32_t> epoch_;            ///< that is open, from 1
  std::optional<std::uint32_t> evaluated_epoch_;  ///< of the evaluation that is open, from 1
  bool has_all_samples_ = false;                  ///< an epoch trains every sample of the data once
  std::int64_t samples_ = 0;                      ///< trained
  bool told_train_samples_ = false;
  bool told_eval_samples_ = false;
};

}  // namespace slackline
