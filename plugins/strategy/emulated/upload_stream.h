#pragma once

#include <slackline/batch.h>
#include <slackline/clock.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>

#include "emulated/device.h"

namespace slackline {

/// Copies batches to an emulated device. next() returns when the copy is done, as upstream's
/// prefetcher at a device waits for it, and the batch of the host has then gone back. The device's
/// batches tell everything but hold no bytes: `images` and `labels` are empty.
///
/// Lifecycle  as BatchStream.
/// Threads    as BatchStream.
/// Errors     those of `host`.
class UploadStream final : public BatchStream {
 public:
  /// Each value of an image takes `bytes_per_value` on its way. All must outlive this.
  UploadStream(BatchStream& host, emulated::EmulatedDevice& device, std::int32_t bytes_per_value,
               Clock& clock);

  [[nodiscard]] const Batch* next() override;
  void give_back(const Batch* batch) noexcept override;
  void cancel() noexcept override;

 private:
  [[nodiscard]] bool copy(const Batch& batch);
  [[nodiscard]] const Batch* lend(const Batch& host_batch);

  BatchStream& host_;
  emulated::EmulatedDevice& device_;
  const std::uint64_t bytes_per_value_;
  Clock& clock_;

  std::mutex mutex_;  ///< everything below
  std::condition_variable cancelled_changed_;
  bool cancelled_ = false;
  struct Slot {
    Batch batch;
    bool is_lent = false;
  };
  std::deque<Slot> slots_;  ///< as many as were ever lent at once; addresses stay
};

}  // namespace slackline
