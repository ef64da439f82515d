#include <slackline/prefetcher.h>
#include <slackline/simulated_clock.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clocked_prefetcher_test.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Gt;
using testing::IsEmpty;
using testing_support::ClockedPrefetcherTest;
using testing_support::ClockedStream;
using testing_support::make_plugin;
using testing_support::milliseconds;
using testing_support::ms;
using testing_support::OptionArguments;
using testing_support::read_all;
using testing_support::read_one;
using testing_support::ScriptedStream;
using testing_support::TestHost;
using testing_support::train;

constexpr StreamEnd kHostEnd{};
constexpr StreamEnd kDevice{.device = 0};

/// One stream, whose batches take 5 ms to fetch.
class AdaptiveTest : public ClockedPrefetcherTest {
 protected:
  AdaptiveTest() : ClockedPrefetcherTest(milliseconds(5)) {}

  BatchStream& open(const OptionArguments& options = {}, StreamEnd end = kDevice) {
    return wrap("adaptive", options, end);
  }
  [[nodiscard]] std::vector<double> device_sleeps_ms() { return sleeps_ms("device 0 prefetch"); }
};

TEST_F(AdaptiveTest, BeginsAsPlainDoes) {
  upstream_.batches(100);
  train(open(), clock_, 5, milliseconds(100));
  EXPECT_THAT(upstream_.asked_ms, ElementsAre(0, 5, 105, 205, 305, 405));
  EXPECT_THAT(device_sleeps_ms(), IsEmpty());
}

TEST_F(AdaptiveTest, ThenFetchesInTheMiddleOfAStepAndMakesNobodyWait) {
  upstream_.batches(1000);
  BatchStream& stream = open();
  auto waits_ms = train(stream, clock_, 300, milliseconds(105));
  close();
  waits_ms.erase(waits_ms.begin());  // the first batch has nobody to fetch it ahead
  EXPECT_THAT(waits_ms, Each(0));
  EXPECT_EQ(host_.reports.at("device_0_sleep"), 50);  // half of what is idle
  EXPECT_EQ(host_.reports.at("device_0_period"), 105);
  EXPECT_DOUBLE_EQ(host_.reports.at("device_0_fetch"), 5);
  EXPECT_EQ(host_.reports.at("device_0_late"), 0);
  EXPECT_EQ(host_.reports.at("device_0_buffer_limit"), 1);
  EXPECT_EQ(host_.reports.at("device_0_changes"), 1);
  EXPECT_EQ(host_.reports.at("device_0_restarts"), 0);
}

TEST_F(AdaptiveTest, DoesNotSleepWhenInputIsTheLimit) {
  upstream_.batches(1000);
  train(open(), clock_, 300, milliseconds(4));
  close();
  EXPECT_THAT(device_sleeps_ms(), IsEmpty());
  EXPECT_EQ(host_.reports.at("device_0_sleep"), 0);
  EXPECT_EQ(host_.reports.at("device_0_late"), 100);
}

TEST_F(AdaptiveTest, FollowsWhenStepsGetShorter) {
  upstream_.batches(1000);
  BatchStream& stream = open();
  train(stream, clock_, 200, milliseconds(200));
  train(stream, clock_, 150, milliseconds(20));
  const auto waits_ms = train(stream, clock_, 100, milliseconds(20));
  EXPECT_THAT(waits_ms, Each(0));
  close();
  EXPECT_EQ(host_.reports.at("device_0_restarts"), 1);
  EXPECT_EQ(host_.reports.at("device_0_period"), 20);
  EXPECT_EQ(host_.reports.at("device_0_sleep"), 7.5);
}

TEST_F(AdaptiveTest, AnEvaluationInBetweenChangesNothing) {
  upstream_.batches(1000);
  BatchStream& stream = open();
  train(stream, clock_, 100, milliseconds(100));
  clock_.sleep(std::chrono::minutes(1));
  train(stream, clock_, 100, milliseconds(100));
  close();
  EXPECT_EQ(host_.reports.at("device_0_pauses"), 1);
  EXPECT_EQ(host_.reports.at("device_0_restarts"), 0);
}

TEST_F(AdaptiveTest, TheSleepHasABoundIfOneIsSet) {
  upstream_.batches(1000);
  train(open({{"max_sleep", std::int64_t{8'000'000}}}), clock_, 300, milliseconds(100));
  const auto sleeps = device_sleeps_ms();
  ASSERT_FALSE(sleeps.empty());
  EXPECT_EQ(*std::ranges::max_element(sleeps), 8);
}

