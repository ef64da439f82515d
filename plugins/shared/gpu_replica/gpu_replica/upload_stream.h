#pragma once

#include <slackline/batch.h>
#include <slackline/model.h>
#include <slackline/trace.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "cuda/handles.h"
#include "gpu_replica/device_wait.h"

namespace slackline::gpu {

/// Copies batches to a GPU, on a stream of its own. next() returns when the copy is done, as
/// upstream's prefetcher at a device waits for it; the batch of the host has then gone back.
///
/// The host's memory is pinned where it is, the first time that a batch in it comes, so that pixels
/// are copied once. Labels go through pinned memory of this stream: they are few, and several
/// batches' may share a page, which cannot be pinned twice.
///
/// Lifecycle  as BatchStream; memory is allocated and pinned as the first batches come.
/// Threads    as BatchStream.
/// Errors     those of `host`; DataError for a label outside the classes, which nobody can see on
///            the device; DeviceError. A copy that misses the deadline abandons the device
///            (cuda::Runtime), and one of a device that was abandoned ends.
class UploadStream final : public BatchStream {
 public:
  /// `spec` is the model's. All must outlive this.
  UploadStream(BatchStream& host, const ModelSpec& spec, cuda::Runtime& runtime, TraceTrack& track,
               const StepDeadline& deadline);
  ~UploadStream() override;

  [[nodiscard]] const Batch* next() override;
  void give_back(const Batch* batch) noexcept override;
  void cancel() noexcept override;

 private:
  /// Memory for one batch on the device.
  struct Slot {
    cuda::DeviceBuffer<std::uint8_t> images;
    cuda::DeviceBuffer<std::int32_t> labels;
    cuda::PinnedBuffer<std::int32_t> labels_of_host;
    cuda::Event copied;
    Batch batch;
    bool is_lent = false;
  };

  [[nodiscard]] Slot& free_slot();
  void pin(const Batch& batch);
  void copy(const Batch& batch, Slot& slot);
  void wait_for(const Slot& slot);

  BatchStream& host_;
  const ModelSpec spec_;
  cuda::Runtime& runtime_;
  TraceTrack& track_;
  const StepDeadline deadline_;
  const cuda::Stream stream_;
  std::vector<void*> pinned_;

  std::mutex mutex_;        ///< the slots' is_lent
  std::deque<Slot> slots_;  ///< as many as were ever lent at once; addresses stay
};

}  // namespace slackline::gpu
