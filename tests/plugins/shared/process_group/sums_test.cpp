// What the calls of a group that works compute.

#include "rank_process.h"

namespace slackline {
namespace {

using testing_support::Words;

class SumsTest : public testing_support::GroupTest, public testing::WithParamInterface<int> {};

TEST_P(SumsTest, HaveTheBitsOfASumInRankOrder) {
  // Nothing, less than one value for each rank, primes, and more than a window of each rank.
  start_all(GetParam(), {}, {"sum=0", "sum=1", "sum=17", "sum=7919", "sum=1000003", "sum=1"});
  expect_all_done();
}

INSTANTIATE_TEST_SUITE_P(OfRanks, SumsTest, testing::Values(1, 2, 3, 5, 8));

class MessagesTest : public testing_support::GroupTest, public testing::WithParamInterface<int> {};

TEST_P(MessagesTest, AreThoseOfAllRanksWhateverTheirLength) {
  // None, short ones, the longest that goes with its opening, longer ones, and more than a
  // connection holds.
  start_all(GetParam(), {},
            {"gather=0", "gather=1", "gather=256", "gather=1024", "gather=1025", "gather=1000003",
             "gather=1"});
  expect_all_done();
}

TEST_P(MessagesTest, OfRankZeroReachAllWhateverTheirLength) {
  start_all(GetParam(), {},
            {"broadcast=0", "broadcast=1", "broadcast=64", "broadcast=65", "broadcast=1021",
             "broadcast=20000003", "broadcast=1"});
  expect_all_done();
}

INSTANTIATE_TEST_SUITE_P(OfRanks, MessagesTest, testing::Values(1, 2, 3, 5, 8));

using CallsTest = testing_support::GroupTest;

TEST_F(CallsTest, MessagesAndSumsDoNotWaitForEachOther) {
  // Ranks 0 and 2 are in the sum already when they tell what rank 1 wants to hear before it.
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {},
          i == 1 ? Words{"gather=256", "broadcast=100003", "sum=1000003"}
                 : Words{"sum_beside=1000003", "read", "gather=256", "broadcast=100003", "wait"});
  }
  for (const int i : {0, 2}) {
    ASSERT_TRUE(rank(i).wait_for("beside")) << rank(i).output();
    rank(i).write_line();
  }
  expect_all_done();
}

TEST_F(CallsTest, ManyFollowEachOther) {
  Words words;
  for (int i = 0; i < 100; ++i) {
    words.insert(words.end(), {"sum=1009", "broadcast=128", "gather=8", "gather=0", "sum=3"});
  }
  start_all(4, {}, words);
  expect_all_done();
}

TEST_F(CallsTest, NoneAllocates) {
  start_all(3, {}, {"steady=300007"});
  expect_all_done();
}

TEST_F(CallsTest, UnequalLengthsAreRefusedByAllAndChangeNothing) {
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {}, {i == 2 ? "length=7" : "length=5", "sum=1000"});
  }
  expect_all_done();
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(rank(i).output().find("refused: all-reduce: rank 0 has 5 values and rank 2 has 7; "
                                    "every rank must have as many\n"),
              std::string::npos)
        << rank(i).output();
  }
}

TEST_F(CallsTest, UnequalMessagesAreRefusedByAllAndChangeNothing) {
  // Short ones come with their length, long ones behind it; what follows must find its place.
  for (int i = 0; i < 3; ++i) {
    start(i, 3, {},
          {i == 2 ? "gather_length=7" : "gather_length=5",
           i == 1 ? "gather_length=3" : "gather_length=5000",
           i == 0 ? "broadcast_length=900000" : "broadcast_length=5", "gather=256", "sum=1000",
           "broadcast=1000"});
  }
  expect_all_done();
  for (int i = 0; i < 3; ++i) {
    for (const char* const problem : {"all-gather: rank 0 has 5 bytes and rank 2 has 7",
                                      "all-gather: rank 0 has 5000 bytes "
                                      "and rank 1 has 3",
                                      "broadcast: rank 0 has 900000 bytes and rank 1 has 5"}) {
      EXPECT_NE(rank(i).output().find(std::string("refused: ") + problem +
                                      "; every rank must have as many\n"),
                std::string::npos)
          << rank(i).output();
    }
  }
}

TEST_F(CallsTest, WhatFollowsARefusedCallMayComeBeforeAllHaveSeenIt) {
  // One rank's openings are shorter than the others expect, so they read into its next one.
  for (int i = 0; i < 3; ++i) {
    Words words;
    for (int call = 0; call < 200; ++call) {
      words.insert(words.end(), {i == 1 ? "broadcast_length=1024" : "gather_length=1024",
                                 i == 2 ? "broadcast_length=1024" : "gather_length=100"});
    }
    words.emplace_back("gather=256");
    start(i, 3, {}, words);
  }
  expect_all_done();
}

TEST_F(CallsTest, DifferentCallsAreRefusedByAll) {
  for (int i = 0; i < 3; ++i) start(i, 3, {}, {i == 1 ? "gather=8" : "broadcast=8"});
  expect_all_to_blame(-1, "rank 0 calls broadcast and rank 1 calls all-gather");
}

}  // namespace
}  // namespace slackline
