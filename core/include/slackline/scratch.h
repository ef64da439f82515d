#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

namespace slackline {

/// Memory that a worker lends to a Transform for one sample. It grows to what the largest sample
/// needed and is then reused, so a steady run allocates nothing.
///
/// Threads    one worker's own.
class Scratch {
 public:
  /// `count` uninitialised elements, aligned to 64 bytes, valid until the next reset().
  template <class T>
  [[nodiscard]] std::span<T> take(std::size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    return {reinterpret_cast<T*>(take_bytes(count * sizeof(T))), count};
  }

  /// Takes back everything that was lent. Blocks that had to be added are joined into one.
  void reset() {
    if (blocks_.size() > 1) {
      std::size_t total = 0;
      for (const Block& block : blocks_) total += block.size;
      blocks_.clear();
      blocks_.push_back(make_block(total));
    }
    used_ = 0;
  }

 private:
  struct AlignedDelete {
    void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
  };
  struct Block {
    std::unique_ptr<std::byte, AlignedDelete> memory;
    std::size_t size = 0;
  };
  static constexpr std::align_val_t kAlignment{64};

  static Block make_block(std::size_t size) {
    return {std::unique_ptr<std::byte, AlignedDelete>(
                static_cast<std::byte*>(::operator new(size, kAlignment))),
            size};
  }

  std::byte* take_bytes(std::size_t size) {
    const std::size_t rounded = (size + 63) / 64 * 64;
    if (blocks_.empty() || blocks_.back().size - used_ < rounded) {
      blocks_.push_back(make_block(rounded));
      used_ = 0;
    }
    std::byte* const memory = blocks_.back().memory.get() + used_;
    used_ += rounded;
    return memory;
  }

  std::vector<Block> blocks_;  ///< only the last one has room
  std::size_t used_ = 0;       ///< bytes of the last block
};

}  // namespace slackline
