#pragma once

#include <slackline/record_pool.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "byte_stream.h"
#include "shard_reader.h"

namespace slackline::tfrecord {

/// How many files are read in turn, and how much of each.
struct InterleavePlan {
  std::int32_t cycle_length = 1;  ///< files
  std::int64_t block_length = 1;  ///< records
  Compression compression = Compression::kNone;
  std::uint64_t max_record_bytes = 0;
};

/// Reads many files in turn, in the order of tf.data's interleave.
///
/// There are `cycle_length` places. The turn goes round them and takes `block_length` records from
/// the file of each. A place without a file opens the next one when its turn comes; a turn on
/// which a file proves to be finished yields nothing and leaves its place empty.
///
/// Lifecycle  construct, then start() and next() until false, any number of times.
/// Threads    one caller at a time.
/// Errors     as ShardReader. A lost record uses up its turn, so the order of all others is that
///            of the undamaged file.
class Interleave {
 public:
  /// `paths` and `pool` must outlive this.
  Interleave(const InterleavePlan& plan, const std::vector<std::string>& paths, RecordPool& pool);

  /// Goes to the first record of these files, given by their indexes in the list of all.
  void start(std::vector<std::uint32_t> files);

  /// The next record, in memory that the caller gives back to the pool; false after the last.
  [[nodiscard]] bool next(StoredRecord& record);

 private:
  struct Place {
    std::unique_ptr<ShardReader> reader;  ///< made on first use, then kept
    bool is_open = false;
  };

  void open_next_file(Place& place);
  void advance() noexcept;

  InterleavePlan plan_;
  const std::vector<std::string>& paths_;
  RecordPool& pool_;
  std::vector<Place> places_;
  std::vector<std::uint32_t> files_;
  std::size_t next_file_ = 0;  ///< index in files_
  std::size_t open_count_ = 0;
  std::size_t turn_ = 0;            ///< index in places_
  std::int64_t taken_in_turn_ = 0;  ///< records
};

}  // namespace slackline::tfrecord
