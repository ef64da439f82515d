#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "net/program.h"

namespace slackline::net {

/// When a tensor's memory is needed: from operation `first` to operation `last`, both included.
struct Lifetime {
  std::size_t first = 0, last = 0;
  bool is_used = false;  ///< by any operation; persistent tensors are not

  [[nodiscard]] bool overlaps(const Lifetime& other) const {
    return is_used && other.is_used && first <= other.last && other.first <= last;
  }
};

/// Of every tensor, by TensorId.
[[nodiscard]] std::vector<Lifetime> lifetimes_of(const Program& program);

/// Where each tensor lies in one block of memory.
struct ArenaPlan {
  static constexpr std::size_t kAlignment = 256;  ///< bytes; suits any device
  std::vector<std::size_t> offsets;               ///< bytes, by TensorId
  std::size_t bytes = 0;                          ///< of the block
};

/// Tensors that live at the same time do not overlap. First fit by decreasing size, which comes
/// close to the least that any plan needs (the largest sum of what lives at once). `bytes` is by
/// TensorId; 0 for what needs no place.
[[nodiscard]] ArenaPlan plan_arena(std::span<const Lifetime> lifetimes,
                                   std::span<const std::size_t> bytes);

/// The largest sum of bytes that live at once: no plan can do with less.
[[nodiscard]] std::size_t least_bytes(std::span<const Lifetime> lifetimes,
                                      std::span<const std::size_t> bytes);

}  // namespace slackline::net
