#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <utility>

#include "event_file.h"
#include "run_listener.h"
#include "step_interval.h"
#include "time_of_day.h"

namespace slackline {

/// Event files for TensorBoard's Scalars tab: a point of each curve every few steps, and one after
/// each evaluation, at the number of steps trained until then.
class TensorboardLog final : public RunListener {
 public:
  struct Options {
    std::filesystem::path dir;        ///< made if it is not there
    std::uint64_t steps_a_point = 1;  ///< not 0
  };
  TensorboardLog(Options options, FileOps& files, const TimeOfDay& time)
      : options_(std::move(options)), files_(files), time_(time) {}

  void started(const RunStart& start) override;
  void phase(RunPhase /*phase*/, std::uint32_t /*epoch*/) override {}
  void step(const StepRecord& record) override;
  void evaluated(const Evaluation& evaluation) override;
  void ended(const RunMeasurements& measured) override;

 private:
  [[nodiscard]] EventTime now() const;
  void point();

  const Options options_;
  FileOps& files_;
  const TimeOfDay& time_;
  std::optional<EventFile> file_;
  std::uint64_t steps_ = 0;  ///< trained
  StepInterval interval_;    ///< since the last point
  float learning_rate_ = 0;  ///< of the last step
};

}  // namespace slackline
