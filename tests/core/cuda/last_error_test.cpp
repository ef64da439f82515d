// An error of CUDA's is told once. The linker gives calls of these two functions to the test
// (--wrap in CMakeLists.txt), as without a GPU there is no error but the driver's absence.

#include <slackline/error.h>

#include <utility>

#include <gtest/gtest.h>

#include "cuda/runtime.h"

namespace {

cudaError_t last_error = cudaSuccess;

}  // namespace

extern "C" {
cudaError_t __wrap_cudaGetLastError() {  // NOLINT(bugprone-reserved-identifier)
  return std::exchange(last_error, cudaSuccess);
}
cudaError_t __wrap_cudaPeekAtLastError() {  // NOLINT(bugprone-reserved-identifier)
  return last_error;
}
}

namespace slackline::cuda {
namespace {

void enqueue(cudaError_t launch_error) {
  runtime().enqueue({"a kernel", {}, {}}, nullptr, [=](cudaStream_t) {
    if (launch_error != cudaSuccess) last_error = launch_error;
  });
}

TEST(CudaLastErrorTest, WorkBehindAFailureIsNotBlamedForIt) {
  last_error = cudaErrorMemoryAllocation;  // as a call leaves it that returns it
  EXPECT_THROW(check(cudaErrorMemoryAllocation, "allocate 5 bytes on the device"), DeviceError);
  EXPECT_NO_THROW(enqueue(cudaSuccess));
}

TEST(CudaLastErrorTest, AFailedLaunchIsToldOnce) {
  EXPECT_THROW(enqueue(cudaErrorInvalidConfiguration), DeviceError);
  EXPECT_NO_THROW(enqueue(cudaSuccess));
}

}  // namespace
}  // namespace slackline::cuda
