// The steps that ranks agree on, whose shards are not equally long.

#include "common_steps.h"

#include <slackline/bad_samples.h>
#include <slackline/simulated_clock.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chain_parts.h"
#include "streams/pass_through_stream.h"
#include "thread_ranks.h"

namespace slackline {
namespace {

using namespace std::chrono_literals;
using testing::Each;
using testing::ElementsAre;
using Steps = std::vector<std::string>;

/// Epochs of so many records, whose numbers are first, first + 1, … in each.
class ShardSource final : public Source {
 public:
  ShardSource(std::uint64_t count, std::uint64_t first) : count_(count), first_(first) {}
  RecordFormat format() const override { return RecordFormat::kPixels; }
  void start_epoch(const EpochPlan& /*plan*/) override { next_ = 0; }
  bool next(Record& record) override {
    if (next_ == count_) return false;
    record.id = first_ + next_++;
    return true;
  }
  void give_back(const Record& /*record*/) noexcept override {}

 private:
  std::uint64_t count_, first_, next_ = 0;
};

using Waits = std::vector<std::chrono::milliseconds>;

/// Takes as long for each batch as is written, and no time for those behind.
class LateStream final : public BatchStream {
 public:
  LateStream(BatchStream& upstream, SimulatedClock& clock, Waits waits)
      : upstream_(upstream), clock_(clock), waits_(std::move(waits)) {}
  const Batch* next() override {
    if (next_ < waits_.size()) clock_.sleep(waits_[next_++]);
    return upstream_.next();
  }
  void give_back(const Batch* batch) noexcept override { upstream_.give_back(batch); }
  void cancel() noexcept override { upstream_.cancel(); }

 private:
  BatchStream& upstream_;
  SimulatedClock& clock_;
  const Waits waits_;
  std::size_t next_ = 0;
};

class LatePrefetcher final : public Prefetcher {
 public:
  LatePrefetcher(SimulatedClock& clock, Waits waits) : clock_(clock), waits_(std::move(waits)) {}
  std::unique_ptr<BatchStream> wrap(BatchStream& upstream, const StreamEnd& end) override {
    if (end.is_host()) return std::make_unique<PassThroughStream>(upstream);
    return std::make_unique<LateStream>(upstream, clock_, waits_);
  }

 private:
  SimulatedClock& clock_;
  const Waits waits_;
};

class CommonStepsTest : public testing::Test {
 protected:
  /// What one rank saw.
  struct Seen {
    Steps steps;  ///< "e0 n4: 0 1": epoch, samples of all ranks, own samples
    NextStep end{};
    std::uint64_t left_out = 0;
    Steps ends;  ///< "1:2": epoch and records, of each rank behind the last step
    BatchDigest digest;
    std::vector<bool> saves;
    Waits waits;  ///< the longest of all ranks, in each step and before the end
    std::string error;
  };