TEST_F(AdaptiveTest, ADeepBufferIsNoSlack) {
  upstream_.batches(1000);
  const auto waits_ms = train(open({{"device_buffer_size", 2}}), clock_, 300, milliseconds(105));
  close();
  // Batches lie for 200 ms, and yet there are only 100 to sleep.
  EXPECT_EQ(host_.reports.at("device_0_sleep"), 50);
  EXPECT_DOUBLE_EQ(host_.reports.at("device_0_fetch"), 5);
  EXPECT_EQ(std::ranges::count_if(waits_ms, [](double wait) { return wait > 0; }), 1);
}

TEST_F(AdaptiveTest, RoomGrowsWhereTimesVaryAndOnlyToItsBound) {
  upstream_.batches(1000);
  BatchStream& stream = open();
  for (int i = 0; i < 100; ++i) {
    train(stream, clock_, 5, milliseconds(12));
    train(stream, clock_, 5, milliseconds(1));  // too short for a fetch
  }
  close();
  EXPECT_EQ(host_.reports.at("device_0_buffer_limit"), 2);
}

TEST_F(AdaptiveTest, TheHostEndIsPlain) {
  upstream_.batches(1000);
  train(open({{"buffer_size", 1}}, kHostEnd), clock_, 200, milliseconds(100));
  close();
  EXPECT_EQ(upstream_.asked_ms[150], upstream_.asked_ms[149] + 100);
  EXPECT_FALSE(host_.reports.contains("host_sleep"));
  EXPECT_TRUE(host_.reports.contains("host_buffer_limit"));
}

TEST_F(AdaptiveTest, DevicesSleepAlikeAndAnEvaluationHasItsOwnSearch) {
  const auto adaptive = make_plugin<Prefetcher>("adaptive", {}, host_);
  const auto wrap_two = [&](ClockedStream& first, ClockedStream& second, milliseconds step) {
    first.batches(1000);
    second.batches(1000);
    const auto device_0 = adaptive->wrap(first, {.device = 0, .device_count = 2});
    const auto device_1 = adaptive->wrap(second, {.device = 1, .device_count = 2});
    for (int i = 0; i < 100; ++i) {
      read_one(*device_0);
      read_one(*device_1);
      clock_.sleep(step);
    }
  };
  {
    // The first device has less time: 60 ms of 100 against 95.
    ClockedStream slow(clock_, milliseconds(40)), fast(clock_, milliseconds(5));
    wrap_two(slow, fast, milliseconds(100));
  }
  EXPECT_EQ(host_.reports.at("device_0_period"), 100);
  EXPECT_EQ(host_.reports.at("device_0_sleep"), 30);
  EXPECT_EQ(host_.reports.at("device_1_sleep"), 30);
  {
    ClockedStream fast(clock_, milliseconds(5)), slow(clock_, milliseconds(5));
    wrap_two(fast, slow, milliseconds(15));
  }
  EXPECT_EQ(host_.reports.at("device_0_sleep"), 5);
  EXPECT_EQ(host_.reports.at("device_0_restarts"), 0);
}

TEST_F(AdaptiveTest, AnErrorArrivesInItsPlace) {
  upstream_.batches(60).fails("disk on fire").batches(2);
  BatchStream& stream = open();
  std::vector<std::string> read, expected;
  for (int i = 0; i < 60; ++i) expected.push_back(std::to_string(i));
  expected.insert(expected.end(), {"disk on fire", "60", "61", "end", "end"});
  for (std::size_t i = 0; i < expected.size(); ++i) {
    read.push_back(read_one(stream));
    clock_.sleep(milliseconds(100));
  }
  EXPECT_EQ(read, expected);
}

TEST_F(AdaptiveTest, CancelEndsASleepAtOnce) {
  upstream_.batches(1000);
  BatchStream& stream = open();
  train(stream, clock_, 50, milliseconds(100));  // it sleeps 47.5 ms by now
  read_one(stream);
  clock_.sleep(milliseconds(10));
  const auto asked = upstream_.asked_ms.size();
  const double before_ms = ms(clock_.now());
  stream.cancel();
  EXPECT_EQ(read_one(stream), "end");
  close();
  EXPECT_EQ(ms(clock_.now()), before_ms);
  EXPECT_EQ(upstream_.asked_ms.size(), asked);
  EXPECT_EQ(device_sleeps_ms().back(), 10);
}

