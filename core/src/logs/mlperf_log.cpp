#include "mlperf_log.h"

#include <chrono>
#include <filesystem>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "learning_rate.h"
#include "results.h"

namespace slackline {
namespace {

using Json = nlohmann::ordered_json;

// From mlperf_logging/mllog/constants.py of mlcommons/logging.
constexpr const char* kIntervalStart = "INTERVAL_START";
constexpr const char* kIntervalEnd = "INTERVAL_END";
constexpr const char* kPointInTime = "POINT_IN_TIME";

/// Of mlperf_logging's rules for ResNet.
const char* name_of(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::kSgd:
      return "sgd";
    case OptimizerKind::kLars:
      return "lars";
  }
  return "";
}

Json at_epoch(std::uint32_t epoch_from_1) { return {{"epoch_num", epoch_from_1}}; }

}  // namespace

struct MlperfLog::Line {
  const char* type;
  const char* key;
  Json value = nullptr;
  Json metadata = Json::object();                    ///< beside file and lineno
  std::optional<TimeOfDay::Time> at = std::nullopt;  ///< now, if nothing
  // std::source_location's, which clang-tidy 14 does not know.
  const char* file = __builtin_FILE();
  int lineno = __builtin_LINE();
};

void MlperfLog::write(const Line& line) {
  const auto unix_time = line.at.value_or(time_.now()).time_since_epoch();
  Json metadata = {{"file", std::filesystem::path(line.file).filename().string()},
                   {"lineno", line.lineno}};
  metadata.update(line.metadata);
  const Json json = {
      {"namespace", ""},
      {"time_ms", std::chrono::duration_cast<std::chrono::milliseconds>(unix_time).count()},
      {"event_type", line.type},
      {"key", line.key},
      {"value", line.value},
      {"metadata", metadata}};
  file_->append(":::MLLOG " + json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void MlperfLog::started(const RunStart& start) {
  const Config& config = start.config;
  const bool goes_on = start.steps_before > 0;
  file_.emplace(files_, path_, goes_on ? FileOps::Open::kAppend : FileOps::Open::kEmpty);
  has_all_samples_ = !goes_on && !config.input.drop_remainder &&
                     !config.input.batches_span_epochs &&
                     config.input.on_bad_sample == BadSamplePolicy::kFail &&
                     config.input.replay == Replay::kOff && config.input.shard_count == 1;

  write({.type = kIntervalStart, .key = "init_start", .at = time_.start()});
  write({.type = kPointInTime, .key = "seed", .value = config.run.seed});
  write({.type = kPointInTime, .key = "global_batch_size", .value = config.input.batch_size});
  write({.type = kPointInTime, .key = "opt_name", .value = name_of(config.optimizer.kind)});
  write({.type = kPointInTime,
         .key = "opt_base_learning_rate",
         .value = LearningRate(config.optimizer, config.run, config.input).base()});
  write({.type = kIntervalEnd, .key = "init_stop"});
  write({.type = kIntervalStart, .key = "run_start"});
}

void MlperfLog::phase(RunPhase phase, std::uint32_t epoch) {
  switch (phase) {
    case RunPhase::kEpochBegins:
      end_epoch();
      epoch_ = epoch + 1;
      write({.type = kIntervalStart, .key = "epoch_start", .metadata = at_epoch(*epoch_)});
      break;
    case RunPhase::kEpochEnds:
      if (has_all_samples_ && !std::exchange(told_train_samples_, true)) {
        write({.type = kPointInTime, .key = "train_samples", .value = samples_});
      }
      end_epoch();
      break;
    case RunPhase::kEvaluationBegins:
      end_epoch();  // which [run] steps may have cut short
      evaluated_epoch_ = epoch + 1;
      write({.type = kIntervalStart, .key = "eval_start", .metadata = at_epoch(*evaluated_epoch_)});
      break;
  }
}

void MlperfLog::step(const StepRecord& record) { samples_ += record.sums.samples; }

void MlperfLog::evaluated(const Evaluation& evaluation) {
  if (!std::exchange(told_eval_samples_, true)) {
    write({.type = kPointInTime, .key = "eval_samples", .value = evaluation.sums.samples});
  }
  write({.type = kPointInTime,
         .key = "eval_accuracy",
         .value = evaluation.accuracy(),
         .metadata = at_epoch(evaluation.epochs_trained)});
  end_evaluation();
}

void MlperfLog::ended(const RunMeasurements& measured) {
  end_evaluation();
  end_epoch();
  write({.type = kPointInTime, .key = "trained_samples", .value = samples_});
  const bool success = measured.status == "complete";
  write({.type = kIntervalEnd,
         .key = "run_stop",
         .metadata = {{"status", success ? "success" : "aborted"}}});
}

void MlperfLog::end_epoch() {
  if (const auto epoch = std::exchange(epoch_, std::nullopt)) {
    write({.type = kIntervalEnd, .key = "epoch_stop", .metadata = at_epoch(*epoch)});
  }
}

void MlperfLog::end_evaluation() {
  if (const auto epoch = std::exchange(evaluated_epoch_, std::nullopt)) {
    write({.type = kIntervalEnd, .key = "eval_stop", .metadata = at_epoch(*epoch)});
  }
}

}  // namespace slackline
