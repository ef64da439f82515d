#pragma once

#include <slackline/error.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include <cuda_runtime_api.h>

/// All that plugins for GPUs need of CUDA's runtime, in one small library: core knows nothing of
/// it.
namespace slackline::cuda {

/// Throws DeviceError with CUDA's own words: "cannot <what>: out of memory (2)".
void check(cudaError_t status, std::string_view what);

/// Memory that a piece of work reads or writes: the device's or pinned memory of the host.
struct MemoryRange {
  const void* begin = nullptr;
  std::size_t bytes = 0;
};

/// A piece of work for a stream, as it is told apart from others: what is wrong with an order of
/// work can be seen from this alone, without a GPU.
struct Work {
  std::string_view name;  ///< ends with a zero byte
  std::span<const MemoryRange> reads, writes;
};

/// What is used of the CUDA runtime, as a seam: the real one, or one that records and judges the
/// calls on a machine that has no GPU.
///
/// Threads    any. A stream is used by one thread at a time, and so is one that captures.
/// Errors     DeviceError, with what was asked for.
class Runtime {
 public:
  Runtime() = default;
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  virtual ~Runtime();

  /// The device does not answer any more, and nobody knows what it may still touch: from here on
  /// owners of memory, streams, events and graphs (cuda/handles.h) give nothing back, as CUDA would
  /// wait for the device. The process must end, and does so by _exit() (slackline/left_behind.h).
  void abandon(int device, const std::string& reason);
  [[nodiscard]] bool is_abandoned() const noexcept { return is_abandoned_; }
  /// Throws the reason as a DeviceError once the device was abandoned.
  void check_abandoned() const;

  /// Makes `device` that of the calling thread.
  virtual void use_device(int device) = 0;

  // Memory. Neither may happen while a stream captures.

  [[nodiscard]] virtual void* allocate(std::size_t bytes) = 0;  ///< on the device; 256-byte aligned
  virtual void free(void* memory) noexcept = 0;
  [[nodiscard]] virtual void* allocate_pinned(std::size_t bytes) = 0;  ///< of the host
  virtual void free_pinned(void* memory) noexcept = 0;
  /// Pins memory of the host that others have allocated, until it is unpinned.
  virtual void pin(void* memory, std::size_t bytes) = 0;
  virtual void unpin(void* memory) noexcept = 0;

  // Streams and events.

  /// Of `priority` 0, or lower numbers for streams that go first. Does not wait for the default
  /// stream.
  [[nodiscard]] virtual cudaStream_t create_stream(int priority) = 0;
  virtual void destroy(cudaStream_t stream) noexcept = 0;
  /// Without timing.
  [[nodiscard]] virtual cudaEvent_t create_event() = 0;
  /// For microseconds_between().
  [[nodiscard]] virtual cudaEvent_t create_timing_event() = 0;
  virtual void destroy(cudaEvent_t event) noexcept = 0;

  virtual void record(cudaEvent_t event, cudaStream_t stream) = 0;
  /// Lets the stream wait; returns at once.
  virtual void wait(cudaStream_t stream, cudaEvent_t event) = 0;
  /// Whether the work before the record() is done.
  [[nodiscard]] virtual bool is_done(cudaEvent_t event) = 0;
  /// Lets the calling thread wait, asleep.
  virtual void synchronize(cudaEvent_t event) = 0;
  virtual void synchronize(cudaStream_t stream) = 0;
  /// Of the device's time, from one record() of timing events to another; both are done.
  [[nodiscard]] virtual double microseconds_between(cudaEvent_t begin, cudaEvent_t end) = 0;

  // Work. All of these return once enqueued.

  /// `to` and `from` are the device's or pinned.
  virtual void copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream) = 0;
  virtual void fill(void* memory, int byte, std::size_t bytes, cudaStream_t stream) = 0;
  /// `call` enqueues the work: kernels, plans of cuDNN, collectives.
  virtual void enqueue(const Work& work, cudaStream_t stream,
                       const std::function<void(cudaStream_t)>& call) = 0;

  // Graphs.

  /// What is enqueued on the stream, and on streams that wait for it, is recorded until
  /// end_capture().
  virtual void begin_capture(cudaStream_t stream) = 0;
  [[nodiscard]] virtual cudaGraphExec_t end_capture(cudaStream_t stream) = 0;
  virtual void launch(cudaGraphExec_t graph, cudaStream_t stream) = 0;
  virtual void destroy(cudaGraphExec_t graph) noexcept = 0;

 private:
  std::atomic<bool> is_abandoned_ = false;
  mutable std::mutex mutex_;
  std::string reason_;  ///< of the first who gave up
};

/// The machine's own. Lives as long as the process.
[[nodiscard]] Runtime& runtime();

/// Why no GPU can be used here: "no CUDA driver (…)"; empty if one can.
[[nodiscard]] std::string why_unavailable();
/// The same where CUDA finds the driver insufficient, with CUDA's `words` for that;
/// `driver_version` is cudaDriverGetVersion()'s.
[[nodiscard]] std::string why_insufficient(int driver_version, std::string_view words);

}  // namespace slackline::cuda
