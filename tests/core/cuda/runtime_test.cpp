// What the real runtime says on a machine without a GPU; and with one, that it works.

#include "cuda/runtime.h"

#include <slackline/error.h>

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda/handles.h"

namespace slackline::cuda {
namespace {

TEST(CudaRuntimeTest, AFailureSaysWhatWasAskedForAndCudasOwnWords) {
  try {
    check(cudaErrorMemoryAllocation, "allocate 5 bytes on the device");
    FAIL() << "nothing was thrown";
  } catch (const DeviceError& error) {
    EXPECT_STREQ(error.what(), "cannot allocate 5 bytes on the device: out of memory (2)");
  }
  EXPECT_NO_THROW(check(cudaSuccess, "do nothing"));
}

TEST(CudaRuntimeTest, WithoutAGpuItSaysWhy) {
  const std::string why = why_unavailable();
  if (why.empty()) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_THAT(why, testing::AnyOf(testing::HasSubstr("driver"), testing::HasSubstr("GPU")));
  EXPECT_THROW((void)runtime().allocate(1), DeviceError);
}

TEST(CudaRuntimeTest, ADriverThatIsTooOldIsToldFromNone) {
  EXPECT_EQ(why_insufficient(0, "in words"), "no CUDA driver on this machine: in words");
  EXPECT_EQ(why_insufficient(11080, "in words"),
            text("this machine's driver is for CUDA 11.8 at most, and this program needs one for "
                 "CUDA ",
                 CUDART_VERSION / 1000, ".0 or later: in words"));
}

TEST(CudaRuntimeTest, CopiesGoThereAndBackInAGraphToo) {
  if (!why_unavailable().empty()) GTEST_SKIP() << why_unavailable();
  Runtime& real = runtime();
  const Stream stream = make_stream(real);
  const DeviceBuffer<int> device(real, 4);
  const PinnedBuffer<int> host(real, 4);
  std::ranges::copy(std::array{1, 2, 3, 4}, host.data());
  real.begin_capture(stream.get());
  real.copy(device.data(), host.data(), host.bytes(), stream.get());
  const Graph graph(real.end_capture(stream.get()), Destroy{&real});
  real.launch(graph.get(), stream.get());
  real.synchronize(stream.get());
  std::ranges::fill(host.span(), 0);
  real.copy(host.data(), device.data(), host.bytes(), stream.get());
  real.synchronize(stream.get());
  EXPECT_THAT(host.span(), testing::ElementsAre(1, 2, 3, 4));
}

}  // namespace
}  // namespace slackline::cuda
