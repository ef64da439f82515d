#pragma once

// The directory for a run's results: found or made, and one run's alone.

#include <slackline/config.h>
#include <slackline/file_ops.h>
#include <slackline/run.h>

#include <chrono>
#include <filesystem>

#include "assembly.h"

namespace slackline {

/// Makes the directory for the results. One with a name of its own making is new.
[[nodiscard]] std::filesystem::path make_run_dir(const Config& config, const RunControl& control,
                                                 std::chrono::system_clock::time_point now);

/// ConfigError if the directory has results or checkpoints of an earlier run.
void require_no_results(const std::filesystem::path& dir);

/// Keeps other runs out of a directory while it lives, by a lock of the file `.lock` in it. The
/// file stays; the lock ends with the process, however that does. Where the file system has no
/// locks, it is a warning in `notes`.
///
/// Errors     ConfigError if another run has the lock.
class DirectoryLock {
 public:
  DirectoryLock(FileOps& files, const std::filesystem::path& dir, Notes& notes);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  void close();

  FileOps& files_;
  std::filesystem::path file_;
  int descriptor_;
};

}  // namespace slackline
