#include "run_logs.h"

#include <exception>
#include <string>
#include <utility>

#include "benchmark_log.h"
#include "mlperf_log.h"
#include "tensorboard_log.h"

namespace slackline {

RunLogs::RunLogs(const Config& config, const std::filesystem::path& run_dir, FileOps& files,
                 Notes& notes, const TimeOfDay& time) {
  const MetricsOptions& metrics = config.metrics;
  if (!metrics.benchmark_log_dir.value.empty()) {
    logs_.push_back(std::make_unique<BenchmarkLog>(
        metrics.benchmark_log_dir.value, files, time,
        [&notes](const std::string& message) { notes.warn("metrics", message); }));
  }
  if (metrics.tensorboard) {
    const std::filesystem::path dir = metrics.tensorboard_dir.value;
    const std::int32_t steps =
        metrics.tensorboard_steps > 0 ? metrics.tensorboard_steps : config.run.log_steps;
    logs_.push_back(std::make_unique<TensorboardLog>(
        TensorboardLog::Options{.dir = dir.empty() ? run_dir / "tensorboard" : dir,
                                .steps_a_point = static_cast<std::uint64_t>(steps)},
        files, time));
  }
  if (metrics.mlperf) {
    logs_.push_back(std::make_unique<MlperfLog>(run_dir / "mlperf.log", files, time));
  }
}

void RunLogs::started(const RunStart& start) {
  for (const auto& log : logs_) {
    log->started(start);
    ++started_;
  }
}

void RunLogs::phase(RunPhase phase, std::uint32_t epoch) {
  for (const auto& log : logs_) log->phase(phase, epoch);
}

void RunLogs::step(const StepRecord& record) {
  for (const auto& log : logs_) log->step(record);
}

void RunLogs::evaluated(const Evaluation& evaluation) {
  for (const auto& log : logs_) log->evaluated(evaluation);
}

void RunLogs::ended(const RunMeasurements& measured) {
  std::exception_ptr first;
  const std::size_t count = std::exchange(started_, 0);
  for (std::size_t i = 0; i < count; ++i) {
    try {
      logs_[i]->ended(measured);
    } catch (const std::exception&) {
      if (first == nullptr) first = std::current_exception();
    }
  }
  if (first != nullptr) std::rethrow_exception(first);
}

}  // namespace slackline
