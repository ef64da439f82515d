#include "training.h"

#include <slackline/error.h>
#include <slackline/live_span.h>
#include <slackline/machine.h>

#include <algorithm>
#include <ratio>
#include <stop_token>
#include <utility>

namespace slackline {
StepsInFlight::~StepsInFlight() {
  while (!steps_.empty()) {
    try {
      static_cast<void>(finish_oldest());
    } catch (const std::exception&) {
      // Only reached while another error is on its way: that one is told.
    }
  }
}

void StepsInFlight::submit(StepBatches& step, const StepPlan& plan) {
  try {
    const LiveSpan span("submit");
    strategy_.submit(step.given, plan);
  } catch (...) {
    chain_.give_back(step);
    throw;
  }
  steps_.push_back(std::move(step));
  step = {};
  if (!spare_.empty()) {
    step = std::move(spare_.back());
    spare_.pop_back();
  }
}

StepSums StepsInFlight::finish_oldest() {
  StepBatches step = std::move(steps_.front());
  steps_.pop_front();
  try {
    const LiveSpan span("device wait");
    const StepSums sums = strategy_.finish();
    chain_.give_back(step);
    spare_.push_back(std::move(step));
    return sums;
  } catch (...) {
    chain_.give_back(step);
    throw;
  }
}

Training::Training(const Config& config, Assembly& parts, RunControl& control,
                   BadSampleAccount& account, RunMeasurements& measured, Progress& progress,
                   LineFile& step_lines, CheckpointFolder* checkpoints, TrainingState& state,
                   RunListener& listener)
    : config_(config),
      parts_(parts),
      control_(control),
      account_(account),
      measured_(measured),
      progress_(progress),
      step_lines_(step_lines),
      checkpoints_(checkpoints),
      state_(state),
      listener_(listener) {
  measured_.last_epoch = state_.epoch_sums;
}

double Training::seconds_until(Stopwatch::Clock::time_point time) const {
  return std::chrono::duration<double>(time - start_).count();
}

double Training::now_s() const { return seconds_until(Stopwatch::Clock::now()); }

BatchReaderPlan Training::training_input() const {
  BatchReaderPlan plan = plan_for(parts_.train);
  plan.drop_remainder = config_.input.drop_remainder;
  plan.batches_span_epochs = config_.input.batches_span_epochs;
  plan.begin = state_.position;
  for (std::int32_t i = 0; i < plan.workers; ++i) {
    plan.tracks.push_back(&parts_.trace().track(text("input ", i)));
  }
  for (const std::string& name : parts_.train.transform_names) {
    plan.span_names.push_back(name.c_str());
  }
  plan.epochs = static_cast<std::uint32_t>(config_.run.epochs);
  return plan;
}

/// All of it, once, in batches of the same size.
BatchReaderPlan Training::held_out_input() const {
  BatchReaderPlan plan = plan_for(parts_.eval);
  plan.drop_remainder = false;
  return plan;
}

BatchReaderPlan Training::plan_for(const InputParts& parts) const {
  const InputOptions& input = config_.input;
  BatchReaderPlan plan;
  plan.source = parts.source.get();
  for (const auto& transform : parts.transforms) plan.transforms.push_back(transform.get());
  plan.transform_names = parts.transform_names;
  plan.shape = input.shape();
  plan.batches_per_step = parts_.strategy->device_count();
  plan.batch_size = input.batch_size / (plan.batches_per_step * parts_.rank_count());
  plan.num_classes = input.num_classes;
  plan.workers = measured_.workers;
  plan.batches_ahead = input.batches_ahead;
  plan.seed = static_cast<std::uint64_t>(config_.run.seed);
  plan.shard_index = input.shard_index;
  plan.shard_count = input.shard_count;
  if (parts_.ranks != nullptr) {
    plan.shard_index = static_cast<std::uint32_t>(parts_.rank());
    plan.shard_count = static_cast<std::uint32_t>(parts_.rank_count());
  }
  return plan;
}

void Training::train() {
  InputChain chain(training_input(), account_, *parts_.prefetcher, *parts_.strategy, steady_clock(),
                   config_.input);
  const std::stop_callback on_stop(control_.stop, [&chain] { chain.cancel(); });
  try {
    run_steps(chain);
  } catch (...) {
    summarise(chain);
    throw;
  }
  summarise(chain);
  if (stopped()) return;
  if (state_.steps == 0) {
    throw DataError(text("the training data gave no batch: fewer than [input] batch_size ",
                         config_.input.batch_size,
                         " good records in an epoch, and [input] drop_remainder is ",
                         config_.input.drop_remainder ? "true" : "false"));
  }
  if (evaluation_is_due(measured_.epochs, true)) evaluate(measured_.epochs);
}

/// What fails at this rank must not leave the others waiting, nor this one for them: all are told
/// before anything is waited for.
template <class Work>
void Training::or_tell_ranks(const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    if (parts_.ranks != nullptr) parts_.ranks->abort(error.what());
    throw;
  }
}

