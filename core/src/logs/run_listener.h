#pragma once

// Who is told how a run goes, step by step: the logs in formats of other tools.

#include <slackline/config.h>
#include <slackline/metrics.h>
#include <slackline/run.h>

#include <cstdint>

namespace slackline {

struct RunMeasurements;

/// What is known before the first step.
struct RunStart {
  const Config& config;
  std::uint64_t steps_before = 0;  ///< trained by the run that this one goes on with
};

/// What a run goes through between its steps.
enum class RunPhase {
  kEpochBegins,
  kEpochEnds,  ///< all of its data was trained on; not if [run] steps or a signal ended it
  kEvaluationBegins
};

/// Is told what a run has done, in the order in which it was done.
///
/// Lifecycle  started() once, then the others as it happens, and ended() once, if started() was
///            reached: also when the run fails, and then the last steps may never be told.
/// Threads    the run's own.
/// Errors     IoError, which ends the run.
class RunListener {
 public:
  RunListener() = default;
  RunListener(const RunListener&) = delete;
  RunListener& operator=(const RunListener&) = delete;
  virtual ~RunListener() = default;

  /// Everything is built, and no data was read.
  virtual void started(const RunStart& start) = 0;

  /// `epoch` is from 0.
  virtual void phase(RunPhase phase, std::uint32_t epoch) = 0;

  /// One more step is done. Each comes once, in order.
  virtual void step(const StepRecord& record) = 0;

  /// After as many steps as were told.
  virtual void evaluated(const Evaluation& evaluation) = 0;

  /// `measured.status` says how.
  virtual void ended(const RunMeasurements& measured) = 0;
};

}  // namespace slackline
