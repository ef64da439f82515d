#include "file_list.h"

#include <slackline/error.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string_view>

#include <glob.h>
#include <unistd.h>

namespace slackline::tfrecord {
namespace {

struct GlobDelete {
  void operator()(glob_t* matches) const noexcept {
    ::globfree(matches);
    delete matches;
  }
};

bool goes_through_dot(std::string_view path) {
  const std::string slashed = text('/', path, '/');
  return slashed.find("/./") != std::string::npos || slashed.find("/../") != std::string::npos;
}

void add_matches(const std::string& pattern, std::vector<std::string>& files) {
  const std::unique_ptr<glob_t, GlobDelete> matches(new glob_t{});
  // Names with a dot in front count, but then glob offers "." and ".." for a star as well.
  const int result =
      ::glob(pattern.c_str(), GLOB_ERR | GLOB_NOSORT | GLOB_PERIOD, nullptr, matches.get());
  if (result == GLOB_ABORTED) throw IoError(pattern + ": cannot list a directory of it", errno);
  if (result != 0 && result != GLOB_NOMATCH) throw IoError(pattern + ": cannot expand", ENOMEM);
  const std::size_t before = files.size();
  for (std::size_t i = 0; i < matches->gl_pathc; ++i) {
    const std::string path = matches->gl_pathv[i];
    if (!goes_through_dot(path) || goes_through_dot(pattern)) files.push_back(path);
  }
  if (files.size() == before && ::access(pattern.c_str(), F_OK) == 0) files.push_back(pattern);
  if (files.size() == before) {
    throw ConfigError("files",
                      text(pattern, ": no file matches, must be the path or glob of at least one"));
  }
}

void check_file(const std::string& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (error) throw IoError(file + ": cannot look at", error.value());
  if (!std::filesystem::is_regular_file(status)) {
    throw ConfigError(
        "files", text(file, ": is ",
                      std::filesystem::is_directory(status) ? "a directory" : "no regular file",
                      ", must be a TFRecord file"));
  }
  if (::access(file.c_str(), R_OK) != 0) throw IoError(file + ": cannot read", errno);
}

}  // namespace

std::vector<std::string> list_files(const std::vector<Path>& patterns) {
  std::vector<std::string> files;
  for (const Path& pattern : patterns) add_matches(pattern.value, files);
  if (files.empty()) throw ConfigError("files", "no files given, must have at least one");
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) check_file(file);
  return files;
}

}  // namespace slackline::tfrecord
