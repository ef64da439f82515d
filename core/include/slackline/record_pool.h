#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace slackline {

/// Memory for the records that a Source lends: buffers of many sizes that are used again and again,
/// so a steady run allocates nothing.
///
/// Buffers are kept by size, four sizes to each doubling. One list for all would let every buffer
/// grow to the largest record there is: with ten thousand of them in a shuffle buffer, gigabytes.
///
/// Threads    any.
class RecordPool {
 public:
  class Buffer {
   public:
    [[nodiscard]] std::byte* data() noexcept { return memory_.get(); }

   private:
    friend class RecordPool;
    std::unique_ptr<std::byte[]> memory_;
    Buffer* next_free_ = nullptr;
    std::size_t size_class_ = 0;
  };

  /// A buffer of `size` bytes or a few more, uninitialised, borrowed until give_back().
  [[nodiscard]] Buffer* take(std::size_t size) {
    const SizeClass wanted = size_class(size);
    const std::lock_guard lock(mutex_);
    if (Buffer* const buffer = free_[wanted.index]; buffer != nullptr) {
      free_[wanted.index] = buffer->next_free_;
      return buffer;
    }
    auto made = std::make_unique<Buffer>();
    made->memory_ = std::make_unique_for_overwrite<std::byte[]>(wanted.capacity);
    made->size_class_ = wanted.index;
    return all_.emplace_back(std::move(made)).get();
  }

  void give_back(Buffer* buffer) noexcept {
    const std::lock_guard lock(mutex_);
    buffer->next_free_ = free_[buffer->size_class_];
    free_[buffer->size_class_] = buffer;
  }

  /// Buffers allocated so far, lent or not.
  [[nodiscard]] std::size_t buffer_count() const {
    const std::lock_guard lock(mutex_);
    return all_.size();
  }

 private:
  struct SizeClass {
    std::size_t index;
    std::size_t capacity;  ///< in bytes
  };

  static SizeClass size_class(std::size_t size) noexcept {
    constexpr std::size_t kSmallest = 256;
    const std::size_t last = (size < kSmallest ? kSmallest : size) - 1;
    const auto octave = static_cast<std::size_t>(std::bit_width(last));  // 2^(octave-1) <= last
    const std::size_t step = octave - 3;
    return {octave * 4 + ((last >> step) & 3), ((last >> step) + 1) << step};
  }

  mutable std::mutex mutex_;
  std::array<Buffer*, 65 * 4> free_{};  ///< one list for each size
  std::vector<std::unique_ptr<Buffer>> all_;
};

}  // namespace slackline
