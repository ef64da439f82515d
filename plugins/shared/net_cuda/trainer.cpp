#include "net_cuda/trainer.h"

#include <slackline/error.h>

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
  run({Part::kTrain, batch.size, global_batch_size}, launch_);
  copy_sums(sums);
}

void Trainer::train(const DeviceBatch& batch, std::int32_t global_batch_size, float rate,
                    StepSums& sums, GradientExchange& exchange, std::int32_t replicas) {
  const auto full = static_cast<std::int32_t>(executor_.layout().batch_size);
  const bool are_all_full = global_batch_size == replicas * full;
  if (batch.size > 0) executor_.ingest(batch);
  write_rate(rate);
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

void Trainer::update(float rate) {
  write_rate(rate);
  run({Part::kUpdate}, launch_);
}

void Trainer::evaluate(const DeviceBatch& batch, StepSums& sums) {
  executor_.ingest(batch);
  run({Part::kEvaluate, batch.size}, launch_);
  copy_sums(sums);
}

void Trainer::run(const Work& work, Launch launch) {
  if (launch == Launch::kStream) return enqueue(work);
  const auto [found, is_new] = graphs_.try_emplace(work);
  if (is_new) return enqueue(work);
  slackline::cuda::Graph& graph = found->second;
  if (graph == nullptr) graph = capture(work);
  runtime_.launch(graph.get(), stream_);
}

slackline::cuda::Graph Trainer::capture(const Work& work) {
  const auto end = [this] {
    return slackline::cuda::Graph(runtime_.end_capture(stream_),
                                  slackline::cuda::Destroy{&runtime_});
  };
  runtime_.begin_capture(stream_);
  try {
    enqueue(work);
  } catch (...) {
    // What was captured so far must not stay: it may hold a communicator.
    try {
      end();
    } catch (const DeviceError&) {
      // A capture that cannot be ended as a graph is ended all the same.
    }
    throw;
  }
  return end();
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
