// With a GPU: NCCL with one rank, which is all that one GPU can have. It connects; but a sum in
// place of one rank is nothing to it, in a capture neither, and a mean is one kernel. Without a
// GPU, these tests are skipped.

#include <slackline/clock.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda/handles.h"
#include "cuda/runtime.h"
#include "fake_nccl.h"
#include "gpu_replica/bucket_exchange.h"
#include "nccl/communicator.h"
#include "nccl/devices.h"

namespace slackline::nccl {
namespace {

using cuda::runtime;
using testing::HasSubstr;

class NcclDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = cuda::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
    runtime().use_device(0);
    stream_ = cuda::make_stream(runtime());
    gradients_ = {runtime(), 1 << 20};
    staging_ = {runtime(), 1 << 20};
    communicator_ = std::make_unique<Communicator>(
        api(), ranks_, CommunicatorSpec{}, [] { runtime().use_device(0); }, [] {}, steady_clock());
  }

  void write(float first) {
    std::iota(staging_.span().begin(), staging_.span().end(), first);
    runtime().copy(gradients_.data(), staging_.data(), gradients_.bytes(), stream_.get());
    runtime().synchronize(stream_.get());
  }
  std::vector<float> read() {
    runtime().copy(staging_.data(), gradients_.data(), gradients_.bytes(), stream_.get());
    runtime().synchronize(stream_.get());
    return {staging_.span().begin(), staging_.span().end()};
  }
  static std::vector<float> written(float first) {
    std::vector<float> values(1 << 20);
    std::iota(values.begin(), values.end(), first);
    return values;
  }

  FakeRanks ranks_{0, 1};
  cuda::Stream stream_;
  cuda::DeviceBuffer<float> gradients_;
  cuda::PinnedBuffer<float> staging_;
  std::unique_ptr<Communicator> communicator_;
};

TEST_F(NcclDeviceTest, TheSumAndTheMeanOfOneRankAreItsValues) {
  write(3);
  communicator_->all_reduce_sum(gradients_.span(), stream_.get());
  EXPECT_EQ(read(), written(3));
  communicator_->all_reduce_mean(gradients_.span(), stream_.get());
  EXPECT_EQ(read(), written(3));
  communicator_->check();
}

TEST_F(NcclDeviceTest, AnExchangeIsCapturedAndReplayed) {
  gpu::BucketExchange exchange(runtime(), stream_.get(), *communicator_, gradients_.size(),
                               {.buckets = 3, .num_packs = 2});
  runtime().begin_capture(stream_.get());
  for (std::size_t part = 4; part-- > 0;) {
    exchange.begin(gradients_.span().subspan(part << 18, std::size_t{1} << 18));
  }
  exchange.finish();
  cuda::Graph graph{runtime().end_capture(stream_.get()), cuda::Destroy{&runtime()}};
  for (const float first : {1.0f, 9.0f}) {
    write(first);
    runtime().launch(graph.get(), stream_.get());
    EXPECT_EQ(read(), written(first));
  }
  graph.reset();
}

TEST_F(NcclDeviceTest, AnAbortedCommunicatorEndsWhoeverWaits) {
  communicator_->abort();
  EXPECT_THROW(
      {
        for (;;) communicator_->pause();
      },
      DeviceError);
}

TEST_F(NcclDeviceTest, TheGpuHasAnIdOfItsOwn) {
  EXPECT_GE(visible_devices(), 1);
  EXPECT_NE(id_of(0).uuid, DeviceId{}.uuid);
}

/// The real NCCL's failure, which needs no GPU.
TEST(NcclTest, WithoutAGpuItsOwnWordsSaySo) {
  if (cuda::why_unavailable().empty()) GTEST_SKIP() << "this machine has a GPU";
  ::setenv("NCCL_SOCKET_IFNAME", "lo", 1);
  FakeRanks ranks(0, 1);
  try {
    const Communicator communicator(
        api(), ranks, {}, [] {}, [] {}, steady_clock());
    FAIL() << "it is connected";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), HasSubstr("NCCL cannot connect rank 0 of 1: unhandled cuda error"));
  }
}

}  // namespace
}  // namespace slackline::nccl
