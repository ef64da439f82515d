#include "learning_rate.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <utility>

namespace slackline {
namespace {

/// Of whole batches.
std::int64_t steps_per_epoch(const OptimizerOptions& optimizer, const InputOptions& input) {
  return optimizer.images_per_epoch / input.batch_size;
}

std::int64_t total_steps(const OptimizerOptions& optimizer, const RunOptions& run,
                         const InputOptions& input) {
  if (optimizer.schedule_steps > 0) return optimizer.schedule_steps;
  if (run.steps > 0) return run.steps;
  return run.epochs * steps_per_epoch(optimizer, input);
}

/// For what the schedule must know the length of an epoch; empty if it need not.
std::string needs_epochs_for(const OptimizerOptions& optimizer, const RunOptions& run) {
  if (optimizer.schedule == Schedule::kConstant) return {};
  if (optimizer.schedule == Schedule::kStep) return "its boundaries and warm-up are in epochs";
  if (optimizer.warmup_epochs > 0) {
    return text("its warm-up, warmup_epochs = ", optimizer.warmup_epochs, ", is in epochs");
  }
  if (optimizer.schedule_steps == 0 && run.steps == 0) {
    return "its end is in epochs, as neither schedule_steps nor [run] steps is set";
  }
  return {};
}

/// Of a table: 256 MiB.
constexpr std::int64_t kMostRates = std::int64_t{1} << 26;

/// Up to the first one that stays; none behind the end of the run.
double table_size(const LearningRate& rates, const RunOptions& run) {
  const double size = rates.constant_from() + 1;
  return run.steps > 0 ? std::min(size, static_cast<double>(run.steps)) : size;
}

void check_boundaries(const OptimizerOptions& optimizer, std::vector<ConfigError>& problems) {
  const std::vector<double>& boundaries = optimizer.boundaries;
  if (optimizer.factors.size() != boundaries.size()) {
    problems.emplace_back(
        "factors", text("there are ", optimizer.factors.size(), " factors and ", boundaries.size(),
                        " boundaries: each boundary needs one factor"));
  }
  for (std::size_t i = 1; i < boundaries.size(); ++i) {
    if (boundaries[i] > boundaries[i - 1]) continue;
    problems.emplace_back("boundaries", text("boundary ", boundaries[i], " comes behind ",
                                             boundaries[i - 1], ": they must increase"));
    return;
  }
}

void check_epochs(const OptimizerOptions& optimizer, const RunOptions& run,
                  const InputOptions& input, std::vector<ConfigError>& problems) {
  const std::string reason = needs_epochs_for(optimizer, run);
  if (reason.empty()) return;
  const bool counts_whole_steps =
      optimizer.schedule != Schedule::kStep || optimizer.schedule_mode == ScheduleMode::kTensor;
  if (optimizer.images_per_epoch == 0) {
    problems.emplace_back("schedule",
                          text("this schedule needs images_per_epoch, the training images of an "
                               "epoch: ",
                               reason));
  } else if (counts_whole_steps && steps_per_epoch(optimizer, input) == 0) {
    problems.emplace_back("images_per_epoch",
                          text("an epoch of ", optimizer.images_per_epoch,
                               " images has no whole step of [input] batch_size ", input.batch_size,
                               ", and this schedule counts those"));
  }
}

}  // namespace

std::vector<ConfigError> schedule_problems(const OptimizerOptions& optimizer, const RunOptions& run,
                                           const InputOptions& input) {
  std::vector<ConfigError> problems;
  if (optimizer.schedule == Schedule::kStep) check_boundaries(optimizer, problems);
  check_epochs(optimizer, run, input, problems);
  if (problems.empty() && optimizer.schedule_mode == ScheduleMode::kTensor) {
    const double size = table_size(LearningRate(optimizer, run, input), run);
    if (size > static_cast<double>(kMostRates)) {
      problems.emplace_back(
          "schedule_mode",
          text(
              "\"tensor\" makes a table of the rates until they stay or the run ends, and it would "
              "have ",
              size, " of them, above ", kMostRates, ": use \"callback\""));
    }
  }
  return problems;
}

std::vector<float> rate_table(const OptimizerOptions& optimizer, const RunOptions& run,
                              const InputOptions& input) {
  if (optimizer.schedule_mode != ScheduleMode::kTensor) return {};
  if (!schedule_problems(optimizer, run, input).empty()) return {};
  const LearningRate rates(optimizer, run, input);
  std::vector<float> table(static_cast<std::size_t>(table_size(rates, run)));
  for (std::size_t step = 0; step < table.size(); ++step) {
    table[step] = rates.at({.step = step, .epoch = 0, .batch_in_epoch = 0});
  }
  return table;
}

bool depends_on_run_length(const OptimizerOptions& optimizer) {
  return optimizer.schedule_steps == 0 &&
         (optimizer.schedule == Schedule::kCosine || optimizer.schedule == Schedule::kPolynomial);
}

LearningRate::LearningRate(const OptimizerOptions& optimizer, const RunOptions& run,
                           const InputOptions& input)
    : options_(optimizer),
      rate_(optimizer.learning_rate),
      batches_an_epoch_(static_cast<double>(optimizer.images_per_epoch) / input.batch_size),
      steps_an_epoch_(static_cast<double>(steps_per_epoch(optimizer, input))),
      warmup_steps_(optimizer.warmup_epochs * steps_an_epoch_),
      total_steps_(static_cast<double>(total_steps(optimizer, run, input))) {
  if (optimizer.learning_rate_batch > 0) {
    rate_ = optimizer.learning_rate * input.batch_size / optimizer.learning_rate_batch;
  }
}

float LearningRate::at(const StepPlace& place) const {
  const auto step = static_cast<double>(place.step);
  switch (options_.schedule) {
    case Schedule::kStep:
      if (options_.schedule_mode == ScheduleMode::kTensor) return static_cast<float>(by_step(step));
      return static_cast<float>(
          by_epoch(place.epoch + static_cast<double>(place.batch_in_epoch) / batches_an_epoch_));
    case Schedule::kCosine:
      return static_cast<float>(cosine(step));
    case Schedule::kPolynomial:
      return static_cast<float>(polynomial(step));
    case Schedule::kConstant:
      break;
  }
  return static_cast<float>(rate_);
}

/// learning_rate_schedule() of official/resnet/keras/keras_imagenet_main.py.
double LearningRate::by_epoch(double epoch) const {
  if (epoch < options_.warmup_epochs) return rate_ * epoch / options_.warmup_epochs;
  double rate = rate_;
  for (std::size_t i = 0; i < options_.boundaries.size(); ++i) {
    if (epoch >= options_.boundaries[i]) rate = rate_ * options_.factors[i];
  }
  return rate;
}

/// PiecewiseConstantDecayWithWarmup of official/resnet/keras/keras_common.py.
double LearningRate::by_step(double step) const {
  if (step < warmup_steps_) return rate_ * step / warmup_steps_;
  double rate = rate_;
  for (std::size_t i = 0; i < options_.boundaries.size(); ++i) {
    if (step > options_.boundaries[i] * steps_an_epoch_) rate = rate_ * options_.factors[i];
  }
  return rate;
}

double LearningRate::constant_from() const {
  switch (options_.schedule) {
    case Schedule::kStep: {
      const double last = options_.boundaries.empty() ? 0 : options_.boundaries.back();
      return std::ceil(std::max(warmup_steps_, last * steps_an_epoch_ + 1));
    }
    case Schedule::kCosine:
    case Schedule::kPolynomial:
      return std::ceil(warmup_steps_ + decay_steps()) + 1;  // whatever the sum was rounded to
    case Schedule::kConstant:
      break;
  }
  return 0;
}

/// The polynomial's end is one step behind the cosine's.
double LearningRate::decay_steps() const {
  const double steps = total_steps_ - warmup_steps_;
  return std::max(options_.schedule == Schedule::kPolynomial ? steps + 1 : steps, 1.0);
}

double LearningRate::cosine(double step) const {
  if (step < warmup_steps_) return rate_ * step / warmup_steps_;
  const double end = options_.final_factor * rate_;
  const double done = std::min((step - warmup_steps_) / decay_steps(), 1.0);
  return end + (rate_ - end) * (1 + std::cos(std::numbers::pi * done)) / 2;
}

/// PolynomialDecayWithWarmup of MLPerf's image_classification/tensorflow2/lars_util.py.
double LearningRate::polynomial(double step) const {
  if (warmup_steps_ > 0 && step <= warmup_steps_) return rate_ * step / warmup_steps_;
  const double end = options_.final_factor * rate_;
  const double done = std::min((step - warmup_steps_) / decay_steps(), 1.0);
  return end + (rate_ - end) * std::pow(1 - done, options_.power);
}

}  // namespace slackline
