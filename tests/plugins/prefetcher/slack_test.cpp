#include <slackline/prefetcher.h>
#include <slackline/simulated_clock.h>

#include <algorithm>
#include <memory>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clocked_prefetcher_test.h"
#include "span_recorder.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing_support::ClockedPrefetcherTest;
using testing_support::ClockedStream;
using testing_support::make_plugin;
using testing_support::milliseconds;
using testing_support::ms;
using testing_support::OptionArguments;
using testing_support::read_all;
using testing_support::read_one;
using testing_support::TestHost;
using testing_support::train;

constexpr StreamEnd kHostEnd{};
constexpr StreamEnd kFirstDevice{.device = 0, .device_count = 2};

StreamEnd host_of(std::int32_t device_count) { return {.device_count = device_count}; }

class SlackTest : public ClockedPrefetcherTest {
 protected:
  SlackTest() : ClockedPrefetcherTest(milliseconds(5)) {}

  BatchStream& open(const OptionArguments& options, StreamEnd end) {
    return wrap("slack", options, end);
  }
};

// What the rule comes to with steps of 200 ms and 5 ms for a batch. The slack is room * 200 - 5 ms,
// until a fifth of it is all the 195 ms that are idle.
struct FixedPoint {
  int buffer_size;
  double sleep_ms;
};
void PrintTo(const FixedPoint& point, std::ostream* out) { *out << point.sleep_ms << " ms"; }

class SlackFixedPointTest : public SlackTest, public testing::WithParamInterface<FixedPoint> {};
INSTANTIATE_TEST_SUITE_P(BufferSizes, SlackFixedPointTest,
                         testing::Values(FixedPoint{1, 39}, FixedPoint{2, 79}, FixedPoint{4, 159},
                                         FixedPoint{8, 195}),
                         [](const auto& point) { return std::to_string(point.param.buffer_size); });

TEST_P(SlackFixedPointTest, SettlesAndStallsNoStep) {
  upstream_.batches(1000);
  BatchStream& stream = open({{"buffer_size", GetParam().buffer_size}}, kHostEnd);
  auto waits_ms = train(stream, clock_, 200, milliseconds(200));
  close();
  auto sleeps = sleeps_ms("host prefetch");
  sleeps.pop_back();  // the end of the test may have cut the last one short
  EXPECT_NEAR(sleeps.back(), GetParam().sleep_ms, 0.02 * GetParam().sleep_ms);
  EXPECT_NEAR(host_.reports.at("host_last_sleep"), sleeps.back(), 0.02 * sleeps.back());
  waits_ms.erase(waits_ms.begin());  // the first batch has nobody to fetch it ahead
  EXPECT_EQ(*std::max_element(waits_ms.begin(), waits_ms.end()), 0);
}

TEST_F(SlackTest, WithRoomForOneTheFirstMeasurementIsRight) {
  upstream_.batches(100);
  train(open({}, kFirstDevice), clock_, 4, milliseconds(200));
  close();
  // Nothing is measured yet when the second batch is fetched. It then lies for 195 ms.
  EXPECT_THAT(sleeps_ms("device 0 prefetch"), ElementsAre(39, 39, 39));
  EXPECT_EQ(host_.reports.at("device_0_slack"), 195);
  EXPECT_EQ(host_.reports.at("device_0_last_sleep"), 39);
  EXPECT_EQ(host_.reports.at("device_0_sleeps"), 3);
  EXPECT_DOUBLE_EQ(host_.reports.at("device_0_slept"), 0.117);
}

TEST_F(SlackTest, AHostBurstIsABatchForEachDevice) {
  upstream_.batches(100);
  BatchStream& stream = open({{"buffer_size", 2}}, host_of(2));
  for (int step = 0; step < 4; ++step) {
    read_one(stream);
    read_one(stream);
    clock_.sleep(milliseconds(200));
  }
  close();
  // The first burst is waited for, up to 10 ms. The second is fetched at once from 5 and 10 ms on,
  // ready at 15 and taken at 210, and so on: only the first batch of a burst is postponed, and the
  // last is measured.
  EXPECT_EQ(upstream_.asked_ms,
            (std::vector<double>{0, 5, 10, 15, 210 + 38, 253, 410 + 38, 453, 610 + 38, 653}));
  EXPECT_THAT(sleeps_ms("host prefetch"), ElementsAre(38, 38, 38));
}

TEST_F(SlackTest, TheSleepHasABoundIfOneIsSet) {
  upstream_.batches(1000);
  BatchStream& stream =
      open({{"buffer_size", 8}, {"max_sleep", std::int64_t{30'000'000}}}, kHostEnd);
  train(stream, clock_, 50, milliseconds(200));
  close();
  const auto sleeps = sleeps_ms("host prefetch");
  EXPECT_EQ(*std::max_element(sleeps.begin(), sleeps.end()), 30);
  EXPECT_EQ(host_.reports.at("host_last_sleep"), 30);
  EXPECT_EQ(host_.reports.at("host_slack"), 8 * 200 - 5);
}

TEST_F(SlackTest, TheFactorIsTheUsers) {
  upstream_.batches(100);
  train(open({{"factor", 0.5}}, kFirstDevice), clock_, 10, milliseconds(205));
  close();
  EXPECT_EQ(host_.reports.at("device_0_last_sleep"), 100);
}

TEST_F(SlackTest, AnErrorInTheBufferTeachesNothing) {
  upstream_.batches(1).fails("disk on fire").batches(1);
  BatchStream& stream = open({}, kFirstDevice);
  EXPECT_EQ(read_one(stream), "0");
  clock_.sleep(milliseconds(200));
  EXPECT_EQ(read_one(stream), "disk on fire");
  clock_.sleep(milliseconds(100));
  EXPECT_EQ(read_one(stream), "1");
  EXPECT_EQ(read_one(stream), "end");
  close();
  EXPECT_EQ(host_.reports.at("device_0_slack"), 95);
  // One before the end is found; none before the batch behind the error.
  EXPECT_THAT(sleeps_ms("device 0 prefetch"), ElementsAre(19));
}

