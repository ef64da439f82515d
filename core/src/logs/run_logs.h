#pragma once

#include <slackline/file_ops.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "assembly.h"
#include "run_listener.h"
#include "time_of_day.h"

namespace slackline {

/// The logs that [metrics] asks for, told together. Without any, nothing happens.
class RunLogs final : public RunListener {
 public:
  /// None, as of the ranks only the first one logs.
  RunLogs() = default;
  /// No file is opened before started().
  RunLogs(const Config& config, const std::filesystem::path& run_dir, FileOps& files, Notes& notes,
          const TimeOfDay& time);

  void started(const RunStart& start) override;
  void phase(RunPhase phase, std::uint32_t epoch) override;
  void step(const StepRecord& record) override;
  void evaluated(const Evaluation& evaluation) override;
  /// Tells every log that was started, also if one fails, and then throws the first error. A second
  /// call does nothing.
  void ended(const RunMeasurements& measured) override;

 private:
  std::vector<std::unique_ptr<RunListener>> logs_;
  std::size_t started_ = 0;  ///< the first so many, until the end
};

}  // namespace slackline
