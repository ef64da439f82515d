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
  run(Part::kTrain, batch.size, global_batch_size);
  copy_sums(sums);
}

void Trainer::forward_backward(const DeviceBatch& batch, std::int32_t global_batch_size,
                               StepSums& sums) {
  executor_.ingest(batch);
  run(Part::kForwardBackward, batch.size, global_batch_size);
  copy_sums(sums);
}

void Trainer::update(const UpdateRule& rule) {
  write_schedule(rule);
  run(Part::kUpdate, 0, 0);
}

void Trainer::evaluate(const DeviceBatch& batch, StepSums& sums) {
  executor_.ingest(batch);
  run(Part::kEvaluate, batch.size, 0);
  copy_sums(sums);
}

void Trainer::run(Part part, std::int32_t size, std::int32_t global_batch_size) {
  if (launch_ == Launch::kStream) return enqueue(part, size, global_batch_size);
  const auto [found, is_new] = graphs_.try_emplace(Key{part, size, global_batch_size});
  if (is_new) return enqueue(part, size, global_batch_size);
  slackline::cuda::Graph& graph = found->second;
  if (graph == nullptr) {
    runtime_.begin_capture(stream_);
    enqueue(part, size, global_batch_size);
    graph = {runtime_.end_capture(stream_), slackline::cuda::Destroy{&runtime_}};
  }
  runtime_.launch(graph.get(), stream_);
}

void Trainer::enqueue(Part part, std::int32_t size, std::int32_t global_batch_size) {
  if (part == Part::kEvaluate) {
    executor_.run(Mode::kEvaluation, size, global_batch_size);
  } else if (part != Part::kUpdate) {
    executor_.run(Mode::kTraining, size, global_batch_size);
  }
  if (part == Part::kTrain || part == Part::kUpdate) executor_.update();
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
