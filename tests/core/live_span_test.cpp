// What a profiler is told of the host's threads.

#include <slackline/batch_reader.h>
#include <slackline/error.h>
#include <slackline/live_span.h>

#include <cstdint>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chain_parts.h"
#include "common_steps.h"
#include "span_recorder.h"
#include "thread_ranks.h"

namespace slackline {
namespace {

using testing_support::SpanRecorder;

TEST(LiveSpanTest, SpansAreToldAsTheyBeginAndEndAlsoByExceptions) {
  {
    const LiveSpan unseen("nobody listens");
    SpanRecorder recorder;
    try {
      const LiveSpan outer("outer");
      const LiveSpan inner("inner");
      throw DataError("on purpose");
    } catch (const DataError&) {
      const LiveSpan behind("behind");
    }
    EXPECT_EQ(recorder.here(), "(outer (inner ))(behind )");
  }
  const LiveSpan unseen("nobody listens any more");
}

/// Two records without bytes, then one that is damaged.
class ShortSource final : public Source {
 public:
  RecordFormat format() const override { return RecordFormat::kPixels; }
  void start_epoch(const EpochPlan& /*plan*/) override { next_ = 0; }
  bool next(Record& record) override {
    if (next_ == 2) throw DataError("damaged");
    record.id = next_++;
    return true;
  }
  void give_back(const Record& /*record*/) noexcept override {}

 private:
  std::uint64_t next_ = 0;
};

/// Batches of one record each, and the steps that are made of them.
class LiveSpanStepsTest : public testing::Test {
 protected:
  LiveSpanStepsTest() {
    plan_.source = &source_;
    plan_.transforms = {&label_};
    plan_.transform_names = {"transform/label"};
    plan_.shape = {1, 1, 3};
    plan_.batch_size = 1;
    plan_.num_classes = 2;
  }

  /// Two good steps, and the one that is damaged.
  void run_steps(Ranks* ranks = nullptr) {
    InputChain chain(plan_, account_, prefetcher_, strategy_, steady_clock(), {});
    CommonSteps steps(chain, 1, ranks, {}, {{}}, steady_clock());
    StepBatches step;
    CommonStep common;
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(steps.next(step, common, {}, false), NextStep::kStep);
      chain.give_back(step);
    }
    EXPECT_THROW(static_cast<void>(steps.next(step, common, {}, false)), DataError);
  }

  SpanRecorder recorder_;

 private:
  ShortSource source_;
  NumberLabel label_;
  SilentStrategy strategy_{1};
  PassingPrefetcher prefetcher_;
  BadSampleAccount account_{BadSamplePolicy::kFail, 0};
  BatchReaderPlan plan_;
};

TEST_F(LiveSpanStepsTest, StagesOfTheInputAreSpansOfTheirThreads) {
  run_steps();
  EXPECT_EQ(recorder_.here(), "(input wait )(input wait )(input wait )");
  EXPECT_THAT(recorder_.elsewhere(),
              testing::StartsWith("(read )(transform/label )(read )(transform/label )(read )"));
}

TEST_F(LiveSpanStepsTest, WaitsForOtherRanksAreSpansToo) {
  testing_support::ThreadRanks alone(1);
  run_steps(&alone.of(0));
  EXPECT_EQ(recorder_.here(), "(input wait )(rank wait )(input wait )(rank wait )(input wait )");
}

}  // namespace
}  // namespace slackline
