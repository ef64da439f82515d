#include <slackline/collective.h>
#include <slackline/error.h>
#include <slackline/random.h>
#include <slackline/simulated_clock.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slackline {
namespace {

using std::chrono_literals::operator""ms;
using testing::Each;
using testing::ElementsAre;

using Arrays = std::vector<std::vector<float>>;

/// Numbers of very different size, so that another order of additions gives other bits.
Arrays made_up_arrays(std::size_t ranks, std::size_t length, std::uint32_t seed = 0) {
  Philox words({seed, 7}, {});
  Arrays arrays(ranks, std::vector<float>(length));
  for (std::vector<float>& array : arrays) {
    for (float& value : array) {
      const float scale = static_cast<float>(1u << uniform_below(words, 24));
      value = scale * (uniform_float(words) - 0.5f);
    }
  }
  return arrays;
}

/// ((a[0] + a[1]) + a[2]) + …, one element after another.
std::vector<float> sums_of(const Arrays& arrays) {
  std::vector<float> sums = arrays[0];
  for (std::size_t i = 0; i < sums.size(); ++i) {
    for (std::size_t rank = 1; rank < arrays.size(); ++rank) sums[i] += arrays[rank][i];
  }
  return sums;
}

/// Ranks on threads of `clock`.
class Ranks {
 public:
  Ranks(std::size_t size, Clock& clock)
      : clock_(clock), ranks_(make_thread_group(static_cast<std::int32_t>(size), clock)) {}

  /// Does this at every rank at once. What each says in the end: "done", or its error.
  std::vector<std::string> all(const std::function<void(std::size_t, Collective&)>& body) {
    std::vector<std::string> said(ranks_.size(), "done");
    std::vector<std::thread> threads;
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      threads.push_back(clock_.start_thread(text("rank ", rank), [&, rank] {
        try {
          body(rank, *ranks_[rank]);
        } catch (const DeviceError& error) {
          said[rank] = error.what();
        }
      }));
    }
    for (std::thread& thread : threads) clock_.join(thread);
    return said;
  }

  std::vector<std::string> reduce(Arrays& arrays) {
    return all(
        [&](std::size_t rank, Collective& self) { self.all_reduce_sum(arrays[rank], nullptr); });
  }

  Collective& operator[](std::size_t rank) { return *ranks_[rank]; }

 private:
  Clock& clock_;
  std::vector<std::unique_ptr<Collective>> ranks_;
};

TEST(SumInRankOrderTest, AddsFromTheFirstToTheLast) {
  std::vector<float> large = {1e8f}, opposite = {-1e8f}, small = {1};
  const std::vector<std::span<float>> values = {large, opposite, small};
  sum_in_rank_order(values);
  EXPECT_THAT((std::vector<float>{large[0], opposite[0], small[0]}), Each(1.0f))
      << "in another order the 1 is lost beside the 1e8";
}

TEST(SumInRankOrderTest, EveryArrayGetsTheSumsOfAllItsElements) {
  for (const std::size_t length : {0u, 1u, 2047u, 2048u, 2049u, 10000u}) {
    Arrays arrays = made_up_arrays(3, length);
    const std::vector<float> sums = sums_of(arrays);
    sum_in_rank_order(std::vector<std::span<float>>(arrays.begin(), arrays.end()));
    EXPECT_THAT(arrays, Each(sums)) << length << " values";
  }
}

TEST(SumInRankOrderTest, OneArrayOrNoneStaysAsItIs) {
  sum_in_rank_order({});
  std::vector<float> alone = {1, 2};
  sum_in_rank_order(std::vector<std::span<float>>{alone});
  EXPECT_THAT(alone, ElementsAre(1, 2));
}

TEST(ThreadGroupTest, EachRankKnowsItsPlace) {
  Ranks ranks(3, steady_clock());
  for (std::size_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(ranks[rank].rank(), rank);
    EXPECT_EQ(ranks[rank].size(), 3);
  }
}

TEST(ThreadGroupTest, EveryRankGetsTheSumsInRankOrderToTheLastBit) {
  for (const std::size_t size : {1u, 2u, 3u, 4u, 7u}) {
    for (const std::size_t length : {0u, 1u, 15u, 16u, 17u, 100u, 20011u}) {
      Ranks ranks(size, steady_clock());
      Arrays arrays = made_up_arrays(size, length);
      const std::vector<float> sums = sums_of(arrays);
      EXPECT_THAT(ranks.reduce(arrays), Each("done"));
      EXPECT_THAT(arrays, Each(sums)) << size << " ranks, " << length << " values";
    }
  }
}

