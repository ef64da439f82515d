#pragma once

#include <slackline/export.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>

namespace slackline {

/// Everything slackline does to write files: the seam through which tests make disks fail.
///
/// Threads    any.
/// Errors     IoError, naming the file. Interrupted and partial writes are completed here.
class SLACKLINE_API FileOps {
 public:
  virtual ~FileOps();

  enum class Open {
    kEmpty,  ///< what was in the file is lost
    kAppend  ///< written behind what is there
  };
  /// Opens `path` for writing, created if it is not there (mode 0644); the descriptor is the
  /// caller's until close().
  [[nodiscard]] virtual int open(const std::filesystem::path& path, Open how) = 0;
  /// Writes all of `bytes`.
  virtual void write(int descriptor, const std::filesystem::path& path, std::string_view bytes) = 0;
  virtual void sync(int descriptor, const std::filesystem::path& path) = 0;
  virtual void close(int descriptor, const std::filesystem::path& path) = 0;
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual void sync_directory(const std::filesystem::path& directory) = 0;
};

/// The operating system's.
SLACKLINE_API FileOps& system_file_ops();

/// Replaces `path` by a file with these contents, or leaves it as it was: a temporary file beside
/// it, synced, renamed over it, and the directory synced.
SLACKLINE_API void write_atomically(FileOps& ops, const std::filesystem::path& path,
                                    std::string_view contents);

/// A file that grows line by line; each line is in the system's hands when append() returns.
class SLACKLINE_API LineFile {
 public:
  LineFile(FileOps& ops, std::filesystem::path path, FileOps::Open how = FileOps::Open::kEmpty);
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;
  ~LineFile();

  void append(std::string_view line_with_newline);

 private:
  FileOps& ops_;
  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace slackline
