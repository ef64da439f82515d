#include "byte_stream.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>

#include <zlib.h>

#include "sequential_file.h"

namespace slackline::tfrecord {
namespace {

class PlainStream final : public ByteStream {
 public:
  void open(const std::string& path) override { file_.open(path); }
  void close() noexcept override { file_.close(); }
  std::size_t read(std::span<std::byte> must, std::span<std::byte> may) override {
    return file_.read(must, may);
  }
  bool skip(std::uint64_t bytes) override {
    if (bytes > file_.remaining()) return false;
    file_.skip(bytes);
    return true;
  }
  std::optional<std::uint64_t> remaining() const override { return file_.remaining(); }

 private:
  SequentialFile file_;
};

/// gzip (RFC 1952; any number of members one after the other) or zlib (RFC 1950; exactly one).
class InflateStream final : public ByteStream {
 public:
  explicit InflateStream(Compression compression)
      : is_gzip_(compression == Compression::kGzip),
        packed_(std::make_unique_for_overwrite<std::byte[]>(kPackedBytes)) {
    constexpr int kAcceptGzipOnly = 16;
    if (inflateInit2(&zlib_, MAX_WBITS + (is_gzip_ ? kAcceptGzipOnly : 0)) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  ~InflateStream() override { inflateEnd(&zlib_); }

  void open(const std::string& path) override {
    file_.open(path);
    inflateReset(&zlib_);
    zlib_.avail_in = 0;
    unpacked_ = 0;
    is_at_end_ = false;
    failure_.clear();
  }
  void close() noexcept override { file_.close(); }

  std::size_t read(std::span<std::byte> must, std::span<std::byte> may) override {
    const std::size_t done = inflate_into(must);
    if (done == must.size()) return done + inflate_into(may);
    // What lies before the damage has been delivered: only now does it matter.
    if (!failure_.empty()) throw DataError(failure_);
    return done;
  }

  bool skip(std::uint64_t bytes) override {
    while (bytes > 0) {
      std::array<std::byte, 4096> dropped;
      const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, dropped.size()));
      if (read(std::span(dropped).first(part), {}) < part) return false;
      bytes -= part;
    }
    return true;
  }

  std::optional<std::uint64_t> remaining() const override { return std::nullopt; }

 private:
  static constexpr std::size_t kPackedBytes = 1 << 18;  ///< read from the file at a time

  const char* name() const { return is_gzip_ ? "gzip" : "zlib"; }

  void fail(std::string_view what) {
    failure_ = text("the ", name(), " stream ", what, " after ", unpacked_, " unpacked bytes");
  }

  /// Returns how many bytes there were: fewer at the end, and where failure_ is set.
  std::size_t inflate_into(std::span<std::byte> into) {
    std::size_t done = 0;
    while (done < into.size() && !is_at_end_ && failure_.empty()) {
      if (zlib_.avail_in == 0 && read_packed() == 0) {
        fail("is cut");
        break;
      }
      const std::size_t room =
          std::min<std::size_t>(into.size() - done, std::numeric_limits<uInt>::max());
      zlib_.next_out = reinterpret_cast<Bytef*>(into.data() + done);
      zlib_.avail_out = static_cast<uInt>(room);
      const int result = inflate(&zlib_, Z_NO_FLUSH);
      const std::size_t made = room - zlib_.avail_out;
      done += made;
      unpacked_ += made;
      if (result == Z_STREAM_END) {
        end_of_member();
      } else if (result == Z_MEM_ERROR) {
        throw std::bad_alloc();
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        const char* const reason = zlib_.msg != nullptr ? zlib_.msg : "needs a dictionary";
        fail(text("is damaged (", reason, ")"));
      }
    }
    return done;
  }

  std::size_t read_packed() {
    const std::size_t wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(kPackedBytes, file_.remaining()));
    const std::size_t count = file_.read({packed_.get(), wanted}, {});
    zlib_.next_in = reinterpret_cast<Bytef*>(packed_.get());
    zlib_.avail_in = static_cast<uInt>(count);
    return count;
  }

  void end_of_member() {
    if (zlib_.avail_in == 0 && read_packed() == 0) {
      is_at_end_ = true;
    } else if (is_gzip_) {
      inflateReset(&zlib_);
    } else {
      fail(text("is followed by ", zlib_.avail_in + file_.remaining(), " bytes too many"));
    }
  }

  bool is_gzip_;
  SequentialFile file_;
  z_stream zlib_{};
  std::unique_ptr<std::byte[]> packed_;
  std::uint64_t unpacked_ = 0;
  bool is_at_end_ = false;
  std::string failure_;  ///< why nothing more can be unpacked; empty if it can
};

}  // namespace

std::unique_ptr<ByteStream> make_byte_stream(Compression compression) {
  if (compression == Compression::kNone) return std::make_unique<PlainStream>();
  return std::make_unique<InflateStream>(compression);
}

}  // namespace slackline::tfrecord
