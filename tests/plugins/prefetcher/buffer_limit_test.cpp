#include "streams/buffer_limit.h"

#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

namespace slackline {
namespace {

std::vector<std::int64_t> limits_after(BufferLimit limit, const std::vector<std::int64_t>& found) {
  std::vector<std::int64_t> limits;
  for (const std::int64_t batches : found) {
    limit.record(batches);
    limits.push_back(limit.batches());
  }
  return limits;
}

/// Finds the buffer full and then empty until the limit has grown `times` times.
BufferLimit grown(BufferLimit limit, int times) {
  for (int i = 0; i < times; ++i) {
    limit.record(limit.batches());
    limit.record(0);
  }
  return limit;
}

// The vector of TensorFlow's prefetch_autotuner_test.cc.
TEST(BufferLimitTest, GrowsAsTensorFlowsTestSays) {
  EXPECT_EQ(BufferLimit::autotuned(1 << 20).batches(), 1);
  EXPECT_EQ(limits_after(BufferLimit::autotuned(1 << 20), {0, 1, 0, 2, 1, 0, 4, 0, 0, 0}),
            (std::vector<std::int64_t>{1, 1, 2, 2, 2, 4, 4, 8, 8, 8}));
}

TEST(BufferLimitTest, DoublesUpTo2048AndThenAdds2048) {
  const BufferLimit at_2048 = grown(BufferLimit::autotuned(1 << 20), 11);
  EXPECT_EQ(at_2048.batches(), 2048);
  EXPECT_EQ(grown(at_2048, 1).batches(), 4096);
  EXPECT_EQ(grown(at_2048, 2).batches(), 6144);
}

TEST(BufferLimitTest, AnInputThatNeverFillsTheBufferDoesNotMakeItGrow) {
  BufferLimit limit = grown(BufferLimit::autotuned(64), 2);
  EXPECT_EQ(limits_after(limit, {0, 3, 0, 2, 0, 1, 0}), std::vector<std::int64_t>(7, 4));
}

TEST(BufferLimitTest, StopsAtItsBound) {
  EXPECT_EQ(grown(BufferLimit::autotuned(6), 2).batches(), 4);
  EXPECT_EQ(grown(BufferLimit::autotuned(6), 3).batches(), 6);
  EXPECT_EQ(grown(BufferLimit::autotuned(6), 9).batches(), 6);
  EXPECT_EQ(grown(BufferLimit::autotuned(1), 9).batches(), 1);
}

TEST(BufferLimitTest, AFixedOneStays) {
  EXPECT_EQ(grown(BufferLimit::fixed(3), 9).batches(), 3);
  EXPECT_EQ(BufferLimit::fixed(3).max_batches(), 3);
}

}  // namespace
}  // namespace slackline
