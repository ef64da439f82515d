// The steps that come out of the whole chain: a batch for each device, and none at an uneven end.

#include "input_chain.h"

#include <slackline/bad_samples.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chain_parts.h"
#include "streams/pass_through_stream.h"

namespace slackline {
namespace {

using testing::ElementsAre;

/// Records 0, 1, … that have no bytes.
class CountingSource final : public Source {
 public:
  explicit CountingSource(std::uint64_t count) : count_(count) {}
  RecordFormat format() const override { return RecordFormat::kPixels; }
  void start_epoch(const EpochPlan& /*plan*/) override { next_ = 0; }
  bool next(Record& record) override {
    if (next_ == count_) return false;
    record.id = next_++;
    return true;
  }
  void give_back(const Record& /*record*/) noexcept override {}

 private:
  std::uint64_t count_, next_ = 0;
};

class EachEndPrefetcher final : public Prefetcher {
 public:
  std::unique_ptr<BatchStream> wrap(BatchStream& upstream, const StreamEnd& end) override {
    ends.push_back((end.is_host() ? "host" : std::to_string(end.device)) + " of " +
                   std::to_string(end.device_count) + (end.uploads ? " uploads" : "") +
                   (end.has_input_work ? " works" : ""));
    return std::make_unique<PassThroughStream>(upstream);
  }
  std::vector<std::string> ends;
};

class InputChainTest : public testing::Test {
 protected:
  /// What the strategy gets, step by step: "0 1|2 3" for two devices, "-" for no batch.
  std::vector<std::string> steps(std::uint64_t records, std::int32_t devices, bool drop_remainder) {
    CountingSource source(records);
    SilentStrategy strategy(devices);
    BatchReaderPlan plan;
    plan.source = &source;
    plan.transforms = {&label_};
    plan.transform_names = {"transform/label"};
    plan.shape = {1, 1, 3};
    plan.batch_size = 2;
    plan.batches_per_step = devices;
    plan.num_classes = 100;
    plan.drop_remainder = drop_remainder;
    InputChain chain(plan, account_, prefetcher_, strategy, steady_clock(), options_);
    std::vector<std::string> out;
    StepBatches step;
    while (chain.next(step) && out.size() < 4) {
      std::string& text = out.emplace_back();
      for (const Batch* batch : step.given) {
        text += text.empty() ? "" : "|";
        if (batch == nullptr) text += "-";
        for (std::size_t i = 0; batch != nullptr && i < batch->labels.size(); ++i) {
          text += (i == 0 ? "" : " ") + std::to_string(batch->labels[i]);
        }
      }
      EXPECT_EQ(step.digest().order.length(), static_cast<std::uint64_t>(step.samples()));
      chain.give_back(step);
    }
    EXPECT_EQ(chain.upload_time().has_value(), devices > 0);
    return out;
  }

  NumberLabel label_;
  EachEndPrefetcher prefetcher_;
  BadSampleAccount account_{BadSamplePolicy::kFail, 0};
  InputOptions options_;
};

TEST_F(InputChainTest, ADeviceWithoutASampleAtTheEndGetsNoBatch) {
  EXPECT_THAT(steps(9, 3, false), ElementsAre("0 1|2 3|4 5", "6 7|8|-"));
  EXPECT_THAT(steps(6, 3, false), ElementsAre("0 1|2 3|4 5"));
}

TEST_F(InputChainTest, AStepThatTheEndCutShortIsDroppedWhole) {
  EXPECT_THAT(steps(9, 3, true), ElementsAre("0 1|2 3|4 5"));
  EXPECT_THAT(steps(11, 3, true), ElementsAre("0 1|2 3|4 5")) << "full batches are dropped too";
  EXPECT_THAT(steps(5, 3, true), ElementsAre());
}

TEST_F(InputChainTest, ThePrefetcherIsToldWhatEachEndIs) {
  static_cast<void>(steps(6, 2, true));
  EXPECT_THAT(prefetcher_.ends, ElementsAre("host of 2 uploads", "0 of 2", "1 of 2 uploads"));
}

TEST_F(InputChainTest, AReplayedStepIsLentForEver) {
  options_.replay = Replay::kDevice;
  EXPECT_THAT(steps(6, 2, true), ElementsAre("0 1|2 3", "0 1|2 3", "0 1|2 3", "0 1|2 3"));
}

TEST_F(InputChainTest, ReplayedBatchesLeaveOutAStepThatTheEndCutShort) {
  options_.replay = Replay::kBatches;
  EXPECT_THAT(steps(11, 2, false), ElementsAre("0 1|2 3", "4 5|6 7", "0 1|2 3", "4 5|6 7"));
}

}  // namespace
}  // namespace slackline
