#pragma once

// The least that an InputChain can be made of.

#include <slackline/prefetcher.h>
#include <slackline/strategy.h>
#include <slackline/transform.h>

#include <cstdint>
#include <memory>
#include <span>

#include "streams/pass_through_stream.h"

namespace slackline {

/// The label is the record's number.
class NumberLabel final : public Transform {
 public:
  std::span<const RecordFormat> decodes() const noexcept override { return {}; }
  void prepare(const ImageShape& /*shape*/) override {}
  void apply(const Record& record, SampleSlot& slot, TransformContext& /*context*/) const override {
    slot.label = static_cast<std::int32_t>(record.id);
  }
};

/// Fetches when it is asked to.
class PassingPrefetcher final : public Prefetcher {
 public:
  std::unique_ptr<BatchStream> wrap(BatchStream& upstream, const StreamEnd& /*end*/) override {
    return std::make_unique<PassThroughStream>(upstream);
  }
};

/// Devices that compute nothing; the last one has memory of its own.
class SilentStrategy final : public Strategy {
 public:
  explicit SilentStrategy(std::int32_t devices) : devices_(devices) {}
  std::int32_t device_count() const override { return devices_; }
  std::int32_t launch_threads_per_device() const override { return 0; }
  void build(ModelFactory& /*factory*/, const ModelSpec& /*spec*/) override {}
  std::unique_ptr<BatchStream> upload(BatchStream& host, std::int32_t device) override {
    if (device + 1 < devices_) return nullptr;
    return std::make_unique<PassThroughStream>(host);
  }
  void submit(std::span<const Batch* const> /*batches*/, const StepPlan& /*plan*/) override {}
  StepSums finish() override { return {}; }
  TensorStore& state() override { return no_tensors(); }

 private:
  std::int32_t devices_;
};

}  // namespace slackline
