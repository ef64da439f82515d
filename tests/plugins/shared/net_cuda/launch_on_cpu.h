#pragma once

// Compiles the kernels' own files for the CPU: the launches of kernels.h run emulated blocks.

#include <cuda_runtime_api.h>

#include "kernels/emulated_launch.h"

namespace slackline::net::cuda {

class StreamLaunch {
 public:
  explicit StreamLaunch(cudaStream_t) {}

  template <class Body>
  void operator()(const bodies::Grid& grid, const Body& body) const {
    EmulatedLaunch()(grid, body);
  }
};

}  // namespace slackline::net::cuda