  /// Runs a rank for each shard, which has so many records, over two epochs in batches of two.
  std::vector<Seen> run(const std::vector<std::uint64_t>& shards) {
    std::vector<Seen> seen(shards.size());
    std::vector<std::thread> threads;
    testing_support::ThreadRanks ranks(static_cast<std::int32_t>(shards.size()));
    for (std::size_t rank = 0; rank < shards.size(); ++rank) {
      threads.emplace_back([&, rank] {
        try {
          run_rank(rank, shards, &ranks.of(rank), seen[rank]);
        } catch (const std::exception& error) {
          ranks.of(rank).abort(error.what());
          seen[rank].error = error.what();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return seen;
  }

  void run_rank(std::size_t rank, const std::vector<std::uint64_t>& shards, Ranks* ranks,
                Seen& seen) {
    ShardSource source(shards[rank], 10 * rank);
    SilentStrategy strategy(1);
    SimulatedClock clock(1);  // no other thread takes part
    LatePrefetcher prefetcher(clock, waits_[rank]);
    BadSampleAccount account{BadSamplePolicy::kFail, 0};
    NumberLabel label;
    BatchReaderPlan plan;
    plan.source = &source;
    plan.transforms = {&label};
    plan.transform_names = {"transform/label"};
    plan.shape = {1, 1, 3};
    plan.batch_size = 2;
    plan.num_classes = rank == bad_rank_ ? 1 : 100;
    plan.epochs = 2;
    plan.drop_remainder = rules_.drop_remainder;
    plan.batches_span_epochs = rules_.batches_span_epochs;
    InputChain chain(plan, account, prefetcher, strategy, steady_clock(), {});
    CommonSteps steps(chain, 1, ranks, rules_, std::vector<DataPosition>(shards.size()), clock);
    std::stop_source stop;
    const std::stop_callback on_stop(stop.get_token(), [&chain] { chain.cancel(); });
    StepBatches step;
    CommonStep common;
    std::chrono::nanoseconds waited{};
    for (;;) {
      if (rank == stopped_rank_ && seen.steps.size() == 1) stop.request_stop();
      seen.end = steps.next(step, common, stop.get_token(), seen.steps.size() == save_at_[rank]);
      seen.waits.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(
          steps.longest_input_wait() - std::exchange(waited, steps.longest_input_wait())));
      if (seen.end != NextStep::kStep) break;
      std::string text =
          "e" + std::to_string(common.epoch) + " n" + std::to_string(common.samples) + ":";
      EXPECT_EQ(step.given.size(), 1) << "for each device";
      for (const Batch* batch : step.given) {
        if (batch == nullptr) continue;
        for (const std::int32_t number : batch->labels) text += " " + std::to_string(number);
      }
      seen.steps.push_back(text);
      seen.digest.append(common.digest);
      seen.saves.push_back(common.save);
      seen.ends.clear();
      for (const DataPosition& end : common.ends) {
        seen.ends.push_back(std::to_string(end.epoch) + ":" + std::to_string(end.records));
      }
      chain.give_back(step);
    }
    seen.left_out = steps.left_out();
  }

  static constexpr std::size_t kNone = 99;
  EndRules rules_{.drop_remainder = true, .batches_span_epochs = false};
  std::size_t bad_rank_ = kNone, stopped_rank_ = kNone;
  std::vector<std::size_t> save_at_ = {kNone, kNone, kNone};
  std::vector<Waits> waits_{3};  ///< of each rank, for its batches
};

TEST_F(CommonStepsTest, EqualShardsAreReadSideBySide) {
  const std::vector<Seen> seen = run({4, 4});
  EXPECT_THAT(seen[0].steps, ElementsAre("e0 n4: 0 1", "e0 n4: 2 3", "e1 n4: 0 1", "e1 n4: 2 3"));
  EXPECT_THAT(seen[1].steps,
              ElementsAre("e0 n4: 10 11", "e0 n4: 12 13", "e1 n4: 10 11", "e1 n4: 12 13"));
  EXPECT_EQ(seen[0].end, NextStep::kEnd);
  EXPECT_EQ(seen[0].left_out + seen[1].left_out, 0);
}

TEST_F(CommonStepsTest, AlonePassesTheChainsSteps) {
  Seen seen;
  run_rank(0, {5}, nullptr, seen);
  EXPECT_THAT(seen.steps, ElementsAre("e0 n2: 0 1", "e0 n2: 2 3", "e1 n2: 0 1", "e1 n2: 2 3"));
  rules_.drop_remainder = false;
  run_rank(0, {3}, nullptr, seen = {});
  EXPECT_THAT(seen.steps, ElementsAre("e0 n2: 0 1", "e0 n1: 2", "e1 n2: 0 1", "e1 n1: 2"));
}

TEST_F(CommonStepsTest, WithRemaindersDroppedTheShortestShardEndsTheEpochForAll) {
  const std::vector<Seen> seen = run({8, 3, 5});
  EXPECT_THAT(seen[0].steps, ElementsAre("e0 n6: 0 1", "e1 n6: 0 1"));
  EXPECT_THAT(seen[1].steps, ElementsAre("e0 n6: 10 11", "e1 n6: 10 11"));
  EXPECT_THAT(seen[2].steps, ElementsAre("e0 n6: 20 21", "e1 n6: 20 21"));
  EXPECT_EQ(seen[0].left_out, 6 + 2) << "of the second epoch only what had been fetched";
  EXPECT_EQ(seen[1].left_out, 0);
}

TEST_F(CommonStepsTest, WithRemaindersKeptTheOthersGoOnUntilTheLongestShardEnds) {
  rules_.drop_remainder = false;
  const std::vector<Seen> seen = run({5, 2});
  EXPECT_THAT(seen[0].steps, ElementsAre("e0 n4: 0 1", "e0 n2: 2 3", "e0 n1: 4", "e1 n4: 0 1",
                                         "e1 n2: 2 3", "e1 n1: 4"));
  EXPECT_THAT(seen[1].steps,
              ElementsAre("e0 n4: 10 11", "e0 n2:", "e0 n1:", "e1 n4: 10 11", "e1 n2:", "e1 n1:"));
  EXPECT_THAT(seen[0].ends, ElementsAre("2:0", "1:2")) << "each shard has a place of its own";
}

TEST_F(CommonStepsTest, WhereBatchesSpanEpochsNobodyWaitsForAnothersEpoch) {
  rules_.batches_span_epochs = true;
  const std::vector<Seen> seen = run({3, 4});
  EXPECT_THAT(seen[0].steps, ElementsAre("e0 n4: 0 1", "e0 n4: 2 0", "e1 n4: 1 2"));
  EXPECT_THAT(seen[1].steps, ElementsAre("e0 n4: 10 11", "e0 n4: 12 13", "e1 n4: 10 11"));
  EXPECT_EQ(seen[1].left_out, 2) << "the last one, for which rank 0 has nothing more";
}

TEST_F(CommonStepsTest, WhereBatchesSpanEpochsTheFirstRankToBeginOneBeginsItForAll) {
  rules_.batches_span_epochs = true;
  std::vector<Seen> seen = run({2, 6});
  EXPECT_THAT(seen[0].steps, ElementsAre("e0 n4: 0 1", "e1 n4: 0 1"));
  EXPECT_THAT(seen[1].steps, ElementsAre("e0 n4: 10 11", "e1 n4: 12 13"));
  rules_.drop_remainder = false;
  seen = run({2, 4});
  EXPECT_THAT(seen[0].steps, ElementsAre("e0 n4: 0 1", "e1 n4: 0 1", "e1 n2:", "e1 n2:"));
  EXPECT_THAT(seen[1].steps,
              ElementsAre("e0 n4: 10 11", "e1 n4: 12 13", "e1 n2: 10 11", "e1 n2: 12 13"));
  seen = run({2, 6});
  EXPECT_THAT(seen[1].steps, testing::Contains("e1 n2: 14 15")) << "an epoch does not come back";
}

TEST_F(CommonStepsTest, AllRanksKnowTheSamplesOfAll) {
  const std::vector<Seen> seen = run({4, 4});
  EXPECT_EQ(seen[0].digest, seen[1].digest);
  EXPECT_EQ(seen[0].digest.order.length(), 16);
  BatchDigest expected;
  for (const std::uint32_t epoch : {0u, 1u}) {
    for (const std::int32_t number : {0, 1, 10, 11, 2, 3, 12, 13}) {
      expected.order.append(order_item(epoch, static_cast<std::uint64_t>(number), number));
    }
  }
  EXPECT_EQ(seen[0].digest.order, expected.order) << "rank by rank, step by step";
}

TEST_F(CommonStepsTest, WhoeverIsAskedToStopStopsAllBehindTheSameStep) {
  for (stopped_rank_ = 0; stopped_rank_ < 2; ++stopped_rank_) {
    for (const Seen& seen : run({8, 8})) {
      EXPECT_EQ(seen.end, NextStep::kStopped);
      EXPECT_EQ(seen.steps.size(), 1);
    }
  }
}

TEST_F(CommonStepsTest, OnlyTheFirstRankSaysWhenToSave) {
  save_at_ = {1, 0};
  for (const Seen& seen : run({6, 6})) {
    EXPECT_THAT(seen.saves, ElementsAre(false, true, false, false, false, false));
  }
}

TEST_F(CommonStepsTest, EveryStepWaitsForTheRankThatIsLateInIt) {
  waits_ = {{0ms, 40ms, 0ms, 5ms}, {30ms, 0ms, 0ms, 7ms}};
  for (const Seen& seen : run({4, 4})) {
    EXPECT_THAT(seen.waits, ElementsAre(30ms, 40ms, 0ms, 7ms, 0ms));
  }
  Seen alone;
  run_rank(0, {4}, nullptr, alone);
  EXPECT_THAT(alone.waits, ElementsAre(0ms, 40ms, 0ms, 5ms, 0ms));
}

TEST_F(CommonStepsTest, AWaitForWhatIsLeftOutIsOneBeforeTheNextStep) {
  waits_ = {{0ms, 10ms, 20ms}, {0ms, 15ms}};
  for (const Seen& seen : run({4, 2})) {
    EXPECT_THAT(seen.waits, ElementsAre(0ms, 15ms + 20ms, 0ms));
  }
}

TEST_F(CommonStepsTest, ABadSampleAtOneRankEndsAll) {
  bad_rank_ = 1;
  std::vector<std::string> errors;
  for (const Seen& seen : run({8, 8})) errors.push_back(seen.error);
  EXPECT_THAT(errors, Each(testing::HasSubstr("class 10 is not in 0..0")));
}

}  // namespace
}  // namespace slackline
