#pragma once

// The learning rate of every step, from [optimizer] and the length of the run.

#include <slackline/error.h>
#include <slackline/run_options.h>

#include <cstdint>
#include <vector>

namespace slackline {

/// Which step of a run; all from 0, and resumed runs count on.
struct StepPlace {
  std::uint64_t step = 0;  ///< of the run
  std::uint32_t epoch = 0;
  std::uint64_t batch_in_epoch = 0;
};

/// What is wrong with the schedule beyond types and ranges. Each names its key of [optimizer].
[[nodiscard]] std::vector<ConfigError> schedule_problems(const OptimizerOptions& optimizer,
                                                         const RunOptions& run,
                                                         const InputOptions& input);

/// The rates of the steps 0, 1, ..., for ModelSpec::learning_rates, until they change no more or
/// the run ends. Empty if schedule_mode is not "tensor", and with schedule_problems().
[[nodiscard]] std::vector<float> rate_table(const OptimizerOptions& optimizer,
                                            const RunOptions& run, const InputOptions& input);

/// Whether the rates depend on how long [run] says that the run is.
[[nodiscard]] bool depends_on_run_length(const OptimizerOptions& optimizer);

/// A function of the step alone: it keeps no state, so a resumed run gets the same rates. In
/// double, rounded to float at the end.
///
/// With s = images_per_epoch / batch_size, rounded down, and w = warmup_epochs * s:
///
/// constant    rate
/// step        callback: at epoch e = epoch + batch / (images_per_epoch / batch_size), rate * e /
///             warmup_epochs while e < warmup_epochs; then rate, times the factor of the last
///             boundary <= e
///             tensor: rate * step / w while step < w; then rate, times the factor of the last
///             boundary with boundary * s < step
/// cosine      rate * step / w while step < w; then, with p = (step - w) / (total - w),
///             end + (rate - end) * (1 + cos(pi * p)) / 2
/// polynomial  rate * step / w while step <= w; then, with p = (step - w) / (total - w + 1),
///             end + (rate - end) * (1 - p)^power
///
/// where end = final_factor * rate, and p stays 1 from there on.
class LearningRate {
 public:
  /// Without schedule_problems().
  LearningRate(const OptimizerOptions& optimizer, const RunOptions& run, const InputOptions& input);

  [[nodiscard]] float at(const StepPlace& place) const;

  /// `rate` of the formulas above: learning_rate, with learning_rate_batch counted in.
  [[nodiscard]] double base() const { return rate_; }

  /// A step from which on the rate stays, if it depends on the step alone: as with all schedules if
  /// schedule_mode is "tensor".
  [[nodiscard]] double constant_from() const;

  [[nodiscard]] bool is_constant() const { return options_.schedule == Schedule::kConstant; }

 private:
  [[nodiscard]] double by_epoch(double epoch) const;
  [[nodiscard]] double by_step(double step) const;
  [[nodiscard]] double decay_steps() const;  ///< of cosine and polynomial, behind the warm-up
  [[nodiscard]] double cosine(double step) const;
  [[nodiscard]] double polynomial(double step) const;

  OptimizerOptions options_;
  double rate_;
  double batches_an_epoch_;  ///< not rounded
  double steps_an_epoch_;    ///< rounded down
  double warmup_steps_;
  double total_steps_;
};

}  // namespace slackline
