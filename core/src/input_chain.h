#pragma once

// The way of batches from the source to the devices.

#include <slackline/batch_reader.h>
#include <slackline/clock.h>
#include <slackline/device_splitter.h>
#include <slackline/prefetcher.h>
#include <slackline/run_options.h>
#include <slackline/strategy.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "replay.h"
#include "timed_stream.h"

namespace slackline {

/// The batches of one step, one for each device, lent by the chain.
struct StepBatches {
  std::vector<const Batch*> lent;   ///< for each device
  std::vector<const Batch*> given;  ///< what the strategy gets: null for a batch without samples

  [[nodiscard]] std::int32_t samples() const;
  [[nodiscard]] const Batch& first() const { return *lent.front(); }
  /// Where the data go on behind this step.
  [[nodiscard]] const DataPosition& end() const { return lent.back()->end; }
  [[nodiscard]] BatchDigest digest() const;
};

/// BatchReader → host end of the prefetcher → one stream for each device → upload → device end of
/// the prefetcher. A single device has no splitter: nothing is fetched that the prefetcher did not
/// ask for. Replay puts a stand-in in place of the source, of the reader or of everything.
///
/// Threads    next() and give_back() by one caller; cancel() by any.
class InputChain {
 public:
  InputChain(BatchReaderPlan plan, BadSampleAccount& account, Prefetcher& prefetcher,
             Strategy& strategy, Clock& clock, const InputOptions& options);
  ~InputChain();

  /// Waits for a batch for each device. False at the end of the data and after cancel(). Steps that
  /// the end of the data cut short are left out if the plan drops remainders; steps of which no
  /// sample is left, always.
  [[nodiscard]] bool next(StepBatches& step);
  /// Ends the loan of what next() lent, and empties `step`.
  void give_back(StepBatches& step) noexcept;
  void cancel() noexcept;
  [[nodiscard]] const BatchReader& reader() const { return *reader_; }
  /// In the uploaders' next(), less what they waited for host batches there; summed over devices.
  /// Nothing if no device has an upload.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> upload_time() const;

 private:
  /// From the host's memory to one device.
  struct DeviceEnd {
    std::unique_ptr<TimedStream> host;
    std::unique_ptr<BatchStream> upload;  ///< null where there is none
    std::unique_ptr<TimedStream> uploaded;
    std::unique_ptr<BatchStream> prefetched;
  };

  [[nodiscard]] bool collect(StepBatches& step);
  void return_loans(StepBatches& step) noexcept;

  const bool drop_rests_;
  const bool replays_step_;  ///< the first step is lent for ever
  StepBatches replayed_;
  // Each holds the one before it, and is destroyed before it.
  std::unique_ptr<ReplayedRecords> replayed_records_;
  std::unique_ptr<BatchReader> reader_;
  std::unique_ptr<ReplayedBatches> replayed_batches_;
  std::unique_ptr<BatchStream> host_;
  std::unique_ptr<DeviceSplitter> splitter_;
  std::vector<DeviceEnd> devices_;
};

}  // namespace slackline