TEST_F(AdaptiveTest, CancelEndsAFetch) {
  upstream_.batches(50).blocks();
  BatchStream& stream = open();
  train(stream, clock_, 50, milliseconds(100));
  std::thread canceller = clock_.start_thread("canceller", [&] {
    clock_.sleep(milliseconds(300));
    stream.cancel();
  });
  EXPECT_EQ(read_one(stream), "end");
  clock_.join(canceller);
}

TEST_F(AdaptiveTest, CancelBeforeTheFirstBatch) {
  upstream_.batches(10);
  BatchStream& stream = open();
  stream.cancel();
  EXPECT_EQ(read_one(stream), "end");
  EXPECT_THAT(upstream_.asked_ms, IsEmpty());
}

TEST_F(AdaptiveTest, TheTimelineShowsTheSleep) {
  upstream_.batches(1000);
  train(open(), clock_, 60, milliseconds(100));
  close();
  std::vector<double> shown;
  for (const auto& count : host_.tracks["device 0 prefetch"].counts) {
    if (count.name == "adaptive_sleep_ms") shown.push_back(count.value);
  }
  ASSERT_EQ(shown.size(), 60u);
  EXPECT_EQ(shown.front(), 0);
  EXPECT_THAT(shown.back(), Gt(0));
}

TEST_F(AdaptiveTest, SaysWhereThereIsNothingToPostpone) {
  const auto warnings = [this](const OptionArguments& options, StreamEnd end) {
    TestHost host(clock_);
    ClockedStream upstream(clock_, milliseconds(5));
    (void)make_plugin<Prefetcher>("adaptive", options, host)->wrap(upstream, end);
    return host.warnings;
  };
  EXPECT_THAT(warnings({}, kHostEnd), IsEmpty());
  EXPECT_THAT(warnings({}, kDevice), IsEmpty());
  EXPECT_THAT(
      warnings({{"device_buffer_size", 0}}, kDevice),
      ElementsAre("device 0: device_buffer_size = 0 fetches when asked: nothing can be postponed"));
}

TEST(AdaptiveThreadsTest, DevicesShareTheSearchOnTheMachinesOwnThreads) {
  TestHost host;
  const auto adaptive = make_plugin<Prefetcher>("adaptive", {}, host);
  ScriptedStream upstream[2];
  std::vector<std::unique_ptr<BatchStream>> streams;
  for (std::int32_t i = 0; i < 2; ++i) {
    upstream[i].batches(500);
    streams.push_back(adaptive->wrap(upstream[i], {.device = i, .device_count = 2}));
  }
  std::vector<std::string> read[2];
  std::thread other([&] { read[1] = read_all(*streams[1]); });
  read[0] = read_all(*streams[0]);
  other.join();
  EXPECT_EQ(read[0].size(), 501u);
  EXPECT_EQ(read[0], read[1]);
  streams.clear();
  EXPECT_EQ(upstream[0].lent() + upstream[1].lent(), 0u);
}

TEST(AdaptiveThreadsTest, CancelFromAnotherThread) {
  TestHost host;
  const auto adaptive = make_plugin<Prefetcher>("adaptive", {}, host);
  ScriptedStream upstream;
  upstream.batches(100).blocks();
  const auto stream = adaptive->wrap(upstream, kDevice);
  std::thread canceller([&] {
    upstream.wait_until_blocked();
    stream->cancel();
  });
  while (read_one(*stream) != "end") {
  }
  canceller.join();
}

class AdaptiveRangeTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(BufferSizes, AdaptiveRangeTest, testing::Values(-1, 0, 1, 5));

TEST_P(AdaptiveRangeTest, AHundredBatchesPassUnchangedAndInOrder) {
  for (const StreamEnd& end : {kHostEnd, kDevice}) {
    SimulatedClock clock(2);
    TestHost host(clock);
    ClockedStream upstream(clock, milliseconds(1));
    upstream.batches(100);
    const auto adaptive = make_plugin<Prefetcher>(
        "adaptive", {{"buffer_size", GetParam()}, {"device_buffer_size", GetParam()}}, host);
    std::vector<std::string> expected;
    for (int i = 0; i < 100; ++i) expected.push_back(std::to_string(i));
    expected.emplace_back("end");
    EXPECT_EQ(read_all(*adaptive->wrap(upstream, end)), expected);
    EXPECT_EQ(upstream.lent.size(), 0u);
  }
}

}  // namespace
}  // namespace slackline
