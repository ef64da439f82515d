#pragma once

#include <slackline/record_pool.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "byte_stream.h"

namespace slackline::tfrecord {

/// One record in memory of the pool, and where it came from.
struct StoredRecord {
  RecordPool::Buffer* buffer = nullptr;      ///< nullptr: the record was damaged, or there is none
  std::size_t size = 0;                      ///< of its payload, in bytes
  std::uint64_t offset = 0;                  ///< of its frame in the unpacked file
  std::uint32_t file = 0;                    ///< index in the sorted list of all files
  std::chrono::nanoseconds checksum_time{};  ///< of computing its payload's
};

/// Takes the frames of one TFRecord file after the other apart (docs/tfrecord_format.md).
///
/// Nothing is believed before its checksum was: neither a length nor a payload. And no memory is
/// taken for a record that is larger than allowed or than what is left of the file.
///
/// Lifecycle  construct, then open() and next() until false, for any number of files.
/// Threads    one caller at a time.
/// Errors     IoError. DataError, naming file, byte and loss; next() then goes on with the
///            following record or, where that cannot be found, returns false.
class ShardReader {
 public:
  ShardReader(Compression compression, std::uint64_t max_record_bytes, RecordPool& pool);

  /// Starts on a file. `path` must outlive the reading.
  void open(const std::string& path, std::uint32_t file_index);

  /// Puts the next record of the file into memory that the caller gives back to the pool. False at
  /// the end of the file. After a DataError `record` says which one was lost.
  [[nodiscard]] bool next(StoredRecord& record);

  void close() noexcept;

 private:
  // These throw DataError, without the place, if the rest of the file cannot be read either.

  /// Reads the header of the next record; nullopt at the end of the file.
  [[nodiscard]] std::optional<std::uint64_t> read_length();
  /// Reads what follows the header. Returns what is wrong with this record alone, "" if nothing is.
  [[nodiscard]] std::string read_payload(std::uint64_t length, StoredRecord& record);

  /// Makes the block hold at least `bytes`; false if the file ends before.
  bool fill_block(std::size_t bytes);
  /// Fills `into` and returns how many bytes there were: fewer only at the end of the file.
  [[nodiscard]] std::size_t read(std::span<std::byte> into);
  /// Passes over bytes; false if there are not so many.
  [[nodiscard]] bool skip(std::uint64_t bytes);
  void drop(StoredRecord& record) noexcept;

  [[noreturn]] static void throw_cut(std::optional<std::uint64_t> present, std::uint64_t length);
  [[nodiscard]] std::string hint() const;
  [[nodiscard]] std::string place(const StoredRecord& record) const;
  [[nodiscard]] std::string lost_rest() const;

  Compression compression_;
  std::uint64_t max_record_bytes_;
  RecordPool& pool_;
  std::unique_ptr<ByteStream> stream_;
  std::unique_ptr<std::byte[]> block_;  ///< read from the stream and not used yet:
  std::size_t begin_ = 0;               ///< from here …
  std::size_t end_ = 0;                 ///< … to here
  const std::string* path_ = nullptr;
  std::uint32_t file_index_ = 0;
  std::uint64_t offset_ = 0;  ///< of the frame that is being read, in the unpacked file
  std::optional<std::uint64_t> file_bytes_;  ///< nullopt if packed
  bool is_open_ = false;
};

}  // namespace slackline::tfrecord
