#include <slackline/prefetcher.h>

#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "batch_streams.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing_support::make_plugin;
using testing_support::OptionArguments;
using testing_support::read_all;
using testing_support::read_one;
using testing_support::ScriptedStream;
using testing_support::TestHost;

constexpr StreamEnd kHostEnd{};
constexpr StreamEnd kFirstDevice{.device = 0, .device_count = 2};

class PlainTest : public testing::Test {
 protected:
  /// Wraps `upstream_`. One stream for each test.
  BatchStream& open(const OptionArguments& options, StreamEnd end = kHostEnd) {
    plain_ = make_plugin<Prefetcher>("plain", options, host_);
    stream_ = plain_->wrap(upstream_, end);
    return *stream_;
  }
  /// Finds the buffer full and then, with luck, empty: the consumer takes two batches in a row, and
  /// wins the race for the second one some time in a thousand.
  void fill_and_drain(BatchStream& stream) {
    upstream_.batches(2100);
    for (std::size_t taken = 0; taken < 2000; taken += 2) {
      upstream_.wait_until_fetched(taken == 0 ? 0 : taken + 1);
      read_one(stream);
      read_one(stream);
    }
  }
  /// Destroys the stream: its reports are then final.
  void close() { stream_.reset(); }

  /// Whatever happened, no batch may be lost or given back twice.
  void TearDown() override {
    close();
    EXPECT_EQ(upstream_.lent(), 0u);
    EXPECT_EQ(upstream_.wrong_returns(), 0u);
  }

  ScriptedStream upstream_;
  TestHost host_;

 private:
  std::unique_ptr<Prefetcher> plain_;
  std::unique_ptr<BatchStream> stream_;
};

class PlainSizeTest : public PlainTest, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(BufferSizes, PlainSizeTest, testing::Values(-1, 0, 1, 5),
                         [](const auto& size) {
                           return size.param < 0 ? "autotuned" : std::to_string(size.param);
                         });

TEST_P(PlainSizeTest, AHundredBatchesPassUnchangedAndInOrder) {
  upstream_.batches(100);
  BatchStream& stream = open({{"buffer_size", GetParam()}});
  std::vector<std::string> expected;
  for (int i = 0; i < 100; ++i) expected.push_back(std::to_string(i));
  expected.emplace_back("end");
  EXPECT_EQ(read_all(stream), expected);
  EXPECT_EQ(read_one(stream), "end");
}

TEST_P(PlainSizeTest, AnErrorComesInItsPlaceAndTheStreamGoesOn) {
  upstream_.batches(2).fails("disk on fire").fails("disk is ash").batches(1);
  EXPECT_EQ(read_all(open({{"buffer_size", GetParam()}})),
            (std::vector<std::string>{"0", "1", "disk on fire", "disk is ash", "2", "end"}));
}

TEST_P(PlainSizeTest, NothingIsFetchedBeforeTheFirstBatchIsAskedFor) {
  upstream_.batches(3);
  open({{"buffer_size", GetParam()}});
  close();
  EXPECT_EQ(upstream_.asked(), 0u);
}

TEST_P(PlainSizeTest, AStreamThatIsLeftEarlyGivesEverythingBack) {
  upstream_.batches(100);
  EXPECT_EQ(read_one(open({{"buffer_size", GetParam()}})), "0");
}

TEST_P(PlainSizeTest, CancelEndsTheStreamForGood) {
  upstream_.batches(100);
  BatchStream& stream = open({{"buffer_size", GetParam()}});
  EXPECT_EQ(read_one(stream), "0");
  stream.cancel();
  EXPECT_EQ(read_one(stream), "end");
  EXPECT_EQ(read_one(stream), "end");
  EXPECT_TRUE(upstream_.cancelled());
}

TEST_P(PlainSizeTest, CancelBeforeTheFirstBatchFetchesNothing) {
  upstream_.batches(3);
  BatchStream& stream = open({{"buffer_size", GetParam()}});
  stream.cancel();
  EXPECT_EQ(read_one(stream), "end");
  EXPECT_EQ(upstream_.fetched(), 0u);
}

