// Reads TFRecord files as tf.data's usual chain does: list the files, shard them, shuffle them,
// interleave their records, shuffle those in a buffer. The order depends on (seed, epoch) alone.

#include <slackline/mean_time.h>
#include <slackline/plugin.h>
#include <slackline/random.h>
#include <slackline/record_pool.h>
#include <slackline/source.h>

#include <cassert>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "file_list.h"
#include "interleave.h"

namespace slackline {
namespace {

using tfrecord::Compression;
using tfrecord::StoredRecord;

// random_words() of sample 0: transforms use the low numbers of the operations.
constexpr std::uint32_t kFileShuffleOp = 255;
constexpr std::uint32_t kRecordShuffleOp = 254;

/// Record::id is the file's index above these bits and the offset in them.
constexpr unsigned kOffsetBits = 40;
constexpr std::size_t kMaxFiles = std::size_t{1} << (64 - kOffsetBits);

class TfrecordSource final : public Source {
 public:
  struct Options {
    std::vector<Path> files;
    Compression compression = Compression::kNone;
    bool shuffle_files = false;
    std::int32_t cycle_length = 10;
    std::int64_t block_length = 1;
    std::int32_t shuffle_buffer = 0;
    Bytes max_record_bytes{64 << 20};

    static OptionTable<Options> table() {
      return {
          option("files", &Options::files, "TFRecord shards; globs allowed, sorted by bytes")
              .required()
              .items(1, 0)
              .example("[\"train-*\"]"),
          choice("compression", &Options::compression,
                 {{"none", Compression::kNone},
                  {"gzip", Compression::kGzip},
                  {"zlib", Compression::kZlib}},
                 "how whole files are packed"),
          option("shuffle_files", &Options::shuffle_files,
                 "read the files in another random order in each epoch"),
          option("cycle_length", &Options::cycle_length, "how many files are read in turn")
              .range(1, 1024)
              .unit("files"),
          option("block_length", &Options::block_length, "how much of a file is read in one turn")
              .range(1, 1 << 30)
              .unit("records"),
          option("shuffle_buffer", &Options::shuffle_buffer,
                 "records from which the next one is drawn at random; 0 keeps their order")
              .range(0, 1 << 30)
              .unit("records"),
          option("max_record_bytes", &Options::max_record_bytes,
                 "a larger record is refused before memory is taken for it")
              .range(Bytes{1}, Bytes{std::uint64_t{1} << 32}),
      };
    }
  };

  TfrecordSource(const Options& options, Host& host)
      : options_(options),
        host_(host),
        files_(tfrecord::list_files(options.files)),
        pool_(options.shuffle_buffer > 0 ? RecordPool::Fit::kTight : RecordPool::Fit::kWarm),
        interleave_({.cycle_length = options.cycle_length,
                     .block_length = options.block_length,
                     .compression = options.compression,
                     .max_record_bytes = options.max_record_bytes.value},
                    files_, pool_),
        checksum_(host, "checksum") {
    if (files_.size() > kMaxFiles) {
      throw ConfigError("files", text(files_.size(), " files, must be at most ", kMaxFiles));
    }
    host.report("files", static_cast<double>(files_.size()), "files");
  }

  RecordFormat format() const override { return RecordFormat::kTfExample; }

  void start_epoch(const EpochPlan& plan) override {
    assert(plan.shard_index < plan.shard_count);
    shares_records_ = files_.size() < plan.shard_count;
    if (shares_records_) {
      host_.warn(text(files_.size(), files_.size() == 1 ? " file" : " files", " for ",
                      plan.shard_count, " shards: each shard reads all of them and keeps one in ",
                      plan.shard_count, " records; at least a file for each would be read once"));
    }
    shard_index_ = plan.shard_index;
    shard_count_ = plan.shard_count;
    records_read_ = 0;
    for (Drawable& waiting : buffer_) {
      if (waiting.record.buffer != nullptr) pool_.give_back(waiting.record.buffer);
    }
    buffer_.clear();
    const SampleKey key{.seed = plan.seed, .sample_id = 0, .epoch = plan.epoch};
    words_ = random_words(key, kRecordShuffleOp);
    interleave_.start(files_of_epoch(plan, random_words(key, kFileShuffleOp)));
  }

