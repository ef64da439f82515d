#include "input_chain.h"

#include <algorithm>
#include <utility>

namespace slackline {

std::int32_t StepBatches::samples() const {
  std::int32_t sum = 0;
  for (const Batch* batch : lent) sum += batch->size;
  return sum;
}

BatchDigest StepBatches::digest() const {
  BatchDigest sum;
  for (const Batch* batch : lent) sum.append(batch->digest);
  return sum;
}

InputChain::InputChain(BatchReaderPlan plan, BadSampleAccount& account, Prefetcher& prefetcher,
                       Strategy& strategy, Clock& clock, const InputOptions& options)
    : drop_rests_(plan.drop_remainder), replays_step_(options.replay == Replay::kDevice) {
  StreamEnd end{.device = StreamEnd::kHost,
                .device_count = strategy.device_count(),
                .uploads = true,
                .has_input_work = plan.source->format() != RecordFormat::kPixels &&
                                  options.replay != Replay::kBatches &&
                                  options.replay != Replay::kDevice};
  if (options.replay == Replay::kRecords) {
    replayed_records_ = std::make_unique<ReplayedRecords>(
        *plan.source, static_cast<std::uint64_t>(options.replay_records));
    plan.source = replayed_records_.get();
  }
  reader_ = std::make_unique<BatchReader>(std::move(plan), account);
  BatchStream* batches = reader_.get();
  if (options.replay == Replay::kBatches) {
    replayed_batches_ = std::make_unique<ReplayedBatches>(
        *reader_, static_cast<std::uint64_t>(options.replay_steps),
        static_cast<std::uint64_t>(end.device_count));
    batches = replayed_batches_.get();
  }
  host_ = prefetcher.wrap(*batches, end);
  if (end.device_count > 1) {
    constexpr std::int32_t kSlots = 1;  // as upstream's max_buffer_size
    splitter_ = std::make_unique<DeviceSplitter>(*host_, end.device_count, kSlots, clock);
  }
  for (end.device = 0; end.device < end.device_count; ++end.device) {
    DeviceEnd& device = devices_.emplace_back();
    device.host = std::make_unique<TimedStream>(
        splitter_ == nullptr ? *host_ : splitter_->stream(end.device));
    device.upload = strategy.upload(*device.host, end.device);
    end.uploads = device.upload != nullptr;
    if (end.uploads) device.uploaded = std::make_unique<TimedStream>(*device.upload);
    device.prefetched = prefetcher.wrap(end.uploads ? *device.uploaded : *device.host, end);
  }
}

InputChain::~InputChain() {
  if (replays_step_) return_loans(replayed_);
}

bool InputChain::next(StepBatches& step) {
  if (replays_step_ && !replayed_.lent.empty()) {
    step = replayed_;
    return true;
  }
  while (collect(step)) {
    const bool is_rest = std::any_of(step.lent.begin(), step.lent.end(),
                                     [](const Batch* batch) { return batch->is_rest; });
    if (step.samples() > 0 && !(is_rest && drop_rests_)) {
      if (replays_step_) {
        replayed_ = step;
        reader_->cancel();  // it may rest now
      }
      return true;
    }
    return_loans(step);
  }
  return false;
}

/// One batch from each device's stream; false if one has no more.
bool InputChain::collect(StepBatches& step) {
  try {
    for (const DeviceEnd& device : devices_) {
      const Batch* const batch = device.prefetched->next();
      if (batch == nullptr) {
        return_loans(step);
        return false;
      }
      step.lent.push_back(batch);
      step.given.push_back(batch->size > 0 ? batch : nullptr);
    }
  } catch (...) {
    return_loans(step);
    throw;
  }
  return true;
}

void InputChain::give_back(StepBatches& step) noexcept {
  if (!replays_step_) return_loans(step);
  step.lent.clear();
  step.given.clear();
}

void InputChain::return_loans(StepBatches& step) noexcept {
  for (std::size_t i = 0; i < step.lent.size(); ++i) {
    devices_[i].prefetched->give_back(step.lent[i]);
  }
  step.lent.clear();
  step.given.clear();
}

void InputChain::cancel() noexcept {
  for (const DeviceEnd& device : devices_) device.prefetched->cancel();
}

std::optional<std::chrono::nanoseconds> InputChain::upload_time() const {
  std::optional<std::chrono::nanoseconds> sum;
  for (const DeviceEnd& device : devices_) {
    if (device.uploaded == nullptr) continue;
    sum = sum.value_or(std::chrono::nanoseconds{}) + device.uploaded->time() - device.host->time();
  }
  return sum;
}

}  // namespace slackline
