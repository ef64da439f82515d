#include "shard_reader.h"

#include <slackline/crc32c.h>
#include <slackline/error.h>

#include <algorithm>
#include <cstring>
#include <iomanip>

namespace slackline::tfrecord {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kChecksumBytes = 4;
constexpr std::size_t kHeaderBytes = kLengthBytes + kChecksumBytes;

/// Small records are cut out of blocks of this size.
constexpr std::size_t kBlockBytes = 1 << 20;
/// What is missing of a record is read straight into its place if it is at least this much …
constexpr std::size_t kDirectBytes = 16 << 10;
/// … and with it, by the same call, the beginning of what follows: at least the next header.
constexpr std::size_t kPeekBytes = 4 << 10;

/// Record::id keeps the offset in its low 40 bits.
constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 40;

template <class Number>
Number load(const std::byte* at) noexcept {
  Number number = 0;
  std::memcpy(&number, at, sizeof(number));
  return number;
}

std::string hex(std::uint32_t value) {
  return text("0x", std::hex, std::setw(8), std::setfill('0'), value);
}

/// Empty if they are equal.
std::string mismatch(std::uint32_t stored, std::uint32_t computed) {
  if (stored == computed) return {};
  return text("checksum does not match (stored ", hex(stored), ", computed ", hex(computed), ")");
}

}  // namespace

ShardReader::ShardReader(Compression compression, std::uint64_t max_record_bytes, RecordPool& pool)
    : compression_(compression),
      max_record_bytes_(max_record_bytes),
      pool_(pool),
      stream_(make_byte_stream(compression)),
      block_(std::make_unique_for_overwrite<std::byte[]>(kBlockBytes)) {}

void ShardReader::open(const std::string& path, std::uint32_t file_index) {
  path_ = &path;
  file_index_ = file_index;
  begin_ = end_ = 0;
  offset_ = 0;
  is_open_ = false;
  stream_->open(path);
  file_bytes_ = stream_->remaining();
  is_open_ = true;
}

void ShardReader::close() noexcept {
  stream_->close();
  is_open_ = false;
}

bool ShardReader::next(StoredRecord& record) {
  record = {.offset = offset_, .file = file_index_};
  if (!is_open_) return false;
  std::string damage;
  try {
    const std::optional<std::uint64_t> length = read_length();
    if (!length) {
      close();
      return false;
    }
    damage = read_payload(*length, record);
    offset_ += kHeaderBytes + *length + kChecksumBytes;
  } catch (const DataError& error) {
    drop(record);
    close();
    throw DataError(error.key(), text(place(record), error.what(), lost_rest()));
  } catch (...) {
    drop(record);
    close();
    throw;
  }
  if (!damage.empty()) {
    drop(record);
    throw DataError("data", text(place(record), damage));
  }
  return true;
}

std::optional<std::uint64_t> ShardReader::read_length() {
  if (!fill_block(kHeaderBytes)) {
    if (begin_ == end_) return std::nullopt;
    throw DataError("length", text("the file ends inside the header, after ", end_ - begin_, " of ",
                                   kHeaderBytes, " bytes"));
  }
  const std::byte* const header = block_.get() + begin_;
  const auto wrong =
      mismatch(load<std::uint32_t>(header + kLengthBytes), masked_crc32c({header, kLengthBytes}));
  if (!wrong.empty()) throw DataError("length", text("length ", wrong, hint()));
  if (offset_ >= kMaxOffset) {
    throw DataError("length",
                    text("lies beyond ", kMaxOffset, " bytes, the most that a file may have"));
  }
  begin_ += kHeaderBytes;
  return load<std::uint64_t>(header);
}

