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
    kEmpty,   ///< what was in the file is lost
    kAppend,  ///< written behind what is there
    kNew      ///< IoError with EEXIST if there is anything of that name, also a symbolic link
  };
  /// Opens `path` for writing, created if it is not there (mode 0644); the descriptor is the
  /// caller's until close().
  [[nodiscard]] virtual int open(const std::filesystem::path& path, Open how) = 0;
  /// Writes all of `bytes`.
  virtual void write(int descriptor, const std::filesystem::path& path, std::string_view bytes) = 0;
  virtual void sync(int descriptor, const std::filesystem::path& path) = 0;
  /// The descriptor is gone afterwards, also if it throws.
  virtual void close(int descriptor, const std::filesystem::path& path) = 0;
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// Removes a file.
  virtual void remove(const std::filesystem::path& path) = 0;
  /// Makes a directory, whose parent is there; false if it was there already.
  virtual bool make_directory(const std::filesystem::path& directory) = 0;
  virtual void sync_directory(const std::filesystem::path& directory) = 0;
  /// Locks an open file until it is closed, at the latest by the end of the process; false if it is
  /// locked already through another descriptor, of whatever process. Does not wait.
  [[nodiscard]] virtual bool lock(int descriptor, const std::filesystem::path& path) = 0;
};

/// The operating system's.
SLACKLINE_API FileOps& system_file_ops();

/// A whole file.
/// Errors     IoError.
[[nodiscard]] SLACKLINE_API std::string contents_of(const std::filesystem::path& file);

/// Makes a directory and those above it that are not there. Each survives a loss of power.
SLACKLINE_API void make_directories(FileOps& ops, const std::filesystem::path& directory);

/// Removes what a killed process's AtomicFile for `path` left, if it did.
SLACKLINE_API void remove_stale_temporary(FileOps& ops, const std::filesystem::path& path);

/// Replaces a file by new contents that come in pieces, or leaves it as it was. They go to a
/// temporary file beside it, `<path>.tmp`; commit() syncs that, renames it and syncs the directory.
///
/// Lifecycle  construct, any number of write(), commit() once. Without it, and if anything throws,
///            the destructor removes the temporary.
/// Threads    one caller.
/// Errors     IoError. After one from commit() the file has the old contents or all of the new.
class SLACKLINE_API AtomicFile {
 public:
  /// A temporary that a killed process left is removed first.
  AtomicFile(FileOps& ops, std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::string_view bytes);
  /// When it returns, the new contents survive a loss of power.
  void commit();

 private:
  FileOps& ops_;
  const std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
  bool has_temporary_ = false;
};

/// An AtomicFile in one go.
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
  /// When it returns, all lines so far survive a loss of power, if the file's name does.
  void sync();

 private:
  FileOps& ops_;
  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace slackline
