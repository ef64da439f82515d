#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace slackline::net::cpu {

/// Zeroed memory in whole huge pages where the kernel has them: what a step reads and writes, at
/// the same places in every step.
class Memory {
 public:
  Memory() = default;
  explicit Memory(std::size_t bytes);

  [[nodiscard]] std::byte* data() const { return data_.get(); }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace slackline::net::cpu
