#pragma once

#include <slackline/error.h>

#include "bodies/body.h"
#include "bodies/vector.h"
#include "cuda/runtime.h"
#include "net_cuda/kernels.h"

#ifndef __CUDACC__
#include "launch_on_cpu.h"  // the tests', which compile the files that include this for the CPU
#endif

namespace slackline::net::cuda {

#ifdef __CUDACC__

/// A Block on the GPU.
struct DeviceBlock {
  __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ static std::int64_t x() { return blockIdx.x; }
  __device__ __forceinline__ static std::int64_t y() { return blockIdx.y; }
  __device__ __forceinline__ static std::int64_t z() { return blockIdx.z; }
  __device__ __forceinline__ static void sync() { __syncthreads(); }
};

/// How many blocks a multiprocessor must have the registers for; 0 leaves it to the compiler.
template <class Body>
constexpr int resident_blocks() {
  if constexpr (requires { Body::kResidentBlocks; }) {
    return Body::kResidentBlocks;
  } else {
    return 0;
  }
}

template <class Body>
__global__ void __launch_bounds__(Body::kThreads, resident_blocks<Body>())
    run(const __grid_constant__ Body body) {
  __shared__ typename Body::Shared shared;
  body(DeviceBlock{}, shared);
}

/// Launches bodies on a stream.
class StreamLaunch {
 public:
  explicit StreamLaunch(cudaStream_t stream) : stream_(stream) {}

  template <class Body>
  void operator()(const bodies::Grid& grid, const Body& body) const {
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                      static_cast<unsigned>(grid.z));
    run<<<blocks, Body::kThreads, 0, stream_>>>(body);
    const cudaError_t status = cudaGetLastError();
    if (status != cudaSuccess) {
      slackline::cuda::check(status, text("launch ", Body::kName, " on ", grid.x, " x ", grid.y,
                                          " x ", grid.z, " blocks"));
    }
  }

 private:
  cudaStream_t stream_;
};

#endif

/// Calls `function` with a value of the type that `precision` stores.
template <class Function>
void with_type_of(Precision precision, Function function) {
  switch (precision) {
    case Precision::kFloat32:
      return function(float{});
    case Precision::kFloat16:
      return function(__half{});
    case Precision::kBfloat16:
      return function(__nv_bfloat16{});
  }
}

}  // namespace slackline::net::cuda
