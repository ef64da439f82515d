#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

#include "cuda/runtime.h"

namespace slackline::cuda {

/// Gives what a Runtime made back to it, unless the device was abandoned. The Runtime outlives all
/// of them.
struct Destroy {
  Runtime* runtime = nullptr;
  template <class Handle>
  void operator()(Handle* handle) const noexcept {
    if (!runtime->is_abandoned()) runtime->destroy(handle);
  }
};

using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, Destroy>;
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, Destroy>;
using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, Destroy>;

[[nodiscard]] inline Stream make_stream(Runtime& runtime, int priority = 0) {
  return {runtime.create_stream(priority), Destroy{&runtime}};
}
[[nodiscard]] inline Event make_event(Runtime& runtime) {
  return {runtime.create_event(), Destroy{&runtime}};
}
[[nodiscard]] inline Event make_timing_event(Runtime& runtime) {
  return {runtime.create_timing_event(), Destroy{&runtime}};
}

/// What `enqueue` gives to the stream, as a graph.
template <class F>
[[nodiscard]] Graph capture(Runtime& runtime, cudaStream_t stream, F enqueue) {
  const auto end = [&] { return Graph(runtime.end_capture(stream), Destroy{&runtime}); };
  runtime.begin_capture(stream);
  try {
    enqueue();
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

/// Where a buffer lies.
struct DeviceMemory {
  static void* allocate(Runtime& runtime, std::size_t bytes) { return runtime.allocate(bytes); }
  static void free(Runtime& runtime, void* memory) noexcept { runtime.free(memory); }
};
struct PinnedMemory {
  static void* allocate(Runtime& runtime, std::size_t bytes) {
    return runtime.allocate_pinned(bytes);
  }
  static void free(Runtime& runtime, void* memory) noexcept { runtime.free_pinned(memory); }
};

/// Memory for values of one type, not initialised.
template <class T, class Memory>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  Buffer(Runtime& runtime, std::size_t size)
      : memory_(size == 0 ? nullptr : Memory::allocate(runtime, size * sizeof(T)), Free{&runtime}),
        size_(size) {}

  [[nodiscard]] T* data() const { return static_cast<T*>(memory_.get()); }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t bytes() const { return size_ * sizeof(T); }
  [[nodiscard]] std::span<T> span() const { return {data(), size_}; }
  [[nodiscard]] MemoryRange range() const { return {memory_.get(), bytes()}; }

 private:
  struct Free {
    Runtime* runtime = nullptr;
    void operator()(void* memory) const noexcept {
      if (!runtime->is_abandoned()) Memory::free(*runtime, memory);
    }
  };

  std::unique_ptr<void, Free> memory_;
  std::size_t size_ = 0;
};

template <class T>
using DeviceBuffer = Buffer<T, DeviceMemory>;
template <class T>
using PinnedBuffer = Buffer<T, PinnedMemory>;

}  // namespace slackline::cuda
