#pragma once

#include <slackline/export.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace slackline {

// The safetensors format: named tensors one behind the other, with a header in JSON in front. The
// grammar is in docs/checkpoints.md.

/// How a value of a tensor is stored, little-endian.
enum class StoredType { kF64, kF32, kF16, kBf16, kI64, kU32, kU8 };

/// "F32", "BF16", ….
SLACKLINE_API std::string_view name_of(StoredType type) noexcept;
/// Bytes of one value.
SLACKLINE_API std::size_t size_of(StoredType type) noexcept;

/// A tensor of a file.
struct StoredTensor {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<std::int64_t> shape = {};  ///< none: one value
  std::uint64_t begin = 0;  ///< of its first byte in the file; of no matter to a writer
  std::uint64_t bytes = 0;  ///< of all its values; likewise

  [[nodiscard]] std::uint64_t values() const { return bytes / size_of(type); }
};

/// "[64, 3, 7, 7]".
SLACKLINE_API std::string shape_text(std::span<const std::int64_t> shape);

using SafetensorsMetadata = std::map<std::string, std::string>;  ///< UTF-8

/// Headers above this are neither written nor read.
inline constexpr std::uint64_t kLongestSafetensorsHeader = 1u << 20;

/// Writes a file as a stream: the header at once, then the tensors' bytes in the order in which
/// they were announced, in pieces of any size. Nothing of them is kept.
///
/// Threads    one caller.
/// Errors     DataError for a header that would be too long; whatever the sink throws.
class SLACKLINE_API SafetensorsWriter {
 public:
  using Sink = std::function<void(std::string_view bytes)>;

  SafetensorsWriter(Sink sink, std::vector<StoredTensor> tensors,
                    const SafetensorsMetadata& metadata);

  /// The next bytes of the tensors. All together must be as many as were announced.
  void append(std::span<const std::byte> bytes);
  /// CRC-32C of every byte that went to the sink so far.
  [[nodiscard]] std::uint32_t crc32c() const { return crc_; }
  /// Bytes that are still to come.
  [[nodiscard]] std::uint64_t missing_bytes() const { return missing_; }

 private:
  void write(std::string_view bytes);

  Sink sink_;
  std::uint64_t missing_ = 0;
  std::uint32_t crc_ = 0;
};

/// Reads a file, which may come from anybody: it is refused unless it is exactly what the format
/// says, no byte of it means two things or nothing, and nothing is allocated that it only claims.
///
/// Lifecycle  construct, then any number of reads.
/// Threads    one caller at a time.
/// Errors     IoError if it cannot be read. DataError, naming file, tensor and value, if the header
///            is longer than kLongestSafetensorsHeader, is no JSON of the right form, has a name
///            twice or an unknown type; if a shape does not match its bytes; if tensors overlap,
///            leave a gap or do not end with the file.
class SLACKLINE_API SafetensorsFile {
 public:
  /// Fills `into` from byte `offset` on. Called within the size only; throws if it cannot.
  using ReadAt = std::function<void(std::uint64_t offset, std::span<std::byte> into)>;

  explicit SafetensorsFile(const std::filesystem::path& file);
  /// Any bytes; `name` is for messages.
  SafetensorsFile(std::string name, std::uint64_t size, ReadAt read_at);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] const SafetensorsMetadata& metadata() const { return metadata_; }
  /// In the order of their bytes.
  [[nodiscard]] const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// Null if there is none of that name. Valid as long as this.
  [[nodiscard]] const StoredTensor* find(std::string_view name) const;

  /// All values of one of the tensors, as many as it has, converted to float: rounded to nearest
  /// even where they are not floats.
  void read(const StoredTensor& tensor, std::span<float> values) const;
  /// Bytes of the file from `offset` on; both must lie within it.
  void read_bytes(std::uint64_t offset, std::span<std::byte> into) const;
  /// CRC-32C of the first `bytes` of the file.
  [[nodiscard]] std::uint32_t crc32c_of_first(std::uint64_t bytes) const;

 private:
  void read_header();
  void check_layout(std::uint64_t at);

  std::string name_;
  std::uint64_t size_ = 0;
  ReadAt read_at_;
  SafetensorsMetadata metadata_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

}  // namespace slackline
