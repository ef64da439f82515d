#include "gpu_replica/upload_stream.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "cuda/nvtx_range.h"
#include "nn/model_checks.h"
#include "replicas/traced_span.h"

namespace slackline::gpu {

UploadStream::UploadStream(BatchStream& host, const ModelSpec& spec, cuda::Runtime& runtime,
                           TraceTrack& track, const StepDeadline& deadline)
    : host_(host),
      spec_(spec),
      runtime_(runtime),
      track_(track),
      deadline_(deadline),
      stream_(cuda::make_stream(runtime)) {}

UploadStream::~UploadStream() {
  if (runtime_.is_abandoned()) return;
  for (void* memory : pinned_) runtime_.unpin(memory);
}

const Batch* UploadStream::next() {
  const Batch* const host_batch = host_.next();
  if (host_batch == nullptr) return nullptr;
  /// Goes back whatever happens.
  struct Loan {
    BatchStream& from;
    const Batch* batch;
    ~Loan() { from.give_back(batch); }
  } const loan{host_, host_batch};
  nn::check_batch(*host_batch, spec_);
  runtime_.use_device(spec_.device.index);
  pin(*host_batch);
  Slot& slot = free_slot();
  copy(*host_batch, slot);
  const std::lock_guard lock(mutex_);
  slot.is_lent = true;
  return &slot.batch;
}

UploadStream::Slot& UploadStream::free_slot() {
  {
    const std::lock_guard lock(mutex_);
    const auto slot = std::ranges::find(slots_, false, &Slot::is_lent);
    if (slot != slots_.end()) return *slot;
  }
  const auto samples = static_cast<std::size_t>(spec_.max_batch_size);
  Slot made;
  made.images = {runtime_, samples * spec_.image.size()};
  made.labels = {runtime_, samples};
  made.labels_of_host = {runtime_, samples};
  made.copied = cuda::make_event(runtime_);
  const std::lock_guard lock(mutex_);
  return slots_.emplace_back(std::move(made));
}

void UploadStream::pin(const Batch& batch) {
  // The runtime only reads what it pins.
  void* const memory = const_cast<std::uint8_t*>(batch.images.data());
  if (batch.images.empty() || std::ranges::find(pinned_, memory) != pinned_.end()) return;
  const std::size_t bytes = static_cast<std::size_t>(spec_.max_batch_size) * spec_.image.size();
  runtime_.pin(memory, bytes);
  pinned_.push_back(memory);
}

void UploadStream::copy(const Batch& batch, Slot& slot) {
  const TracedSpan span(track_, "upload", deadline_.clock, batch.index);
  const cuda::NvtxRange range("upload");
  slot.batch = batch;
  slot.batch.images = {slot.images.data(), batch.images.size()};
  slot.batch.labels = {slot.labels.data(), batch.labels.size()};
  slot.batch.ready = slot.copied.get();
  if (batch.size == 0) {
    slot.batch.ready = nullptr;
    return;
  }
  std::ranges::copy(batch.labels, slot.labels_of_host.data());
  runtime_.copy(slot.images.data(), batch.images.data(), batch.images.size_bytes(), stream_.get());
  runtime_.copy(slot.labels.data(), slot.labels_of_host.data(), batch.labels.size_bytes(),
                stream_.get());
  runtime_.record(slot.copied.get(), stream_.get());
  wait_for(slot);
}

void UploadStream::wait_for(const Slot& slot) {
  if (deadline_.limit.count() == 0) return runtime_.synchronize(slot.copied.get());
  const auto pause = [this] {
    runtime_.check_abandoned();
    sleep_a_moment(deadline_.clock);
  };
  if (wait_within(
          deadline_, [&] { return runtime_.is_done(slot.copied.get()); }, pause))
    return;
  runtime_.abandon(
      spec_.device.index,
      overdue(spec_.device.index, text("the upload of batch ", slot.batch.index), deadline_) +
          ", because the GPU hangs");
  runtime_.check_abandoned();
}

void UploadStream::give_back(const Batch* batch) noexcept {
  const std::lock_guard lock(mutex_);
  const auto slot =
      std::ranges::find_if(slots_, [&](const Slot& each) { return &each.batch == batch; });
  assert(slot != slots_.end() && slot->is_lent);
  slot->is_lent = false;
}

void UploadStream::cancel() noexcept { host_.cancel(); }

}  // namespace slackline::gpu
