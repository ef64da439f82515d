// The TFRecord reader on any file: records whose checksums are right, or DataError.
//
// The first byte of the input says how the rest becomes a file, since random bytes would never get
// past a checksum:
//
//   bits 0-1   0: as it is  1: gzip  2: zlib  3: as it is
//   bit 2      the bytes are packed here first, so that what is fuzzed is inside
//   bit 3      the bytes are a list of frames whose checksums are made here:
//              u8 what (bit 0: damage the header's checksum, bit 1: the data's, bit 2: the length
//              that follows is 8 bytes, else 2), length, payload as far as there is input

#include <slackline/crc32c.h>
#include <slackline/error.h>
#include <slackline/record_pool.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>

#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "shard_reader.h"

namespace {

using slackline::RecordPool;
using slackline::tfrecord::Compression;
using slackline::tfrecord::ShardReader;
using slackline::tfrecord::StoredRecord;

constexpr std::uint64_t kMaxRecordBytes = 1 << 16;

template <class Number>
void append(std::string& to, Number number) {
  to.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

std::uint32_t masked(std::string_view bytes) {
  return slackline::masked_crc32c(std::as_bytes(std::span(bytes)));
}

template <class Number>
Number take(std::string_view& from) {
  Number number = 0;
  const std::size_t count = std::min(sizeof(number), from.size());
  std::memcpy(&number, from.data(), count);
  from.remove_prefix(count);
  return number;
}

std::string frames(std::string_view script) {
  std::string file;
  while (!script.empty()) {
    const auto what = take<std::uint8_t>(script);
    const std::uint64_t length =
        (what & 4) != 0 ? take<std::uint64_t>(script) : take<std::uint16_t>(script);
    std::string header;
    append(header, length);
    file += header;
    append(file, masked(header) ^ (what & 1u));
    const std::string_view payload =
        script.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(length, script.size())));
    script.remove_prefix(payload.size());
    file += payload;
    append(file, masked(payload) ^ (what & 2u));
  }
  return file;
}

std::string packed(std::string_view bytes, Compression compression) {
  z_stream zlib{};
  const int window = compression == Compression::kGzip ? MAX_WBITS + 16 : MAX_WBITS;
  if (deflateInit2(&zlib, 1, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  std::string out(deflateBound(&zlib, bytes.size()), '\0');
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  zlib.avail_in = static_cast<uInt>(bytes.size());
  zlib.next_out = reinterpret_cast<Bytef*>(out.data());
  zlib.avail_out = static_cast<uInt>(out.size());
  if (deflate(&zlib, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(zlib.total_out);
  deflateEnd(&zlib);
  return out;
}

/// A file in memory, which has a path like any other.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0) std::abort();
    path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::string& with(std::string_view contents) {
    if (::ftruncate(descriptor_, 0) != 0) std::abort();
    const ssize_t written = ::pwrite(descriptor_, contents.data(), contents.size(), 0);
    if (written != static_cast<ssize_t>(contents.size())) std::abort();
    return path_;
  }

 private:
  int descriptor_;
  std::string path_;
};

void read_all(ShardReader& reader, RecordPool& pool, const std::string& path) {
  reader.open(path, 0);
  for (StoredRecord record;;) {
    try {
      if (!reader.next(record)) return;
    } catch (const slackline::DataError&) {
      if (record.buffer != nullptr) std::abort();
      continue;
    }
    if (record.size > kMaxRecordBytes) std::abort();
    // The checksum lies behind the payload; what is not right must not come out.
    std::uint32_t stored = 0;
    std::memcpy(&stored, record.buffer->data() + record.size, sizeof(stored));
    if (stored != slackline::masked_crc32c({record.buffer->data(), record.size})) std::abort();
    pool.give_back(record.buffer);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static MemoryFile file;
  static RecordPool pool;
  static ShardReader plain(Compression::kNone, kMaxRecordBytes, pool);
  static ShardReader gzip(Compression::kGzip, kMaxRecordBytes, pool);
  static ShardReader zlib(Compression::kZlib, kMaxRecordBytes, pool);

  if (size == 0) return 0;
  const unsigned how = data[0];
  std::string contents(reinterpret_cast<const char*>(data + 1), size - 1);
  if ((how & 8) != 0) contents = frames(contents);
  const unsigned packing = how & 3;
  if (packing == 1 || packing == 2) {
    const Compression compression = packing == 1 ? Compression::kGzip : Compression::kZlib;
    if ((how & 4) != 0) contents = packed(contents, compression);
    read_all(packing == 1 ? gzip : zlib, pool, file.with(contents));
  } else {
    read_all(plain, pool, file.with(contents));
  }
  return 0;
}
