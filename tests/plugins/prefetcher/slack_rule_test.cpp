#include "slack_rule.h"

#include <chrono>
#include <vector>

#include <gtest/gtest.h>

namespace slackline {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

TEST(SlackRuleTest, SleepsNotAtAllBeforeAnythingWasMeasured) {
  const SlackRule rule({});
  EXPECT_EQ(rule.sleep_before(0), nanoseconds(0));
  EXPECT_EQ(rule.sleep_before(1), nanoseconds(0));
}

TEST(SlackRuleTest, SleepsAFifthOfWhatItMeasured) {
  SlackRule rule({});
  EXPECT_TRUE(rule.taken(milliseconds(100)));
  EXPECT_EQ(rule.slack(), milliseconds(100));
  EXPECT_EQ(rule.sleep_before(1), milliseconds(20));
}

TEST(SlackRuleTest, TheSleepIsAddedToTheTimeInTheBuffer) {
  SlackRule rule({});
  rule.taken(milliseconds(100));
  rule.taken(milliseconds(80));
  EXPECT_EQ(rule.slack(), milliseconds(100));
  rule.taken(milliseconds(30));
  EXPECT_EQ(rule.slack(), milliseconds(50));
  EXPECT_EQ(rule.sleep_before(3), milliseconds(10));
}

TEST(SlackRuleTest, AnInputThatIsNeverEarlySoonSleepsNoMore) {
  SlackRule rule({});
  rule.taken(milliseconds(100));
  for (int i = 0; i < 12; ++i) rule.taken(nanoseconds(0));
  EXPECT_LT(rule.sleep_before(13), nanoseconds(1));
}

TEST(SlackRuleTest, OnlyTheFirstElementOfABurstIsPostponed) {
  SlackRule rule({.period = 4});
  for (int i = 0; i < 4; ++i) rule.taken(milliseconds(100));
  for (const std::uint64_t produced : {0u, 4u, 8u}) {
    EXPECT_EQ(rule.sleep_before(produced), milliseconds(20)) << produced;
  }
  for (const std::uint64_t produced : {1u, 2u, 3u, 5u, 7u}) {
    EXPECT_EQ(rule.sleep_before(produced), nanoseconds(0)) << produced;
  }
}

TEST(SlackRuleTest, OnlyTheLastElementOfABurstIsMeasured) {
  SlackRule rule({.period = 3});
  EXPECT_FALSE(rule.taken(milliseconds(1)));
  EXPECT_FALSE(rule.taken(milliseconds(2)));
  EXPECT_EQ(rule.slack(), nanoseconds(0));
  EXPECT_TRUE(rule.taken(milliseconds(40)));
  EXPECT_EQ(rule.slack(), milliseconds(40));
  EXPECT_FALSE(rule.taken(milliseconds(7)));
  EXPECT_EQ(rule.slack(), milliseconds(40));
}

TEST(SlackRuleTest, ABoundIsForTheSleepAndForWhatIsAddedBack) {
  SlackRule rule({.max_sleep = milliseconds(5)});
  rule.taken(milliseconds(100));
  EXPECT_EQ(rule.sleep_before(1), milliseconds(5));
  rule.taken(milliseconds(95));
  EXPECT_EQ(rule.slack(), milliseconds(100));
}

TEST(SlackRuleTest, FactorsOfNoneAndOfAllAreAllowed) {
  SlackRule never({.factor = 0});
  never.taken(milliseconds(100));
  EXPECT_EQ(never.sleep_before(1), nanoseconds(0));
  SlackRule always({.factor = 1});
  always.taken(milliseconds(100));
  EXPECT_EQ(always.sleep_before(1), milliseconds(100));
}

}  // namespace
}  // namespace slackline
