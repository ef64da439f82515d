// What a profiler is told of the host's threads.

#include <slackline/batch_reader.h>
#include <slackline/error.h>
#include <slackline/live_span.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chain_parts.h"
#include "common_steps.h"

namespace slackline {
namespace {

using testing::ElementsAre;

/// Writes down each thread's spans as they begin and end: "(read )".
class Recorder final : public SpanObserver {
 public:
  Recorder() { observe_spans(this); }
  ~Recorder() override { observe_spans(nullptr); }

  void begin(const char* name) noexcept override {
    const std::lock_guard lock(mutex_);
    said_[std::this_thread::get_id()] += std::string("(") + name + " ";
  }
  void end() noexcept override {
    const std::lock_guard lock(mutex_);
    said_[std::this_thread::get_id()] += ")";
  }
  std::string here() {
    const std::lock_guard lock(mutex_);
    return said_[std::this_thread::get_id()];
  }
  std::string elsewhere() {
    const std::lock_guard lock(mutex_);
    std::string out;
    for (const auto& [thread, said] : said_) {
      if (thread != std::this_thread::get_id()) out += said;
    }
    return out;
  }

 private:
  std::mutex mutex_;
  std::map<std::thread::id, std::string> said_;
};

TEST(LiveSpanTest, SpansAreToldAsTheyBeginAndEndAlsoByExceptions) {
  {
    const LiveSpan unseen("nobody listens");
    Recorder recorder;
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

TEST(LiveSpanTest, StagesOfTheInputAreSpansOfTheirThreads) {
  Recorder recorder;
  ShortSource source;
  SilentStrategy strategy(1);
  PassingPrefetcher prefetcher;
  NumberLabel label;
  BadSampleAccount account{BadSamplePolicy::kFail, 0};
  BatchReaderPlan plan;
  plan.source = &source;
  plan.transforms = {&label};
  plan.transform_names = {"transform/label"};
  plan.shape = {1, 1, 3};
  plan.batch_size = 1;
  plan.num_classes = 2;
  {
    InputChain chain(plan, account, prefetcher, strategy, steady_clock(), {});
    CommonSteps steps(chain, 1, nullptr, {}, {{}});
    StepBatches step;
    CommonStep common;
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(steps.next(step, common, {}, false), NextStep::kStep);
      chain.give_back(step);
    }
    EXPECT_THROW(static_cast<void>(steps.next(step, common, {}, false)), DataError);
  }
  EXPECT_EQ(recorder.here(), "(input wait )(input wait )(input wait )");
  EXPECT_THAT(recorder.elsewhere(),
              testing::StartsWith("(read )(transform/label )(read )(transform/label )(read )"));
}

}  // namespace
}  // namespace slackline
