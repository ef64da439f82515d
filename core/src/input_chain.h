#pragma once

// The way of a batch from the source to one device.

#include <slackline/batch_reader.h>
#include <slackline/config.h>
#include <slackline/prefetcher.h>
#include <slackline/strategy.h>

#include <memory>

#include "assembly.h"

namespace slackline {

/// BatchReader → host end of the prefetcher → upload → device end of the prefetcher.
///
/// Threads    as BatchStream.
class InputChain {
 public:
  InputChain(BatchReaderPlan plan, BadSampleAccount& account, Prefetcher& prefetcher,
             Strategy& strategy)
      : reader_(std::move(plan), account),
        host_(prefetcher.wrap(reader_, {StreamEnd::kHost, strategy.device_count()})),
        uploaded_(strategy.upload(*host_, 0)),
        device_(prefetcher.wrap(*uploaded_, {0, strategy.device_count()})) {}

  [[nodiscard]] const Batch* next() { return device_->next(); }
  void give_back(const Batch* batch) noexcept { device_->give_back(batch); }
  void cancel() noexcept { device_->cancel(); }
  [[nodiscard]] const BatchReader& reader() const { return reader_; }

 private:
  // Each holds the one before it, and is destroyed before it.
  BatchReader reader_;
  std::unique_ptr<BatchStream> host_, uploaded_, device_;
};

}  // namespace slackline
