#include "net_cpu/memory.h"

#include <cstring>
#include <new>

#include <sys/mman.h>

namespace slackline::net::cpu {

Memory::Memory(std::size_t bytes) : size_(bytes) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const std::size_t alignment = bytes < kHugePage ? 4096 : kHugePage;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (rounded == 0) return;
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
  if (data_ == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) ::madvise(data_.get(), rounded, MADV_HUGEPAGE);  // only advice
  std::memset(data_.get(), 0, rounded);
}

}  // namespace slackline::net::cpu
