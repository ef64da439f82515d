#pragma once

#include "bodies/body.h"

namespace slackline::net::cuda::bodies {

/// Combines the values of a block's threads in a fixed order; the whole is every thread's result.
/// `shared` has a place for each thread and may be used again afterwards. kThreads is a power of 2.
template <int kThreads, class Block, class T, class Combine>
SLACKLINE_BODY T reduce(const Block& block, T* shared, T value, Combine combine) {
  static_assert((kThreads & (kThreads - 1)) == 0);
  shared[block.thread()] = value;
  block.sync();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (block.thread() < half) {
      shared[block.thread()] = combine(shared[block.thread()], shared[block.thread() + half]);
    }
    block.sync();
  }
  const T whole = shared[0];
  block.sync();
  return whole;
}

}  // namespace slackline::net::cuda::bodies