void Training::run_steps(InputChain& chain) {
  StepsInFlight in_flight(*parts_.strategy, chain);
  or_tell_ranks([&] { run_steps(chain, in_flight); });
}

void Training::run_steps(InputChain& chain, StepsInFlight& in_flight) {
  CommonSteps steps(chain, parts_.strategy->device_count(), parts_.ranks,
                    {.drop_remainder = config_.input.drop_remainder,
                     .batches_span_epochs = config_.input.batches_span_epochs},
                    begins(), steady_clock());
  const auto steps_wanted = static_cast<std::uint64_t>(config_.run.steps);
  StepBatches step;
  CommonStep common;
  bool data_ended = false;
  listener_.phase(RunPhase::kEpochBegins, state_.epoch);
  while (!stopped() && (steps_wanted == 0 || state_.steps < steps_wanted)) {
    if (times_.size() == static_cast<std::uint64_t>(config_.run.warmup_steps)) {
      drain(in_flight);  // or the device would still owe steps that nobody counts
      input_left_out_ = chain.reader().times();
      upload_left_out_ = chain.upload_time().value_or(std::chrono::nanoseconds{});
      cpu_left_out_s_ = cpu_seconds();
    }
    open_or_close_trace();
    const double begin_s = now_s();
    const NextStep next = steps.next(step, common, control_.stop, checkpoint_is_due_by_time());
    StepTimes times;
    times.rank_wait = steps.waited() - std::exchange(rank_wait_before_, steps.waited());
    times.device_wait = times.rank_wait;
    times.input_wait = watch_.lap() - times.rank_wait;
    const std::chrono::nanoseconds told =
        steps.longest_input_wait() -
        std::exchange(longest_input_wait_before_, steps.longest_input_wait());
    // Whoever is late for other reasons did not lose all the time for which another had no input.
    times.longest_input_wait =
        std::clamp(told, times.input_wait, times.input_wait + times.rank_wait);
    if (next != NextStep::kStep) {
      add_wait_without_step(times);
      stopped_ = next == NextStep::kStopped;
      data_ended = next == NextStep::kEnd;
      break;
    }
    if (times_.empty()) measured_.time_to_first_batch_s = now_s();
    if (common.epoch != state_.epoch) {
      try {
        end_epoch(in_flight, chain);
      } catch (...) {
        chain.give_back(step);
        throw;
      }
      if (stopped()) {  // the epoch has not ended yet: its evaluation may have been cut short
        chain.give_back(step);
        add_wait_without_step(times);
        if (!times_.empty()) times_.back().submit += watch_.lap();
        break;
      }
      begin_epoch(common.epoch);
      listener_.phase(RunPhase::kEpochBegins, state_.epoch);
      times.submit += watch_.lap();
    }
    measured_.upstream.batch_begin(state_.batch_in_epoch, begin_s);
    one_step(step, common, times, in_flight);
    measured_.upstream.batch_end(state_.batch_in_epoch++, now_s());
    if (checkpoint_is_due(common)) save_checkpoint(in_flight, chain);
  }
  drain(in_flight);
  measured_.left_out = steps.left_out();
  if (data_ended && !stopped()) listener_.phase(RunPhase::kEpochEnds, state_.epoch);
  if (config_.checkpoint.has_value() && saved_steps_ != state_.steps &&
      (state_.steps > 0 || stopped())) {
    save_checkpoint(in_flight, chain);
  }
}

