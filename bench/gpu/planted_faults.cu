#include "cuda/handles.h"
#include "cuda/runtime.h"
#include "planted_faults.h"

namespace slackline::bench {
namespace {

constexpr int kThreads = 64;

__global__ void write_one_too_many(int* values) { values[threadIdx.x + 1] = 1; }

/// Without a barrier between what the first warp writes and the second reads.
__global__ void race(int* values) {
  __shared__ int shared[kThreads];
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  values[threadIdx.x] = shared[kThreads - 1 - threadIdx.x];
}

}  // namespace

void plant_fault(bool is_race) {
  cuda::Runtime& runtime = cuda::runtime();
  const cuda::Stream stream = cuda::make_stream(runtime);
  const cuda::DeviceBuffer<int> values(runtime, kThreads);
  (is_race ? race : write_one_too_many)<<<1, kThreads, 0, stream.get()>>>(values.data());
  cuda::check(cudaGetLastError(), "launch a kernel with a fault");
  runtime.synchronize(stream.get());
}

}  // namespace slackline::bench
