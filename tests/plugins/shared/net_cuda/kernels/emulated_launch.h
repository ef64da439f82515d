#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "bodies/body.h"
#include "fibers.h"

namespace slackline::net::cuda {

/// A block on the CPU.
class EmulatedBlock {
 public:
  EmulatedBlock(int thread, Fibers& threads) : thread_(thread), threads_(threads) {}
  void move_to(const bodies::Grid& place) { place_ = place; }

  [[nodiscard]] int thread() const { return thread_; }
  [[nodiscard]] std::int64_t x() const { return place_.x; }
  [[nodiscard]] std::int64_t y() const { return place_.y; }
  [[nodiscard]] std::int64_t z() const { return place_.z; }
  void sync() const { threads_.sync(); }

 private:
  int thread_;
  Fibers& threads_;
  bodies::Grid place_;
};

/// Runs bodies on the CPU, one block after another. What a block shares starts as bytes of 0xff:
/// not a number, as floats.
class EmulatedLaunch {
 public:
  /// Blocks and the threads of each in order; or blocks shuffled by this seed, and threads
  /// backwards.
  EmulatedLaunch() = default;
  explicit EmulatedLaunch(std::uint32_t seed) : seed_(seed), is_shuffled_(true) {}

  template <class Body>
  void operator()(const bodies::Grid& grid, const Body& body) const {
    const std::vector<bodies::Grid> places = places_of(grid);
    static thread_local Fibers threads;  // stacks are used again
    // A block has one of two, while the other is made ready for the next.
    std::array<typename Body::Shared, 2> shared{};
    const auto poison = [&](std::size_t which) {
      std::memset(static_cast<void*>(&shared[which]), 0xff, sizeof(shared[which]));
    };
    poison(0);
    poison(1);
    threads.run(Body::kThreads, is_shuffled_, [&](int thread) {
      EmulatedBlock block(thread, threads);
      for (std::size_t i = 0; i < places.size(); ++i) {
        block.move_to(places[i]);
        body(block, shared[i % 2]);
        block.sync();
        if (thread == 0) poison(i % 2);
      }
    });
  }

 private:
  [[nodiscard]] std::vector<bodies::Grid> places_of(const bodies::Grid& grid) const {
    std::vector<bodies::Grid> places;
    for (std::int64_t z = 0; z < grid.z; ++z) {
      for (std::int64_t y = 0; y < grid.y; ++y) {
        for (std::int64_t x = 0; x < grid.x; ++x) places.push_back({x, y, z});
      }
    }
    if (is_shuffled_) std::shuffle(places.begin(), places.end(), std::mt19937(seed_));
    return places;
  }

  std::uint32_t seed_ = 0;
  bool is_shuffled_ = false;
};

}  // namespace slackline::net::cuda
