#pragma once

#include <slackline/error.h>

#include <filesystem>
#include <system_error>

namespace slackline {

/// Makes the directory of a log, with those above it. Throws IoError.
inline void make_log_dir(const std::filesystem::path& dir) {
  std::error_code failed;
  std::filesystem::create_directories(dir, failed);
  if (failed) throw IoError(text(dir.string(), ": cannot create"), failed.value());
}

}  // namespace slackline