  bool next(Record& record) override {
    record = {};
    Drawable drawn;
    bool is_one = false;
    try {
      is_one = options_.shuffle_buffer > 0 ? draw(drawn) : read(drawn.record);
    } catch (const Error&) {
      describe(drawn.record, record);  // whoever catches it may want to know which it was
      throw;
    }
    if (!is_one) {
      checksum_.report();
      return false;
    }
    describe(drawn.record, record);
    if (drawn.error) throw DataError(*drawn.error);
    record.bytes = {drawn.record.buffer->data(), drawn.record.size};
    record.lease = drawn.record.buffer;
    return true;
  }

  void give_back(const Record& record) noexcept override {
    pool_.give_back(static_cast<RecordPool::Buffer*>(record.lease));
  }

 private:
  /// What waits in the shuffle buffer: a record, or the error in its place. So one damaged record
  /// does not change the order of the others.
  struct Drawable {
    StoredRecord record;
    std::unique_ptr<DataError> error;
  };

  /// File k of the sorted list belongs to shard k mod n; only then are a shard's files shuffled.
  /// All files belong to each, if there are too few.
  std::vector<std::uint32_t> files_of_epoch(const EpochPlan& plan, Philox words) const {
    std::vector<std::uint32_t> chosen;
    const std::uint32_t step = shares_records_ ? 1 : plan.shard_count;
    for (std::size_t k = shares_records_ ? 0 : plan.shard_index; k < files_.size(); k += step) {
      chosen.push_back(static_cast<std::uint32_t>(k));
    }
    if (options_.shuffle_files) {
      for (std::size_t left = chosen.size(); left > 1; --left) {
        std::swap(chosen[left - 1], chosen[uniform_below(words, static_cast<std::uint32_t>(left))]);
      }
    }
    return chosen;
  }

  /// The next record of the files; false after the last.
  bool read(StoredRecord& record) {
    if (!shares_records_) return read_any(record);
    for (;;) {
      const bool is_own = records_read_++ % shard_count_ == shard_index_;
      try {
        if (!read_any(record)) return false;
      } catch (const DataError&) {
        if (is_own) throw;
        continue;  // its own shard tells it
      }
      if (is_own) return true;
      pool_.give_back(record.buffer);
      record = {};
    }
  }

  bool read_any(StoredRecord& record) {
    if (!interleave_.next(record)) return false;
    checksum_.add(record.checksum_time);
    return true;
  }

  /// Fills the buffer, then takes one out of it at random. An IoError goes through and leaves the
  /// buffer as it is.
  bool draw(Drawable& drawn) {
    while (buffer_.size() < static_cast<std::size_t>(options_.shuffle_buffer)) {
      Drawable next;
      try {
        if (!read(next.record)) break;
      } catch (const DataError& error) {
        next.error = std::make_unique<DataError>(error);
      } catch (const Error&) {
        drawn.record = next.record;
        throw;
      }
      buffer_.push_back(std::move(next));
    }
    if (buffer_.empty()) return false;
    const auto chosen = uniform_below(words_, static_cast<std::uint32_t>(buffer_.size()));
    drawn = std::exchange(buffer_[chosen], std::move(buffer_.back()));
    buffer_.pop_back();
    return true;
  }

  /// Where a record came from, without its bytes.
  void describe(const StoredRecord& stored, Record& record) const {
    record.file = files_[stored.file];
    record.offset = stored.offset;
    record.id = std::uint64_t{stored.file} << kOffsetBits | stored.offset;
  }

  Options options_;
  Host& host_;
  std::vector<std::string> files_;  ///< all, sorted
  RecordPool pool_;                 ///< outlives what reads into it
  tfrecord::Interleave interleave_;
  MeanTime checksum_;
  std::vector<Drawable> buffer_;
  Philox words_{{}, {}};  ///< of the record shuffle

  bool shares_records_ = false;  ///< fewer files than shards: record i is shard i mod n's
  std::uint32_t shard_index_ = 0, shard_count_ = 1;
  std::uint64_t records_read_ = 0;  ///< of all shards, in this epoch
};

}  // namespace

SLACKLINE_PLUGIN(Source, TfrecordSource, "tfrecord",
                 "reads TFRecord files, interleaved and shuffled as tf.data does")

}  // namespace slackline
