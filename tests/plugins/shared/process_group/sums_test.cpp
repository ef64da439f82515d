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

using CallsTest = testing_support::GroupTest;

TEST_F(CallsTest, ManyFollowEachOther) {
  Words words;
  for (int i = 0; i < 100; ++i) {
    words.insert(words.end(), {"sum=1009", "broadcast", "barrier", "barrier", "sum=3"});
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

TEST_F(CallsTest, DifferentCallsAreRefusedByAll) {
  for (int i = 0; i < 3; ++i) start(i, 3, {}, {i == 1 ? "barrier" : "broadcast"});
  expect_all_to_blame(-1, "rank 0 calls broadcast and rank 1 calls barrier");
}

}  // namespace
}  // namespace slackline
