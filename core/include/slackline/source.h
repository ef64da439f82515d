#pragma once

#include <slackline/export.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace slackline {

/// How the bytes of a record are to be read.
enum class RecordFormat : std::uint32_t {
  kTfExample = 0,     ///< a serialized tf.train.Example; the label is inside
  kEncodedImage = 1,  ///< the bytes of an image file; the label is Record::label
  kPixels = 2,        ///< (H, W, C) uint8, RGB, of the run's image size; the label is Record::label
};

/// "tf.Example", "encoded image", "pixels".
SLACKLINE_API std::string_view name_of(RecordFormat format) noexcept;

/// One example as stored: not parsed, not decoded. A view: the Source that lent it owns the memory.
struct Record {
  std::span<const std::byte> bytes;  ///< payload only; framing and checksums are stripped
  std::string_view file;             ///< where it came from; empty if it was made up
  std::uint64_t offset = 0;          ///< byte offset of its frame in `file`, uncompressed
  std::uint64_t id = 0;              ///< the same record has the same id in every epoch and run
  RecordFormat format = RecordFormat::kTfExample;
  std::int32_t label = -1;  ///< class index from 0, where the format says it is here
  void* lease = nullptr;    ///< the Source's own business
};

/// Which records one epoch has, and in which order.
struct EpochPlan {
  std::uint64_t seed = 0;
  std::uint32_t epoch = 0;        ///< from 0
  std::uint32_t shard_index = 0;  ///< this process reads part `shard_index` …
  std::uint32_t shard_count = 1;  ///< … of `shard_count` disjoint parts that cover everything
};

/// Yields the records of a dataset, one epoch at a time.
///
/// Lifecycle  construct, then any number of epochs: start_epoch(), next() until false.
/// Threads    start_epoch() and next() by one caller at a time; give_back() by any thread.
/// Errors     DataError for a damaged record, IoError if the system refuses to read.
class SLACKLINE_API Source {
 public:
  static constexpr const char* kKind = "source";
  static constexpr std::uint32_t kInterfaceVersion = 1;

  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source();

  /// The format of every record of this source.
  [[nodiscard]] virtual RecordFormat format() const = 0;

  /// Goes to the first record of an epoch. The order depends on the configuration and `plan`
  /// alone, so two runs of one configuration read the same sequence. Records still lent from
  /// before stay valid.
  virtual void start_epoch(const EpochPlan& plan) = 0;

  /// Lends the next record until give_back() and returns true; at the end of the epoch returns
  /// false, and again at every further call. May block on I/O.
  ///
  /// After a DataError the epoch may go on: the next call returns what follows the damage. The
  /// message names file and offset and says what was lost, if that is more than one record;
  /// `record.file` and `record.offset` are set, nothing is lent.
  [[nodiscard]] virtual bool next(Record& record) = 0;

  /// Ends the loan of `record`, whose memory may then be used for another.
  virtual void give_back(const Record& record) noexcept = 0;
};

}  // namespace slackline
