#include "framework_cost.h"

#include <slackline/batch_reader.h>

#include <array>
#include <chrono>

namespace slackline::bench {
namespace {

constexpr std::uint64_t kBatches = 20'000;
constexpr std::uint64_t kWarmupBatches = 1'000;

/// As many empty records as asked for.
class EmptySource final : public Source {
 public:
  explicit EmptySource(std::uint64_t records) : records_(records) {}
  RecordFormat format() const override { return RecordFormat::kPixels; }
  void start_epoch(const EpochPlan&) override { next_ = 0; }
  bool next(Record& record) override {
    record = {};
    record.id = next_;
    return next_++ < records_;
  }
  void give_back(const Record&) noexcept override {}

 private:
  std::uint64_t records_;
  std::uint64_t next_ = 0;
};

/// Sets the label and leaves the pixels.
class EmptyTransform final : public Transform {
 public:
  std::span<const RecordFormat> decodes() const noexcept override { return formats_; }
  void prepare(const ImageShape&) override {}
  void apply(const Record&, SampleSlot& slot, TransformContext&) const override { slot.label = 0; }

 private:
  std::array<RecordFormat, 1> formats_{RecordFormat::kPixels};
};

}  // namespace

double framework_us_per_batch(std::int32_t batch_size) {
  EmptySource source((kBatches + kWarmupBatches) * static_cast<std::uint64_t>(batch_size));
  const EmptyTransform transform;
  BatchReaderPlan plan;
  plan.source = &source;
  plan.transforms = {&transform};
  plan.transform_names = {"transform/empty"};
  plan.shape = {1, 1, 3};
  plan.batch_size = batch_size;
  plan.num_classes = 1;
  BadSampleAccount account(BadSamplePolicy::kFail, 0);
  BatchReader reader(plan, account);
  auto start = std::chrono::steady_clock::now();
  std::uint64_t batches = 0;
  while (const Batch* batch = reader.next()) {
    reader.give_back(batch);
    if (++batches == kWarmupBatches) start = std::chrono::steady_clock::now();
  }
  const auto wall = std::chrono::steady_clock::now() - start;
  return std::chrono::duration<double, std::micro>(wall).count() / static_cast<double>(kBatches);
}

}  // namespace slackline::bench