/// What was waited for in vain counts as the last step's.
void Training::add_wait_without_step(const StepTimes& times) {
  if (times_.empty()) return;
  times_.back().input_wait += times.input_wait;
  times_.back().device_wait += times.device_wait;
  times_.back().rank_wait += times.rank_wait;
  times_.back().longest_input_wait += times.longest_input_wait;
}

/// Where the data of each rank go on.
std::vector<DataPosition> Training::begins() const {
  if (!state_.rank_positions.empty()) return state_.rank_positions;
  return std::vector<DataPosition>(static_cast<std::size_t>(parts_.rank_count()), state_.position);
}

/// The traced steps are the first ones behind the warm-up.
void Training::open_or_close_trace() {
  const auto warmup = static_cast<std::uint64_t>(config_.run.warmup_steps);
  const auto traced = static_cast<std::uint64_t>(config_.run.trace_steps);
  if (traced == 0) return;
  if (times_.size() == warmup) parts_.trace().open();
  if (times_.size() == warmup + traced) parts_.trace().close();
}

/// The laps of the step that has just ended.
void Training::trace_step(std::uint64_t batch, const StepTimes& times) {
  const auto end = watch_.mark();
  const auto device = end - (times.device_wait - times.rank_wait);
  const auto submit = device - times.submit;
  const auto ranks = submit - times.rank_wait;
  track_.span("input wait", ranks - times.input_wait, ranks, batch);
  if (parts_.ranks != nullptr) track_.span("rank wait", ranks, submit, batch);
  track_.span("submit", submit, device, batch);
  track_.span("device wait", device, end);
}

/// The batch of another epoch has come: finishes this one.
void Training::end_epoch(StepsInFlight& in_flight, const InputChain& chain) {
  // Of a run that went on from the middle of an epoch, that is not known.
  if (!state_.steps_per_epoch.has_value() && first_step_ == 0)
    state_.steps_per_epoch = state_.steps;
  drain(in_flight);
  listener_.phase(RunPhase::kEpochEnds, state_.epoch);
  if (evaluation_is_due(state_.epoch + 1, false)) {
    const InputTimes before = chain.reader().times();
    const double cpu_before_s = cpu_seconds();
    evaluate(state_.epoch + 1);
    input_left_out_ += chain.reader().times().since(before);
    cpu_left_out_s_ += cpu_seconds() - cpu_before_s;
  }
}

void Training::begin_epoch(std::uint32_t epoch) {
  state_.epoch = epoch;
  state_.batch_in_epoch = 0;
  measured_.last_epoch = {};
}

void Training::summarise(const InputChain& chain) {
  const auto warmup_steps = static_cast<std::uint64_t>(config_.run.warmup_steps);
  const std::size_t left_out = std::min<std::size_t>(warmup_steps, times_.size());
  if (times_.size() > warmup_steps) {
    measured_.input = chain.reader().times().since(input_left_out_);
    measured_.measured_cpu_s = cpu_seconds() - cpu_left_out_s_;
    if (const auto upload = chain.upload_time()) measured_.upload = *upload - upload_left_out_;
  }
  measured_.steps = times_.size();
  measured_.epochs = state_.steps == 0 ? 0 : state_.epoch + 1;
  measured_.warmup_steps = warmup_steps;
  measured_.throughput =
      throughput_of(std::span(times_).subspan(left_out), std::span(samples_).subspan(left_out));
  for (const std::int32_t samples : std::span(own_samples_).subspan(left_out)) {
    measured_.measured_images += static_cast<std::uint64_t>(samples);
  }
}

