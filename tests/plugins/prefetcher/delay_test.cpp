#include <slackline/prefetcher.h>
#include <slackline/simulated_clock.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clocked_prefetcher_test.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing_support::ClockedPrefetcherTest;
using testing_support::ClockedStream;
using testing_support::make_plugin;
using testing_support::milliseconds;
using testing_support::OptionArguments;
using testing_support::read_all;
using testing_support::read_one;
using testing_support::TestHost;
using testing_support::train;

constexpr StreamEnd kHostEnd{};
constexpr StreamEnd kFirstDevice{.device = 0, .device_count = 2};
constexpr StreamEnd kSecondDevice{.device = 1, .device_count = 2};

class DelayTest : public ClockedPrefetcherTest {
 protected:
  DelayTest() : ClockedPrefetcherTest(milliseconds(4)) {}

  BatchStream& open(const OptionArguments& options, StreamEnd end) {
    return wrap("delay", options, end);
  }
};

TEST_F(DelayTest, EveryFetchWaitsElevenMillisecondsTheFirstAndTheEndIncluded) {
  upstream_.batches(3);
  BatchStream& stream = open({}, kFirstDevice);
  const auto waits_ms = train(stream, clock_, 4, milliseconds(50));
  close();
  // The first batch is asked for at 0, is there at 15 and taken at once. The others are taken at 65
  // and 115, and each makes room for the next.
  EXPECT_EQ(upstream_.asked_ms, (std::vector<double>{11, 15 + 11, 65 + 11, 115 + 11}));
  EXPECT_THAT(waits_ms, ElementsAre(15, 0, 0, 0));
  EXPECT_EQ(host_.reports, (std::map<std::string, double>{{"device_0_buffer_limit", 1},
                                                          {"device_0_buffer_empty", 1},
                                                          {"device_0_sleeps", 4},
                                                          {"device_0_slept", 0.044},
                                                          {"device_0_delay", 11}}));
}

TEST_F(DelayTest, StepsStallByWhatTheDelayAndTheFetchTakeTooLong) {
  upstream_.batches(100);
  const auto waits_ms = train(open({}, kFirstDevice), clock_, 4, milliseconds(12));
  EXPECT_THAT(waits_ms, ElementsAre(15, 3, 3, 3));
}

TEST_F(DelayTest, TwoDevicesSleepSideBySide) {
  ClockedStream second_upstream(clock_, milliseconds(4));
  upstream_.batches(100);
  second_upstream.batches(100);
  const auto delay = make_plugin<Prefetcher>("delay", {}, host_);
  const auto first = delay->wrap(upstream_, kFirstDevice);
  const auto second = delay->wrap(second_upstream, kSecondDevice);
  for (int step = 0; step < 3; ++step) {
    read_one(*first);
    read_one(*second);
    clock_.sleep(milliseconds(50));
  }
  // The first step starts one thread after the other: the batches are there at 15 and 30.
  EXPECT_EQ(upstream_.asked_ms, (std::vector<double>{11, 15 + 11, 80 + 11, 130 + 11}));
  EXPECT_EQ(second_upstream.asked_ms, (std::vector<double>{15 + 11, 30 + 11, 80 + 11, 130 + 11}));
}

TEST_F(DelayTest, TheDelayIsTheUsers) {
  upstream_.batches(1);
  EXPECT_THAT(read_all(open({{"delay", std::int64_t{2'500'000}}}, kFirstDevice)),
              ElementsAre("0", "end"));
  EXPECT_EQ(upstream_.asked_ms, (std::vector<double>{2.5, 2.5 + 4 + 2.5}));
}

TEST_F(DelayTest, NoDelayIsPlain) {
  upstream_.batches(2);
  EXPECT_THAT(read_all(open({{"delay", 0}}, kFirstDevice)), ElementsAre("0", "1", "end"));
  EXPECT_EQ(upstream_.asked_ms, (std::vector<double>{0, 4, 8}));
  close();
  EXPECT_EQ(host_.reports.at("device_0_sleeps"), 0);
}

TEST_F(DelayTest, ADeeperBufferIsFilledWithAsleepBeforeEachFetch) {
  upstream_.batches(100);
  train(open({{"device_buffer_size", 3}}, kFirstDevice), clock_, 1, milliseconds(100));
  EXPECT_EQ(upstream_.asked_ms, (std::vector<double>{11, 26, 41, 56}));
}

TEST_F(DelayTest, WhereSaysAtWhichEndsItActs) {
  const auto first_fetch_ms = [](const OptionArguments& options, StreamEnd end) {
    SimulatedClock clock(2);
    TestHost host(clock);
    ClockedStream upstream(clock, milliseconds(4));
    const auto delay = make_plugin<Prefetcher>("delay", options, host);
    read_one(*delay->wrap(upstream, end));
    return upstream.asked_ms.front();
  };
  EXPECT_EQ(first_fetch_ms({}, kHostEnd), 0);
  EXPECT_EQ(first_fetch_ms({}, kFirstDevice), 11);
  EXPECT_EQ(first_fetch_ms({{"where", "host"}}, kHostEnd), 11);
  EXPECT_EQ(first_fetch_ms({{"where", "host"}}, kFirstDevice), 0);
  EXPECT_EQ(first_fetch_ms({{"where", "both"}}, kHostEnd), 11);
  EXPECT_EQ(first_fetch_ms({{"where", "both"}}, kFirstDevice), 11);
}

TEST_F(DelayTest, AnErrorComesInItsPlace) {
  upstream_.batches(1).fails("disk on fire").batches(1);
  EXPECT_THAT(read_all(open({}, kFirstDevice)), ElementsAre("0", "disk on fire", "1", "end"));
  EXPECT_EQ(upstream_.asked_ms, (std::vector<double>{11, 26, 41, 56}));
}

TEST_F(DelayTest, WithoutABufferItSaysThatItDoesNothing) {
  upstream_.batches(1);
  EXPECT_THAT(read_all(open({{"device_buffer_size", 0}}, kFirstDevice)), ElementsAre("0", "end"));
  EXPECT_EQ(upstream_.asked_ms, (std::vector<double>{0, 4}));
  EXPECT_THAT(host_.warnings, ElementsAre("device 0: device_buffer_size = 0 fetches when asked: "
                                          "nothing can be postponed"));
}

TEST_F(DelayTest, SaysWhereThereIsNoUploadAndNoInputWork) {
  open({}, {.device = 0, .uploads = false, .has_input_work = false});
  EXPECT_THAT(
      host_.warnings,
      ElementsAre(
          "batches are made up: there is no input work to postpone",
          "device 0 reads the host's memory: there is no upload to postpone, only the fetch"));
}

TEST_F(DelayTest, TheOtherEndIsNotWarnedOf) {
  open({}, {.has_input_work = false});
  EXPECT_THAT(host_.warnings, IsEmpty());
}

}  // namespace
}  // namespace slackline
