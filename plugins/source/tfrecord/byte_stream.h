#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace slackline::tfrecord {

/// How the bytes of a whole file are packed.
enum class Compression { kNone, kGzip, kZlib };

/// The bytes of one file after the other, unpacked.
///
/// Threads    one caller at a time.
/// Errors     IoError; DataError with a message that does not name the file if what is packed is
///            damaged or cut. Nothing more can then be read from this file.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  /// Starts on a file. `path` must outlive the reading.
  virtual void open(const std::string& path) = 0;

  /// Frees the file.
  virtual void close() noexcept = 0;

  /// Fills `must`, then as much of `may` as costs nothing more. Returns how many bytes there were:
  /// less than must.size() only at the end.
  [[nodiscard]] virtual std::size_t read(std::span<std::byte> must, std::span<std::byte> may) = 0;

  /// Passes over `bytes`; false if there are not that many.
  [[nodiscard]] virtual bool skip(std::uint64_t bytes) = 0;

  /// Bytes that are left; nullopt if only unpacking them would tell.
  [[nodiscard]] virtual std::optional<std::uint64_t> remaining() const = 0;
};

[[nodiscard]] std::unique_ptr<ByteStream> make_byte_stream(Compression compression);

}  // namespace slackline::tfrecord
