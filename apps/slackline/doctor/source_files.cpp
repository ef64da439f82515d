#include "source_files.h"

#include <slackline/error.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>

#include <fcntl.h>
#include <glob.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace slackline::app {
namespace {

namespace fs = std::filesystem;

/// A file that is open for reading.
class OpenFile {
 public:
  explicit OpenFile(const fs::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) throw IoError(path.string() + ": cannot open", errno);
  }
  ~OpenFile() { ::close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] std::uint64_t bytes() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) {
      throw IoError(path_.string() + ": cannot read its size", errno);
    }
    return static_cast<std::uint64_t>(status.st_size);
  }

 private:
  const fs::path& path_;
  int descriptor_;
};

/// A part of a file in the address space. To map it reads nothing.
class Mapping {
 public:
  Mapping(const OpenFile& file, std::uint64_t offset, std::size_t bytes, const fs::path& path)
      : address_(::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.descriptor(),
                        static_cast<off_t>(offset))),
        bytes_(bytes) {
    if (address_ == MAP_FAILED) throw IoError(path.string() + ": cannot map", errno);
  }
  ~Mapping() { ::munmap(address_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  [[nodiscard]] void* address() const { return address_; }

 private:
  void* address_;
  std::size_t bytes_;
};

void add_regular_files(const fs::path& path, std::vector<fs::path>& files) {
  std::error_code failed;
  if (!fs::is_directory(path, failed)) {
    if (fs::is_regular_file(path, failed)) files.push_back(path);
    return;
  }
  for (fs::recursive_directory_iterator at(path, failed), end; !failed && at != end;
       at.increment(failed)) {
    if (at->is_regular_file()) files.push_back(at->path());
  }
  if (failed) throw IoError(path.string() + ": cannot list", failed.value());
}

void add_matches(const std::string& pattern, std::vector<fs::path>& files) {
  glob_t matches{};
  const int result = ::glob(pattern.c_str(), GLOB_NOSORT | GLOB_PERIOD, nullptr, &matches);
  const std::unique_ptr<glob_t, void (*)(glob_t*)> guard(&matches, ::globfree);
  if (result == GLOB_NOSPACE) throw IoError(pattern + ": cannot expand", ENOMEM);
  for (std::size_t i = 0; result == 0 && i < matches.gl_pathc; ++i) {
    add_regular_files(matches.gl_pathv[i], files);
  }
  if (result == GLOB_NOMATCH) add_regular_files(pattern, files);  // a bracket in a name
}

}  // namespace

SourceFiles::SourceFiles(const Component& source) {
  const slackline_plugin_descriptor& descriptor = *source.plugin->descriptor;
  const std::vector<slackline_value> values = source.values.view();
  for (std::uint32_t i = 0; i < descriptor.option_count; ++i) {
    if (descriptor.options[i].type != SLACKLINE_PATH || values[i].is_set == 0) continue;
    for (std::uint32_t k = 0; k < values[i].count; ++k) {
      const std::string path = values[i].strings[k];
      if (!path.empty()) add_matches(path, files_);
    }
  }
  std::sort(files_.begin(), files_.end());
  files_.erase(std::unique(files_.begin(), files_.end()), files_.end());
}

std::string SourceFiles::drop_from_cache() const {
  std::uint64_t left = 0, files = 0;
  const fs::path* first = nullptr;
  for (const fs::path& path : files_) {
    {
      const OpenFile file(path);
      ::fsync(file.descriptor());  // pages that are not written yet cannot be dropped
      ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
    }
    const std::uint64_t cached = cached_bytes(path);
    if (cached == 0) continue;
    if (first == nullptr) first = &path;
    left += cached;
    ++files;
  }
  if (first == nullptr) return {};
  return text(left, " bytes of ", files, " of the source's ", files_.size(),
              " files stay in the page cache, as of ", first->string(),
              ": it may be in memory only (tmpfs), or in use, or belong to somebody else");
}

std::uint64_t cached_bytes(const fs::path& path) {
  constexpr std::uint64_t kPart = std::uint64_t{1} << 30;  // a whole number of pages
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const OpenFile file(path);
  const std::uint64_t bytes = file.bytes();
  std::uint64_t pages = 0;
  std::vector<unsigned char> resident;
  for (std::uint64_t offset = 0; offset < bytes; offset += kPart) {
    const auto part = static_cast<std::size_t>(std::min(bytes - offset, kPart));
    const Mapping mapping(file, offset, part, path);
    resident.resize((part + page - 1) / page);
    if (::mincore(mapping.address(), part, resident.data()) != 0) {
      throw IoError(path.string() + ": cannot see what is in the page cache", errno);
    }
    pages += static_cast<std::uint64_t>(std::count_if(
        resident.begin(), resident.end(), [](unsigned char flags) { return (flags & 1) != 0; }));
  }
  return pages * page;
}

}  // namespace slackline::app
