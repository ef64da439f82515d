#pragma once

// The loop of a run: batches in, steps through the strategy, times and results out.

#include <slackline/checkpoint.h>
#include <slackline/run.h>
#include <slackline/stopwatch.h>

#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "assembly.h"
#include "common_steps.h"
#include "input_chain.h"
#include "learning_rate.h"
#include "logs/run_listener.h"
#include "progress.h"
#include "results.h"

namespace slackline {

/// Steps that were submitted and not yet finished, with their batches. On destruction, also by an
/// exception, it waits for them and gives the batches back.
class StepsInFlight {
 public:
  StepsInFlight(Strategy& strategy, InputChain& chain) : strategy_(strategy), chain_(chain) {}
  StepsInFlight(const StepsInFlight&) = delete;
  StepsInFlight& operator=(const StepsInFlight&) = delete;
  ~StepsInFlight();

  /// Takes over the loan of the step's batches, also if it throws, and leaves `step` empty.
  void submit(StepBatches& step, const StepPlan& plan);
  [[nodiscard]] StepSums finish_oldest();
  [[nodiscard]] std::size_t count() const { return steps_.size(); }

 private:
  Strategy& strategy_;
  InputChain& chain_;
  std::deque<StepBatches> steps_;
  std::vector<StepBatches> spare_;  ///< empty ones, whose memory is used again
};

/// Trains through all epochs, evaluating between them, and fills in `measured`.
///
/// Of several ranks each trains on its own batches; all take the same steps, evaluate and save at
/// the same time.
///
/// Every moment between its construction and the end of train() is a lap of one stopwatch: of a
/// step, of an evaluation, or of the saving of a checkpoint.
class Training {
 public:
  /// Goes on from `state`, and keeps it up to date. `checkpoints` is null if none are saved.
  Training(const Config& config, Assembly& parts, RunControl& control, BadSampleAccount& account,
           RunMeasurements& measured, Progress& progress, LineFile& step_lines,
           CheckpointFolder* checkpoints, TrainingState& state, RunListener& listener);

  /// Returns at the end of the data, after [run] steps, or when asked to stop.
  void train();
  /// Whether train() ended because this rank, or another, was asked to stop.
  [[nodiscard]] bool stopped() const {
    return parts_.ranks == nullptr ? control_.stop.stop_requested() : stopped_;
  }

 private:
  BatchReaderPlan training_input() const;
  BatchReaderPlan held_out_input() const;
  BatchReaderPlan plan_for(const InputParts& parts) const;
  void run_steps(InputChain& chain);
  void run_steps(InputChain& chain, StepsInFlight& in_flight);
  [[nodiscard]] std::vector<DataPosition> begins() const;
  void add_wait_without_step(const StepTimes& times);
  template <class Work>
  void or_tell_ranks(const Work& work);
  void end_epoch(StepsInFlight& in_flight, const InputChain& chain);
  void begin_epoch(std::uint32_t epoch);
  void open_or_close_trace();
  void trace_step(std::uint64_t batch, const StepTimes& times);
  void summarise(const InputChain& chain);
  void one_step(StepBatches& step, const CommonStep& common, StepTimes times,
                StepsInFlight& in_flight);
  void drain(StepsInFlight& in_flight);
  void record_finished(const StepSums& sums);
  void evaluate(std::uint32_t epochs_trained);
  [[nodiscard]] bool checkpoint_is_due(const CommonStep& common) const;
  [[nodiscard]] bool checkpoint_is_due_by_time() const;
  void save_checkpoint(StepsInFlight& in_flight, const InputChain& chain);
  [[nodiscard]] bool evaluation_is_due(std::uint32_t epochs_trained, bool is_last) const;
  [[nodiscard]] std::optional<std::uint64_t> steps_in_all() const;
  [[nodiscard]] double seconds_until(Stopwatch::Clock::time_point time) const;
  [[nodiscard]] double now_s() const;

  const Config& config_;
  Assembly& parts_;
  RunControl& control_;
  BadSampleAccount& account_;
  RunMeasurements& measured_;
  Progress& progress_;
  LineFile& step_lines_;
  CheckpointFolder* const checkpoints_;
  TrainingState& state_;
  RunListener& listener_;
  const std::uint64_t first_step_ = state_.steps;  ///< trained by earlier runs

  const LearningRate learning_rate_{config_.optimizer, config_.run, config_.input};

  TraceTrack& track_ = parts_.trace().track("loop");

  Stopwatch watch_;
  const Stopwatch::Clock::time_point start_ = watch_.mark();
  std::vector<StepTimes> times_;              ///< of every step, warm-up included
  std::vector<std::int32_t> samples_;         ///< trained by each step
  std::vector<std::int32_t> own_samples_;     ///< those of this rank
  std::deque<StepRecord> unfinished_;         ///< whose sums are not known yet
  Stopwatch::Clock::duration carried_{};      ///< bookkeeping that counts as the next step's submit
  std::optional<std::uint64_t> saved_steps_;  ///< of the newest checkpoint of this process
  Stopwatch::Clock::time_point saved_at_ = start_;
  InputTimes input_left_out_;  ///< of the workers, in the warm-up and during evaluations
  std::chrono::nanoseconds upload_left_out_{};            ///< of the uploaders, likewise
  std::chrono::nanoseconds rank_wait_before_{};           ///< for other ranks, in all steps so far
  std::chrono::nanoseconds longest_input_wait_before_{};  ///< likewise
  bool stopped_ = false;                                  ///< as the ranks agreed
  double cpu_left_out_s_ = 0;  ///< of the process, before, in the warm-up and during evaluations
};

}  // namespace slackline
