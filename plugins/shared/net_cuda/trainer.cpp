#include "net_cuda/trainer.h"

namespace slackline::net::cuda {

Trainer::Trainer(Executor& executor, Launch launch, Runtime& runtime, cudaStream_t stream)
    : executor_(executor),
      launch_(launch),
      runtime_(runtime),
      stream_(stream),
      schedules_(runtime, kInFlight),
      in_flight_(kInFlight) {
  for (InFlight& each : in_flight_) each.copied = slackline::cuda::make_event(runtime);
}

void Trainer::train(const DeviceBatch& batch, std::int32_t global_batch_size,
                    const UpdateRule& rule, StepSums& sums) {
  executor_.ingest(batch);
  write_schedule(rule);
  run({Part::kTrain, batch.size, global_batch_size}, launch_);
  copy_sums(sums);
}

void Trainer::train(const DeviceBatch& batch, std::int32_t global_batch_size,
                    const UpdateRule& rule, StepSums& sums, GradientExchange& exchange,
                    std::int32_t replicas) {
  const auto full = static_cast<std::int32_t>(executor_.layout().batch_size);
  const bool are_all_full = global_batch_size == replicas * full;
  if (batch.size > 0) executor_.ingest(batch);
  write_schedule(rule);
  run({Part::kTrain, batch.size, global_batch_size, &exchange},
      are_all_full ? launch_ : Launch::kStream);
  if (batch.size > 0) {
    copy_sums(sums);
  } else {
    sums = {};
  }
}

void Trainer::forward_backward(const DeviceBatch& batch, std::int32_t global_batch_size,
                               StepSums& sums) {
  executor_.ingest(batch);
  run({Part::kForwardBackward, batch.size, global_batch_size}, launch_);
  copy_sums(sums);
}

void Trainer::update(const UpdateRule& rule) {
  write_schedule(rule);
  run({Part::kUpdate}, launch_);
}

void Trainer::evaluate(const DeviceBatch& batch, StepSums& sums) {
  executor_.ingest(batch);
  run({Part::kEvaluate, batch.size}, launch_);
  copy_sums(sums);
}

void Trainer::run(const Work& work, Launch launch) {
  if (launch == Launch::kStream) return enqueue(work);
  const auto found = graphs_.find(work);
  if (found == graphs_.end()) {
    enqueue(work);
    graphs_.emplace(work, nullptr);  // not before: what failed here would fail in a capture then
    return;
  }
  slackline::cuda::Graph& graph = found->second;
  if (graph == nullptr) {
    graph = slackline::cuda::capture(runtime_, stream_, [&] { enqueue(work); });
  }
  runtime_.launch(graph.get(), stream_);
}

void Trainer::enqueue(const Work& work) {
  switch (work.part) {
    case Part::kEvaluate:
      return executor_.run(Mode::kEvaluation, work.size, work.global_batch_size);
    case Part::kForwardBackward:
      return executor_.run(Mode::kTraining, work.size, work.global_batch_size);
    case Part::kTrain:
      compute_gradients(work);
      break;
    case Part::kUpdate:
      break;
  }
  executor_.update();
}

void Trainer::compute_gradients(const Work& work) {
  if (work.exchange == nullptr) {
    executor_.run(Mode::kTraining, work.size, work.global_batch_size);
  } else if (work.size == 0) {
    executor_.exchange_zeros(*work.exchange);
  } else {
    executor_.run(work.size, work.global_batch_size, *work.exchange);
  }
}

/// Without a table, as upstream's callback: a small copy from the host at the start of a step, if
/// the rate has changed. With one, only where steps do not follow each other.
void Trainer::write_schedule(const UpdateRule& rule) {
  const bool is_known =
      last_rule_.has_value() &&
      (executor_.has_rate_table() ? rule.step == last_rule_->step + 1
                                  : rule.learning_rate == last_rule_->learning_rate);
  last_rule_ = rule;
  if (is_known) return;
  InFlight& slot = in_flight_[next_slot_];
  if (slot.is_used && !runtime_.is_done(slot.copied.get())) {
    runtime_.synchronize(slot.copied.get());
  }
  Schedule* const from = schedules_.data() + next_slot_;
  *from = {.rate = rule.learning_rate, .step = static_cast<std::int64_t>(rule.step)};
  runtime_.copy(executor_.schedule(), from, sizeof(Schedule), stream_);
  runtime_.record(slot.copied.get(), stream_);
  slot.is_used = true;
  next_slot_ = (next_slot_ + 1) % kInFlight;
}

void Trainer::copy_sums(StepSums& sums) {
  runtime_.copy(&sums, executor_.sums(), sizeof(StepSums), stream_);
}

}  // namespace slackline::net::cuda