/// Submits the step and waits until the device is not too far behind. The laps end here.
void Training::one_step(StepBatches& step, const CommonStep& common, StepTimes times,
                        StepsInFlight& in_flight) {
  const std::uint64_t batch = step.lent.empty() ? TraceTrack::kNoBatch : step.first().index;
  const std::int32_t own_samples = step.samples();
  const StepPlan plan{
      .kind = StepKind::kTrain,
      .rule = {.learning_rate = learning_rate_.at(
                   {.step = state_.steps,
                    .epoch = state_.epoch,
                    .batch_in_epoch = static_cast<std::uint64_t>(state_.batch_in_epoch)}),
               .step = state_.steps},
      .samples = common.samples};
  unfinished_.push_back({.step = state_.steps,
                         .epoch = state_.epoch,
                         .times = {},
                         .learning_rate = plan.rule.learning_rate,
                         .sums = {},
                         .digest = common.digest});
  in_flight.submit(step, plan);
  ++state_.steps;
  state_.position = common.ends[static_cast<std::size_t>(parts_.rank())];
  if (parts_.ranks != nullptr) state_.rank_positions = common.ends;
  state_.digest.append(unfinished_.back().digest);
  times.submit += watch_.lap();

  std::optional<StepSums> finished;
  if (in_flight.count() > static_cast<std::size_t>(config_.run.steps_in_flight)) {
    finished = in_flight.finish_oldest();
  }
  times.device_wait += watch_.lap();
  trace_step(batch, times);

  times.submit += std::exchange(carried_, {});
  unfinished_.back().times = times;
  if (finished.has_value()) record_finished(*finished);
  const auto bookkeeping = watch_.lap();
  if (unfinished_.empty()) {  // it was this very step's, whose record is written
    carried_ = bookkeeping;
  } else {
    times.submit += bookkeeping;
    unfinished_.back().times = times;
  }
  times_.push_back(times);
  samples_.push_back(common.samples);
  own_samples_.push_back(own_samples);
}

/// Waits for every step in flight; the time is the last one's.
void Training::drain(StepsInFlight& in_flight) {
  std::vector<StepSums> finished;
  while (in_flight.count() > 0) finished.push_back(in_flight.finish_oldest());
  if (!times_.empty()) {
    times_.back().device_wait += watch_.lap();
    times_.back().submit += std::exchange(carried_, {});
    if (!unfinished_.empty()) unfinished_.back().times = times_.back();
  }
  measured_.training_wall_s = seconds_until(watch_.mark());
  for (const StepSums& sums : finished) record_finished(sums);
}

/// The oldest unfinished step has these sums.
void Training::record_finished(const StepSums& sums) {
  StepRecord record = unfinished_.front();
  unfinished_.pop_front();
  record.sums = sums;
  measured_.last_epoch += sums;
  step_lines_.append(step_json_line(record));
  listener_.step(record);
  progress_.step(record.step + 1, steps_in_all(), record.epoch, record.times, record.sums,
                 learning_rate_.is_constant() ? std::nullopt : std::optional(record.learning_rate));
}

std::optional<std::uint64_t> Training::steps_in_all() const {
  if (config_.run.steps > 0) return static_cast<std::uint64_t>(config_.run.steps);
  if (!state_.steps_per_epoch.has_value()) return std::nullopt;
  return *state_.steps_per_epoch * static_cast<std::uint64_t>(config_.run.epochs);
}

bool Training::evaluation_is_due(std::uint32_t epochs_trained, bool is_last) const {
  if (!config_.eval.has_value() || config_.eval->options.every_epochs == 0) return false;
  const auto every = static_cast<std::uint32_t>(config_.eval->options.every_epochs);
  return is_last || epochs_trained % every == 0;
}

