#include "net_cuda/trainer.h"

namespace slackline::net::cuda {

Trainer::Trainer(Executor& executor, Launch launch, Runtime& runtime, cudaStream_t stream)
    : executor_(executor),
      launch_(launch),
      runtime_(runtime),
      stream_(stream),
      rates_(runtime, kRatesInFlight),
      in_flight_(kRatesInFlight) {
  for (RateInFlight& each : in_flight_) each.copied = slackline::cuda::make_event(runtime);
}

void Trainer::train(const DeviceBatch& batch, std::int32_t global_batch_size, float rate,
                    StepSums& sums) {
  executor_.ingest(batch);
  write_rate(rate);
  run(Part::kTrain, batch.size, global_batch_size);
  copy_sums(sums);
}

void Trainer::forward_backward(const DeviceBatch& batch, std::int32_t global_batch_size,
                               StepSums& sums) {
  executor_.ingest(batch);
  run(Part::kForwardBackward, batch.size, global_batch_size);
  copy_sums(sums);
}

void Trainer::update(float rate) {
  write_rate(rate);
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

/// As upstream's callback: a small copy from the host at the start of a step, if it has changed.
void Trainer::write_rate(float rate) {
  if (rate == written_rate_) return;
  written_rate_ = rate;
  RateInFlight& slot = in_flight_[next_rate_];
  if (slot.is_used && !runtime_.is_done(slot.copied.get())) {
    runtime_.synchronize(slot.copied.get());
  }
  float* const from = rates_.data() + next_rate_;
  *from = rate;
  runtime_.copy(&executor_.schedule()->rate, from, sizeof(float), stream_);
  runtime_.record(slot.copied.get(), stream_);
  slot.is_used = true;
  next_rate_ = (next_rate_ + 1) % kRatesInFlight;
}

void Trainer::copy_sums(StepSums& sums) {
  runtime_.copy(&sums, executor_.sums(), sizeof(StepSums), stream_);
}

}  // namespace slackline::net::cuda