TEST(ThreadGroupTest, ItMayBeUsedAgainAndAgainWithArraysOfAnyLength) {
  constexpr std::size_t kRanks = 4;
  constexpr std::uint32_t kRounds = 300;
  Ranks ranks(kRanks, steady_clock());
  std::vector<Arrays> rounds;
  std::vector<std::vector<float>> sums;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    rounds.push_back(made_up_arrays(kRanks, round % 70, round));
    sums.push_back(sums_of(rounds.back()));
  }
  EXPECT_THAT(ranks.all([&](std::size_t rank, Collective& self) {
    for (Arrays& arrays : rounds) self.all_reduce_sum(arrays[rank], nullptr);
  }),
              Each("done"));
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    EXPECT_THAT(rounds[round], Each(sums[round])) << "round " << round;
  }
}

TEST(ThreadGroupTest, NobodyLeavesBeforeTheLastHasCome) {
  SimulatedClock clock(4);
  Ranks ranks(3, clock);
  Arrays arrays = made_up_arrays(3, 40);
  const auto begin = clock.now();
  std::vector<Clock::Time> left(3);
  ranks.all([&](std::size_t rank, Collective& self) {
    clock.sleep(10ms * rank);
    self.all_reduce_sum(arrays[rank], nullptr);
    left[rank] = clock.now();
  });
  EXPECT_THAT(left, Each(begin + 20ms));
}

TEST(ThreadGroupTest, ArraysOfDifferentLengthAreAnErrorAtEveryRankThatNamesBoth) {
  SimulatedClock clock(4);
  Ranks ranks(3, clock);
  Arrays unequal = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11}};
  EXPECT_THAT(ranks.reduce(unequal),
              Each("all-reduce: rank 0 has 4 values and rank 2 has 3; every rank must have as "
                   "many"));
  EXPECT_EQ(unequal, (Arrays{{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11}})) << "nothing was changed";

  Arrays equal = {{1}, {2}, {3}};
  EXPECT_THAT(ranks.reduce(equal), Each("done")) << "the next call may be right again";
  EXPECT_THAT(equal, Each(ElementsAre(6)));
}

TEST(ThreadGroupTest, AnAbortWakesWhoeverWaitsAndRefusesWhoeverComesLater) {
  SimulatedClock clock(4);
  Ranks ranks(4, clock);
  Arrays arrays = made_up_arrays(4, 40);
  const Arrays before = arrays;
  const auto begin = clock.now();
  const auto said = ranks.all([&](std::size_t rank, Collective& self) {
    if (rank == 2) {
      clock.sleep(5ms);
      self.abort();
    }
    if (rank == 3) clock.sleep(10ms);
    self.all_reduce_sum(arrays[rank], nullptr);
  });
  EXPECT_THAT(said, Each("all-reduce of 4 ranks: rank 2 aborted"));
  EXPECT_EQ(clock.now(), begin + 10ms);
  EXPECT_EQ(arrays, before);
  EXPECT_THAT(ranks.reduce(arrays), Each("all-reduce of 4 ranks: rank 2 aborted")) << "for good";
}

TEST(ThreadGroupTest, TheFirstOfSeveralAbortsIsTheOneThatIsTold) {
  Ranks ranks(2, steady_clock());
  ranks[1].abort();
  ranks[0].abort();
  Arrays arrays = made_up_arrays(2, 1);
  EXPECT_THAT(ranks.reduce(arrays), Each("all-reduce of 2 ranks: rank 1 aborted"));
}

// An abort at any moment, also while others sum: no rank may then leave with its array, which the
// others still use, nor believe that the call failed when the others hold its result.
TEST(ThreadGroupTest, ACallThatIsAbortedSucceedsAtEveryRankOrAtNone) {
  constexpr std::size_t kRanks = 3;
  for (std::uint32_t attempt = 0; attempt < 100; ++attempt) {
    Ranks ranks(kRanks, steady_clock());
    std::atomic<std::uint32_t> calls{0};
    std::thread aborter([&] {
      while (calls < attempt) std::this_thread::yield();
      ranks[1].abort();
    });
    std::vector<std::uint32_t> successes(kRanks);
    ranks.all([&](std::size_t rank, Collective& self) {
      while (true) {
        std::vector<float> own(200, static_cast<float>(rank));
        ++calls;
        self.all_reduce_sum(own, nullptr);
        EXPECT_THAT(own, Each(3.0f));
        ++successes[rank];
      }
    });
    aborter.join();
    EXPECT_THAT(successes, Each(successes[0]));
  }
}

}  // namespace
}  // namespace slackline
