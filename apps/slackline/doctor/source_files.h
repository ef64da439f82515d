#pragma once

#include <slackline/config.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace slackline::app {

/// The files that a source reads, as far as its configuration tells: what its options of type path
/// name, globs matched and directories walked.
///
/// Threads    one caller at a time.
/// Errors     IoError if a file or directory cannot be looked at.
class SourceFiles {
 public:
  explicit SourceFiles(const Component& source);

  /// Sorted. Empty if the source names none, as one that makes its records up.
  [[nodiscard]] const std::vector<std::filesystem::path>& all() const { return files_; }

  /// Takes all of them out of the page cache. Returns why that failed, with what is left there and
  /// the first file that is, and "" if nothing is.
  [[nodiscard]] std::string drop_from_cache() const;

 private:
  std::vector<std::filesystem::path> files_;
};

/// Bytes of a file that are in the page cache, in whole pages. The system says so only to who owns
/// the file or may write to it; to others all of it looks as if it were there.
[[nodiscard]] std::uint64_t cached_bytes(const std::filesystem::path& file);

}  // namespace slackline::app