TEST_P(PlainSizeTest, CancelWakesAConsumerThatWaitsForASlowInput) {
  upstream_.blocks();
  BatchStream& stream = open({{"buffer_size", GetParam()}});
  std::string answer;
  std::thread consumer([&] { answer = read_one(stream); });
  upstream_.wait_until_blocked();
  stream.cancel();
  consumer.join();
  EXPECT_EQ(answer, "end");
}

TEST_P(PlainSizeTest, DestructionDoesNotWaitForASlowInput) {
  upstream_.batches(1).blocks();
  EXPECT_EQ(read_one(open({{"buffer_size", GetParam()}})), "0");
  if (GetParam() != 0) upstream_.wait_until_blocked();
  close();
}

TEST_F(PlainTest, CancelWakesAProducerThatWaitsForRoom) {
  upstream_.batches(100);
  BatchStream& stream = open({{"buffer_size", 2}});
  EXPECT_EQ(read_one(stream), "0");
  upstream_.wait_until_fetched(3);
  stream.cancel();
  close();
  EXPECT_EQ(upstream_.fetched(), 3u);
}

TEST_F(PlainTest, FetchesAheadAsFarAsTheBufferAllowsAndNoFurther) {
  upstream_.batches(100);
  BatchStream& stream = open({{"buffer_size", 5}});
  for (std::size_t i = 0; i < 90; ++i) {
    read_one(stream);
    upstream_.wait_until_fetched(i + 1 + 5);
  }
  // Five in the buffer and, while it is read, the one in the consumer's hands.
  EXPECT_GE(upstream_.most_lent(), 5u);
  EXPECT_LE(upstream_.most_lent(), 6u);
}

TEST_F(PlainTest, OneBatchWaitsAtADevice) {
  upstream_.batches(100);
  BatchStream& stream = open({}, kFirstDevice);
  for (std::size_t i = 0; i < 90; ++i) {
    read_one(stream);
    upstream_.wait_until_fetched(i + 1 + 1);
  }
  EXPECT_LE(upstream_.most_lent(), 2u);
}

TEST_F(PlainTest, ZeroFetchesOnTheCallersThread) {
  upstream_.batches(3);
  BatchStream& stream = open({{"device_buffer_size", 0}}, kFirstDevice);
  EXPECT_EQ(read_one(stream), "0");
  EXPECT_EQ(upstream_.asked(), 1u);
}

TEST_F(PlainTest, ABatchStaysValidUntilItGoesBackInWhateverOrder) {
  upstream_.batches(3);
  BatchStream& stream = open({{"buffer_size", 2}});
  std::vector<const Batch*> batches;
  while (const Batch* batch = stream.next()) batches.push_back(batch);
  ASSERT_EQ(batches.size(), 3u);
  EXPECT_EQ(upstream_.lent(), 3u);
  for (const std::size_t i : {1u, 2u, 0u}) {
    EXPECT_EQ(batches[i]->index, i);
    stream.give_back(batches[i]);
  }
}

TEST_F(PlainTest, AutotuningGrowsWhenAFullBufferRunsEmpty) {
  fill_and_drain(open({}));
  close();
  EXPECT_GE(host_.reports.at("host_buffer_limit"), 2);
  EXPECT_LE(host_.reports.at("host_buffer_limit"), 64);
}

TEST_F(PlainTest, AutotuningStopsAtItsBound) {
  fill_and_drain(open({{"max_buffer_size", 2}}));
  close();
  EXPECT_EQ(host_.reports.at("host_buffer_limit"), 2);
  EXPECT_LE(upstream_.most_lent(), 3u);
}

TEST_F(PlainTest, SaysHowLargeTheBufferBecameAndHowOftenItWasEmpty) {
  upstream_.batches(3).blocks();
  BatchStream& stream = open({{"device_buffer_size", 3}}, kFirstDevice);
  EXPECT_EQ(read_one(stream), "0");
  upstream_.wait_until_blocked();
  EXPECT_EQ(read_one(stream), "1");
  EXPECT_EQ(read_one(stream), "2");
  close();
  EXPECT_EQ(host_.reports, (std::map<std::string, double>{{"device_0_buffer_limit", 3},
                                                          {"device_0_buffer_empty", 1}}));
}

}  // namespace
}  // namespace slackline
