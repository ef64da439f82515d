#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace slackline::tfrecord {

/// A regular file that is read from front to back, with the system reading ahead. The object can be
/// used for one file after another.
///
/// Threads    one caller at a time.
/// Errors     IoError, naming the file.
class SequentialFile {
 public:
  SequentialFile() = default;
  SequentialFile(const SequentialFile&) = delete;
  SequentialFile& operator=(const SequentialFile&) = delete;
  ~SequentialFile() { close(); }

  /// Starts on the file at `path`, which must outlive the reading.
  void open(const std::string& path);
  void close() noexcept;

  /// Fills `must` and then, as far as one system call brings it, `may`. Returns how many bytes it
  /// read: less than must.size() only if the file ends.
  [[nodiscard]] std::size_t read(std::span<std::byte> must, std::span<std::byte> may);

  /// Goes on `bytes` later. Not past the end.
  void skip(std::uint64_t bytes) noexcept { position_ += bytes; }

  /// Bytes between the position and the end that the file had when it was opened.
  [[nodiscard]] std::uint64_t remaining() const noexcept {
    return size_ > position_ ? size_ - position_ : 0;
  }

  /// Asks the system to read the beginning of a file that will be opened soon. Never fails: what is
  /// wrong with the file will be said when it is opened.
  static void announce(const std::string& path) noexcept;

 private:
  void read_ahead() noexcept;

  const std::string* path_ = nullptr;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::uint64_t position_ = 0;
  std::uint64_t announced_ = 0;  ///< the system was asked to read up to here
};

}  // namespace slackline::tfrecord
