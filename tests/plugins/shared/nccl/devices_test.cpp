#include "nccl/devices.h"

#include <slackline/error.h>

#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_nccl.h"

namespace slackline::nccl {
namespace {

using testing::HasSubstr;

std::string refused(const std::function<void()>& call) {
  try {
    call();
    return "nothing was thrown";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

TEST(DevicesTest, ARankTakesTheGpuWithItsNumberOnTheHost) {
  EXPECT_EQ(device_of(0, 4), 0);
  EXPECT_EQ(device_of(3, 4), 3);
}

TEST(DevicesTest, ARankThatIsShownOneGpuTakesIt) {
  EXPECT_EQ(device_of(3, 1), 0);
  EXPECT_EQ(device_of(std::nullopt, 1), 0);
}

TEST(DevicesTest, TooFewGpusAreRefused) {
  EXPECT_EQ(refused([] { (void)device_of(4, 4); }),
            "strategy mirrored_nccl: this is rank 4 of its host, counted from 0, but it sees 4 "
            "GPUs; every rank needs one of its own");
  EXPECT_THAT(refused([] { (void)device_of(0, 0); }), HasSubstr("it sees 0 GPUs"));
}

TEST(DevicesTest, WithoutANumberOnTheHostNobodyGuesses) {
  EXPECT_THAT(refused([] { (void)device_of(std::nullopt, 4); }),
              HasSubstr("set SLACKLINE_LOCAL_RANK"));
}

class SameDeviceTest : public testing::Test {
 protected:
  static DeviceId gpu(int number, std::int32_t index) {
    DeviceId id{.index = index};
    id.uuid[15] = static_cast<std::byte>(number);
    return id;
  }
  void tell(const DeviceId& id) {
    const auto bytes = std::as_bytes(std::span(&id, 1));
    ranks_.others.emplace_back(bytes.begin(), bytes.end());
  }

  FakeRanks ranks_{1, 3};
};

TEST_F(SameDeviceTest, RanksWithGpusOfTheirOwnMayHaveTheSameNumbers) {
  tell(gpu(7, 0));
  tell(gpu(9, 0));
  EXPECT_EQ(refused([this] { require_distinct_devices(ranks_, gpu(8, 0)); }), "nothing was thrown");
}

TEST_F(SameDeviceTest, TwoRanksOnOneGpuAreNamed) {
  tell(gpu(7, 2));
  tell(gpu(8, 1));
  EXPECT_EQ(refused([this] { require_distinct_devices(ranks_, gpu(8, 0)); }),
            "strategy mirrored_nccl: rank 1 (node1), as its GPU 0, and rank 2 (node2), as its GPU "
            "1, have the same GPU; every rank needs one of its own: start fewer on that host, or "
            "show it more GPUs (CUDA_VISIBLE_DEVICES)");
}

}  // namespace
}  // namespace slackline::nccl
