#pragma once

#include <slackline/bad_samples.h>
#include <slackline/batch.h>
#include <slackline/source.h>
#include <slackline/trace.h>
#include <slackline/transform.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace slackline {

/// What a BatchReader reads, and how.
struct BatchReaderPlan {
  Source* source = nullptr;
  std::vector<const Transform*> transforms;  ///< prepared; the first decodes
  std::vector<std::string> transform_names;  ///< for errors; one for each transform
  ImageShape shape;
  std::int32_t batch_size = 1;
  std::int32_t num_classes = 1;  ///< a label outside 0..num_classes-1 makes a bad sample
  std::int32_t workers = 1;
  std::int32_t batches_ahead = 2;     ///< filled or being filled, beyond those that are lent
  std::int32_t batches_per_step = 1;  ///< see BatchReader
  bool drop_remainder = true;
  bool batches_span_epochs = false;  ///< a remainder is filled up from the next epoch
  std::uint64_t seed = 0;
  DataPosition begin;        ///< what comes before was read by an earlier run
  std::uint32_t epochs = 1;  ///< reading ends with the end of epoch `epochs - 1`
  std::uint32_t shard_index = 0;
  std::uint32_t shard_count = 1;
  std::vector<TraceTrack*> tracks;      ///< one for each worker, or none
  std::vector<const char*> span_names;  ///< with tracks: of the transforms; as long-lived as those
};

/// Where the time of the workers went since the start, summed over them.
struct InputTimes {
  std::chrono::nanoseconds read{};  ///< in Source::next(): I/O, checksums, shuffling
  std::vector<std::chrono::nanoseconds> transforms;  ///< in each Transform::apply()
  std::chrono::nanoseconds batching{};               ///< everything else: the framework's own cost
  std::chrono::nanoseconds turn{};  ///< waiting for another worker's turn at the source
  std::chrono::nanoseconds idle{};  ///< waiting for room: the consumer is slower
  std::chrono::nanoseconds cpu{};   ///< CPU time of all of it, as of a few records ago; the rest
                                    ///< are times on the clock
  std::uint64_t samples = 0;        ///< records that became samples
  std::uint64_t record_bytes = 0;
  std::uint64_t batches = 0;  ///< delivered
  std::int32_t buffers = 0;   ///< host batches allocated so far

  /// What was added since `earlier`. `buffers` stays what it is.
  [[nodiscard]] SLACKLINE_API InputTimes since(const InputTimes& earlier) const;
  /// Adds everything but `buffers`.
  SLACKLINE_API InputTimes& operator+=(const InputTimes& other);
};

/// Source and Transforms on worker threads, filling host batches: the beginning of every run's
/// stream of batches.
///
/// There is no queue of records and no thread that deals them out. A worker takes its turn at the
/// Source, which gives it a record and the next free slot; it then decodes into that slot while
/// others take theirs. So batches are filled in the order of the data, and pixels go from the
/// decoder to their final place. The result is the same for any number of workers.
///
/// With `batches_per_step` above 1 the stream is for so many devices in turn. So that each step
/// begins with the first of them, an epoch's last step is filled up with empty batches, and no
/// batch is left out because it is empty. Batches that the end of the data cut short are marked
/// (Batch::is_rest), and emptied with `drop_remainder`.
///
/// Lifecycle  as BatchStream. Epochs follow each other without a gap; a batch mixes two only if
///            the plan says so, and then counts as one of its first sample's.
/// Threads    as BatchStream; times() from any.
/// Errors     next() throws, in the place in the order where it happened: DataError for a bad
///            sample that the policy does not allow; or if the data end before plan.begin;
///            whatever else source or transforms threw.
class SLACKLINE_API BatchReader final : public BatchStream {
 public:
  /// Starts the workers. `account` receives bad samples during next(), and decides what is done
  /// about them; it, the source and the transforms must outlive this.
  BatchReader(BatchReaderPlan plan, BadSampleAccount& account);
  ~BatchReader() override;

  [[nodiscard]] const Batch* next() override;
  void give_back(const Batch* batch) noexcept override;
  void cancel() noexcept override;

  [[nodiscard]] InputTimes times() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slackline
