#pragma once

// Stand-ins for a part of the input that cost nothing, so that what is left can be measured:
// [input] replay.

#include <slackline/batch.h>
#include <slackline/source.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

namespace slackline {

/// The first records of a source, kept in memory and lent again and again in one epoch that never
/// ends.
///
/// Threads    as Source.
/// Errors     those of the source, in start_epoch(); DataError if it has no record.
class ReplayedRecords final : public Source {
 public:
  ReplayedRecords(Source& source, std::uint64_t records) : source_(source), most_(records) {}

  [[nodiscard]] RecordFormat format() const override { return source_.format(); }
  void start_epoch(const EpochPlan& plan) override;
  [[nodiscard]] bool next(Record& record) override;
  void give_back(const Record& /*record*/) noexcept override {}

 private:
  struct Kept {
    std::vector<std::byte> bytes;
    std::string file;
    Record record;
  };

  Source& source_;
  const std::uint64_t most_;
  std::vector<Kept> kept_;
  std::size_t next_ = 0;
};

/// The first batches of a stream, kept at the first next() and lent again and again without end.
/// Those of a step that the end of the data cut short are not kept; if that leaves none, the stream
/// is empty.
///
/// Threads    as BatchStream.
class ReplayedBatches final : public BatchStream {
 public:
  ReplayedBatches(BatchStream& upstream, std::uint64_t steps, std::uint64_t batches_per_step)
      : upstream_(upstream), most_(steps * batches_per_step), per_step_(batches_per_step) {}
  ~ReplayedBatches() override;

  [[nodiscard]] const Batch* next() override;
  void give_back(const Batch* batch) noexcept override;
  void cancel() noexcept override;

 private:
  struct Loan {
    Batch view;  ///< of a kept batch, under a number of its own
    bool is_lent = false;
  };

  void keep();

  BatchStream& upstream_;
  const std::uint64_t most_;
  const std::uint64_t per_step_;
  std::vector<const Batch*> kept_;
  bool is_complete_ = false;
  std::uint64_t lent_ = 0;
  std::mutex mutex_;
  std::deque<Loan> loans_;  ///< addresses stay
  bool cancelled_ = false;
};

}  // namespace slackline
