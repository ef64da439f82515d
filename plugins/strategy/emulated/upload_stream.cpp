#include "upload_stream.h"

#include <algorithm>
#include <cassert>

namespace slackline {

UploadStream::UploadStream(BatchStream& host, emulated::EmulatedDevice& device,
                           std::int32_t bytes_per_value, Clock& clock)
    : host_(host),
      device_(device),
      bytes_per_value_(static_cast<std::uint64_t>(bytes_per_value)),
      clock_(clock) {}

const Batch* UploadStream::next() {
  const Batch* const host_batch = host_.next();
  if (host_batch == nullptr) return nullptr;
  const Batch* const lent = copy(*host_batch) ? lend(*host_batch) : nullptr;
  host_.give_back(host_batch);
  return lent;
}

/// Waits until the batch is on the device; false if cancel() was earlier.
bool UploadStream::copy(const Batch& batch) {
  std::unique_lock lock(mutex_);
  if (cancelled_) return false;
  const std::uint64_t bytes =
      static_cast<std::uint64_t>(batch.size) * batch.shape.size() * bytes_per_value_;
  if (bytes == 0) return true;
  const Clock::Time done_at = device_.copy(bytes, "upload", batch.index);
  return !clock_.wait(lock, cancelled_changed_, done_at, [this] { return cancelled_; });
}

const Batch* UploadStream::lend(const Batch& host_batch) {
  const std::lock_guard lock(mutex_);
  auto slot = std::ranges::find(slots_, false, &Slot::is_lent);
  if (slot == slots_.end()) slot = slots_.emplace(slots_.end());
  slot->batch = host_batch;
  slot->batch.images = {};
  slot->batch.labels = {};
  slot->is_lent = true;
  return &slot->batch;
}

void UploadStream::give_back(const Batch* batch) noexcept {
  const std::lock_guard lock(mutex_);
  const auto slot =
      std::ranges::find_if(slots_, [&](const Slot& each) { return &each.batch == batch; });
  assert(slot != slots_.end() && slot->is_lent);
  slot->is_lent = false;
}

void UploadStream::cancel() noexcept {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  clock_.notify_all(cancelled_changed_);
  host_.cancel();
}

}  // namespace slackline