/// Behind this step. The ranks' clocks differ: rank 0's counts, as of before the step.
bool Training::checkpoint_is_due(const CommonStep& common) const {
  if (!config_.checkpoint.has_value()) return false;
  const auto every = static_cast<std::uint64_t>(config_.checkpoint->every_steps);
  if (every > 0 && state_.steps % every == 0) return true;
  return parts_.ranks == nullptr ? checkpoint_is_due_by_time() : common.save;
}

bool Training::checkpoint_is_due_by_time() const {
  if (!config_.checkpoint.has_value() || config_.checkpoint->every_minutes <= 0) return false;
  const std::chrono::duration<double, std::ratio<60>> since = watch_.mark() - saved_at_;
  return since.count() >= config_.checkpoint->every_minutes;
}

/// Between two steps, with nothing in flight. Its time is no step's.
void Training::save_checkpoint(StepsInFlight& in_flight, const InputChain& chain) {
  if (in_flight.count() > 0) drain(in_flight);
  const LiveSpan span("checkpoint");
  const InputTimes before = chain.reader().times();
  const double cpu_before_s = cpu_seconds();
  state_.epoch_sums = measured_.last_epoch;
  TensorStore& store = parts_.strategy->state();
  if (checkpoints_ != nullptr) {
    checkpoints_->save({.training = state_,
                        .seed = config_.run.seed,
                        .configuration = config_.name(),
                        .toml = config_.to_toml(false),
                        .version = SLACKLINE_VERSION,
                        .written_at = utc_text(std::chrono::system_clock::now())},
                       store);
    ++measured_.checkpoints;
  }
  input_left_out_ += chain.reader().times().since(before);
  cpu_left_out_s_ += cpu_seconds() - cpu_before_s;
  saved_steps_ = state_.steps;
  measured_.checkpoint_wall_s += std::chrono::duration<double>(watch_.lap()).count();
  saved_at_ = watch_.mark();
  measured_.training_wall_s = seconds_until(watch_.mark());
}

void Training::evaluate(std::uint32_t epochs_trained) {
  parts_.trace().close();  // the other input would write to the same tracks
  listener_.phase(RunPhase::kEvaluationBegins, epochs_trained - 1);
  Evaluation evaluation{.epochs_trained = epochs_trained, .sums = {}, .wall_s = 0};
  {
    InputChain chain(held_out_input(), account_, *parts_.prefetcher, *parts_.strategy,
                     steady_clock(), {});
    const std::stop_callback on_stop(control_.stop, [&chain] { chain.cancel(); });
    StepsInFlight in_flight(*parts_.strategy, chain);
    or_tell_ranks([&] {
      CommonSteps steps(chain, parts_.strategy->device_count(), parts_.ranks,
                        {.drop_remainder = false, .batches_span_epochs = false},
                        std::vector<DataPosition>(static_cast<std::size_t>(parts_.rank_count())),
                        steady_clock());
      StepBatches step;
      CommonStep common;
      NextStep next{};
      while ((next = steps.next(step, common, control_.stop, false)) == NextStep::kStep) {
        in_flight.submit(step,
                         {.kind = StepKind::kEvaluate, .rule = {}, .samples = common.samples});
        if (in_flight.count() > static_cast<std::size_t>(config_.run.steps_in_flight)) {
          evaluation.sums += in_flight.finish_oldest();
        }
      }
      stopped_ = next == NextStep::kStopped;
      while (in_flight.count() > 0) evaluation.sums += in_flight.finish_oldest();
    });
  }
  evaluation.wall_s = std::chrono::duration<double>(watch_.lap()).count();
  measured_.training_wall_s = seconds_until(watch_.mark());
  measured_.evaluation_wall_s += evaluation.wall_s;
  if (stopped()) return;  // an evaluation that was cut short says nothing
  if (evaluation.sums.samples == 0) {
    throw DataError("the held-out data of [eval.source] gave no sample");
  }
  measured_.evaluations.push_back(evaluation);
  listener_.evaluated(evaluation);

  progress_.line(text("epoch ", epochs_trained, " done: held-out ",
                      evaluation_text(evaluation, config_.input.num_classes)));
}

}  // namespace slackline