std::string ShardReader::read_payload(std::uint64_t length, StoredRecord& record) {
  if (const auto behind = stream_->remaining(); behind) {
    const std::uint64_t left = end_ - begin_ + *behind;
    if (left < kChecksumBytes || length > left - kChecksumBytes) throw_cut(left, length);
  }
  if (length > max_record_bytes_) {
    if (!skip(length) || !skip(kChecksumBytes)) throw_cut(std::nullopt, length);
    return text("has ", length, " bytes, at most ", max_record_bytes_,
                " are allowed (max_record_bytes)");
  }
  // The checksum is read along with the payload, into the same memory.
  record.size = static_cast<std::size_t>(length);
  record.buffer = pool_.take(record.size + kChecksumBytes);
  const std::span<std::byte> memory(record.buffer->data(), record.size + kChecksumBytes);
  if (const std::size_t count = read(memory); count < memory.size()) throw_cut(count, length);
  const auto begin = std::chrono::steady_clock::now();
  const std::uint32_t computed = masked_crc32c(memory.first(record.size));
  record.checksum_time = std::chrono::steady_clock::now() - begin;
  const auto wrong = mismatch(load<std::uint32_t>(memory.data() + record.size), computed);
  return wrong.empty() ? wrong : "data " + wrong;
}

bool ShardReader::fill_block(std::size_t bytes) {
  const std::size_t kept = end_ - begin_;
  if (kept >= bytes) return true;
  if (kept > 0) std::memmove(block_.get(), block_.get() + begin_, kept);
  begin_ = 0;
  end_ = kept;
  const std::span<std::byte> room(block_.get() + kept, kBlockBytes - kept);
  end_ += stream_->read(room.first(bytes - kept), room.subspan(bytes - kept));
  return end_ >= bytes;
}

std::size_t ShardReader::read(std::span<std::byte> into) {
  const std::size_t kept = std::min(end_ - begin_, into.size());
  std::memcpy(into.data(), block_.get() + begin_, kept);
  begin_ += kept;
  const std::span<std::byte> rest = into.subspan(kept);
  if (rest.empty()) return kept;
  if (rest.size() < kDirectBytes) {
    fill_block(rest.size());
    return kept + (end_ > begin_ ? read(rest) : 0);
  }
  const std::size_t count = stream_->read(rest, {block_.get(), kPeekBytes});
  const std::size_t direct = std::min(count, rest.size());
  begin_ = 0;
  end_ = count - direct;
  return kept + direct;
}

bool ShardReader::skip(std::uint64_t bytes) {
  const std::uint64_t kept = std::min<std::uint64_t>(end_ - begin_, bytes);
  begin_ += static_cast<std::size_t>(kept);
  return stream_->skip(bytes - kept);
}

void ShardReader::drop(StoredRecord& record) noexcept {
  if (record.buffer != nullptr) pool_.give_back(record.buffer);
  record.buffer = nullptr;
}

void ShardReader::throw_cut(std::optional<std::uint64_t> present, std::uint64_t length) {
  const std::string got = present ? text(*present, " of ") : "";
  throw DataError("length", text("the file ends inside the record, ", got, length,
                                 " bytes and a checksum of 4 expected"));
}

std::string ShardReader::hint() const {
  if (offset_ != 0 || compression_ != Compression::kNone) return {};
  const auto first = load<std::uint16_t>(block_.get() + begin_);
  if (first == 0x8b1f) return "; it looks like a gzip file: set compression = \"gzip\"";
  const auto method = first & 0xff;
  const auto check = (first >> 8) + method * 256;  // RFC 1950: a multiple of 31
  if (method == 0x78 && check % 31 == 0)
    return "; it may be a zlib file: set compression = \"zlib\"";
  return "; is it a TFRecord file?";
}

std::string ShardReader::place(const StoredRecord& record) const {
  return text(*path_, ": record at byte ", record.offset, ": ");
}

std::string ShardReader::lost_rest() const {
  if (!file_bytes_) return "; the rest of the file is lost";
  return text("; the rest of the file is lost, ", *file_bytes_ - offset_, " bytes");
}

}  // namespace slackline::tfrecord
