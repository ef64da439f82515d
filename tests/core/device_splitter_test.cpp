// Batches dealt out to devices; the vectors are those of TensorFlow's tests of MultiDeviceIterator.

#include <slackline/device_splitter.h>
#include <slackline/simulated_clock.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "batch_streams.h"

namespace slackline {
namespace {

using testing::ElementsAre;
using testing_support::read_all;
using testing_support::read_one;
using testing_support::ScriptedStream;

class DeviceSplitterTest : public testing::Test {
 protected:
  ~DeviceSplitterTest() override {
    splitter_.reset();
    EXPECT_EQ(upstream.lent(), 0u) << "batches were not given back";
    EXPECT_EQ(upstream.wrong_returns(), 0u);
  }

  void split(std::int32_t devices, std::int32_t slots = 1) {
    splitter_ = std::make_unique<DeviceSplitter>(upstream, devices, slots, steady_clock());
  }
  std::string read(std::int32_t device) { return read_one(splitter_->stream(device)); }
  /// One from each of two devices.
  std::string pair() {
    std::string first = read(0);
    return first + " " + read(1);
  }

  ScriptedStream upstream;
  std::unique_ptr<DeviceSplitter> splitter_;
};

TEST_F(DeviceSplitterTest, BatchKGoesToDeviceKModN) {
  upstream.batches(10);
  split(2);
  std::vector<std::string> pairs;
  for (int i = 0; i < 6; ++i) pairs.push_back(pair());
  EXPECT_THAT(pairs, ElementsAre("0 1", "2 3", "4 5", "6 7", "8 9", "end end"));
}

TEST_F(DeviceSplitterTest, AnUnevenEndReachesTheDevicesBehindIt) {
  upstream.batches(9);
  split(2);
  for (int i = 0; i < 4; ++i) pair();
  EXPECT_EQ(read(0), "8");
  EXPECT_EQ(read(1), "end");
  EXPECT_EQ(read(0), "end");
  EXPECT_EQ(read(1), "end") << "the end stays the end";
}

TEST_F(DeviceSplitterTest, OneDeviceMayBeReadAheadOfTheOtherAsFarAsTheSlotsReach) {
  upstream.batches(10);
  split(2, 4);
  std::vector<std::string> first, second;
  for (int i = 0; i < 5; ++i) first.push_back(read(0));
  for (int i = 0; i < 5; ++i) second.push_back(read(1));
  EXPECT_THAT(first, ElementsAre("0", "2", "4", "6", "8"));
  EXPECT_THAT(second, ElementsAre("1", "3", "5", "7", "9"));
}

TEST_F(DeviceSplitterTest, TurnsAreStrictEvenIfAnotherDeviceHasRoom) {
  using namespace std::chrono_literals;
  SimulatedClock clock(1);
  upstream.batches(10);
  DeviceSplitter splitter(upstream, 2, 1, clock);
  EXPECT_EQ(read_one(splitter.stream(0)), "0");
  EXPECT_EQ(read_one(splitter.stream(0)), "2");
  clock.sleep(1s);
  // 1 waits for device 1, whose turn it is again: 3 has no room, and 4 may not be fetched before.
  EXPECT_EQ(upstream.fetched(), 3u);
  bool got = false;
  std::thread reader = clock.start_thread("device 0", [&] {
    EXPECT_EQ(read_one(splitter.stream(0)), "4");
    EXPECT_EQ(read_one(splitter.stream(0)), "6");
    got = true;
  });
  clock.sleep(1s);
  EXPECT_FALSE(got) << "device 1 has to take 1 and 3 first";
  EXPECT_EQ(read_one(splitter.stream(1)), "1");
  EXPECT_EQ(read_one(splitter.stream(1)), "3");
  clock.join(reader);
  EXPECT_TRUE(got);
}

TEST_F(DeviceSplitterTest, AnErrorReachesTheDeviceWhoseTurnItWas) {
  upstream.batches(1).fails("disk on fire").batches(2);
  split(2);
  EXPECT_EQ(pair(), "0 disk on fire");
  EXPECT_EQ(pair(), "1 2");
}

TEST_F(DeviceSplitterTest, CancelOfOneDeviceEndsAllEvenIfUpstreamBlocks) {
  upstream.batches(1).blocks();
  split(2);
  EXPECT_EQ(read(0), "0");
  upstream.wait_until_blocked();
  splitter_->stream(0).cancel();
  EXPECT_EQ(read(1), "end");
  EXPECT_TRUE(upstream.cancelled());
}

TEST_F(DeviceSplitterTest, CanBeDestroyedInAnyState) {
  upstream.batches(6);
  split(3);
  splitter_.reset();  // before the first next()
  EXPECT_EQ(upstream.fetched(), 0u) << "nothing is fetched before it is asked for";
  ScriptedStream again;
  again.batches(6);
  {
    DeviceSplitter splitter(again, 3, 1, steady_clock());
    EXPECT_EQ(read_one(splitter.stream(0)), "0");
    again.wait_until_fetched(4);
  }
  EXPECT_EQ(again.lent(), 0u);
}

}  // namespace
}  // namespace slackline
