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

/// Memory for the records that a Source lends: buffers that are used again and again, so a steady
/// run allocates nothing.
///
/// With Fit::kTight buffers are kept by size, four sizes to each doubling. One list for all would
/// let every buffer grow to the largest record there is: with ten thousand of them in a shuffle
/// buffer, gigabytes. Without such a store, one list is faster: reading into memory that the cache
/// holds costs a third less.
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
    std::size_t capacity_ = 0;  ///< bytes
    std::size_t list_ = 0;      ///< the list of free buffers that it belongs to
  };

  /// What to look for first.
  enum class Fit {
    kTight,  ///< little waste: for many records that stay
    kWarm    ///< the last one given back that is large enough, which the CPU's cache still holds:
             ///< for few records that soon go
  };

  explicit RecordPool(Fit fit = Fit::kTight) noexcept : fit_(fit) {}

  /// A buffer of `size` bytes or more, uninitialised, borrowed until give_back().
  [[nodiscard]] Buffer* take(std::size_t size) {
    const SizeClass wanted = size_class(size);
    const std::size_t list = fit_ == Fit::kTight ? wanted.index : 0;
    const std::lock_guard lock(mutex_);
    for (Buffer** link = &free_[list]; *link != nullptr; link = &(*link)->next_free_) {
      if ((*link)->capacity_ < size) continue;
      Buffer* const found = *link;
      *link = found->next_free_;
      return found;
    }
    auto made = std::make_unique<Buffer>();
    made->memory_ = std::make_unique_for_overwrite<std::byte[]>(wanted.capacity);
    made->capacity_ = wanted.capacity;
    made->list_ = list;
    return all_.emplace_back(std::move(made)).get();
  }

  void give_back(Buffer* buffer) noexcept {
    const std::lock_guard lock(mutex_);
    buffer->next_free_ = free_[buffer->list_];
    free_[buffer->list_] = buffer;
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

  const Fit fit_;
  mutable std::mutex mutex_;
  std::array<Buffer*, 65 * 4> free_{};  ///< one list for each size; with kWarm only the first
  std::vector<std::unique_ptr<Buffer>> all_;
};

}  // namespace slackline