TEST_F(SlackTest, AnErrorCountsAsProducedButNotAsReturned) {
  upstream_.batches(2).fails("disk on fire").batches(100);
  BatchStream& stream = open({{"buffer_size", 2}}, host_of(2));
  for (int step = 0; step < 3; ++step) {
    read_one(stream);
    read_one(stream);
    clock_.sleep(milliseconds(200));
  }
  close();
  // Produced: 0 1 | error 2 | 3 4 | 5 6. Returned and measured: the second and the fourth batch,
  // which is the first of its burst.
  const auto& counts = host_.tracks["host prefetch"].counts;
  std::vector<double> measured_at_ms;
  for (const auto& count : counts) {
    if (count.name == "slack_ms") measured_at_ms.push_back(ms(count.at));
  }
  EXPECT_THAT(measured_at_ms, ElementsAre(10, 410));
}

TEST_F(SlackTest, WhereSaysAtWhichEndsItActs) {
  const auto sleeps_at = [](const char* where, StreamEnd end) {
    SimulatedClock clock(2);
    TestHost host(clock);
    ClockedStream upstream(clock, milliseconds(5));
    upstream.batches(10);
    const auto slack = make_plugin<Prefetcher>("slack", {{"where", where}}, host);
    train(*slack->wrap(upstream, end), clock, 5, milliseconds(100));
    const std::string sleeps = end.is_host() ? "host_sleeps" : "device_0_sleeps";
    return host.reports.contains(sleeps) && host.reports.at(sleeps) > 0;
  };
  EXPECT_TRUE(sleeps_at("both", kHostEnd));
  EXPECT_TRUE(sleeps_at("both", kFirstDevice));
  EXPECT_TRUE(sleeps_at("host", kHostEnd));
  EXPECT_FALSE(sleeps_at("host", kFirstDevice));
  EXPECT_FALSE(sleeps_at("device", kHostEnd));
  EXPECT_TRUE(sleeps_at("device", kFirstDevice));
}

TEST_F(SlackTest, AProfilerIsToldOfFetchesAndSleeps) {
  testing_support::SpanRecorder recorder;
  upstream_.batches(100);
  train(open({}, kFirstDevice), clock_, 4, milliseconds(200));
  close();
  EXPECT_EQ(recorder.elsewhere(),
            "(fetch )(fetch )(sleep )(fetch )(sleep )(fetch )(sleep )(fetch )");
}

TEST_F(SlackTest, TheTimelineShowsWhatWasLearned) {
  upstream_.batches(100);
  train(open({}, kFirstDevice), clock_, 3, milliseconds(200));
  close();
  std::vector<double> slack_ms;
  for (const auto& count : host_.tracks["device 0 prefetch"].counts) {
    if (count.name == "slack_ms") slack_ms.push_back(count.value);
  }
  EXPECT_THAT(slack_ms, ElementsAre(0, 195, 195));
}

TEST_F(SlackTest, SaysWhereThereIsNothingToPostpone) {
  const auto warnings = [](const OptionArguments& options, StreamEnd end) {
    TestHost host;
    testing_support::ScriptedStream upstream;
    const auto slack = make_plugin<Prefetcher>("slack", options, host);
    (void)slack->wrap(upstream, end);
    return host.warnings;
  };
  EXPECT_THAT(warnings({}, kHostEnd), IsEmpty());
  EXPECT_THAT(warnings({}, kFirstDevice), IsEmpty());
  EXPECT_THAT(
      warnings({}, {.device = 1, .uploads = false}),
      ElementsAre(
          "device 1 reads the host's memory: there is no upload to postpone, only the fetch"));
  EXPECT_THAT(warnings({}, {.has_input_work = false}),
              ElementsAre("batches are made up: there is no input work to postpone"));
  EXPECT_THAT(warnings({{"buffer_size", 0}}, kHostEnd),
              ElementsAre("host: buffer_size = 0 fetches when asked: nothing can be postponed"));
  EXPECT_THAT(
      warnings({{"device_buffer_size", 0}}, kFirstDevice),
      ElementsAre("device 0: device_buffer_size = 0 fetches when asked: nothing can be postponed"));
  EXPECT_THAT(warnings({{"where", "host"}}, {.device = 1, .uploads = false}), IsEmpty());
}

// TensorFlow's own test of the option: range(100) comes out as it is, for each of these.
class SlackRangeTest : public testing::TestWithParam<std::tuple<const char*, int, int>> {};
INSTANTIATE_TEST_SUITE_P(Prefetchers, SlackRangeTest,
                         testing::Combine(testing::Values("plain", "slack"),
                                          testing::Values(-1, 0, 5), testing::Values(1, 8)));

TEST_P(SlackRangeTest, AHundredBatchesPassUnchangedAndInOrder) {
  const auto& [plugin, buffer_size, period] = GetParam();
  SimulatedClock clock(2);
  TestHost host(clock);
  ClockedStream upstream(clock, milliseconds(1));
  upstream.batches(100);
  const auto prefetcher = make_plugin<Prefetcher>(plugin, {{"buffer_size", buffer_size}}, host);
  std::vector<std::string> expected;
  for (int i = 0; i < 100; ++i) expected.push_back(std::to_string(i));
  expected.emplace_back("end");
  EXPECT_EQ(read_all(*prefetcher->wrap(upstream, host_of(period))), expected);
  EXPECT_EQ(upstream.lent.size(), 0u);
}

}  // namespace
}  // namespace slackline
