#include <slackline/error.h>
#include <slackline/file_ops.h>

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace slackline {
namespace {

class SystemFileOps final : public FileOps {
 public:
  int open(const std::filesystem::path& path, Open how) override {
    const int where = how == Open::kAppend ? O_APPEND : O_TRUNC;
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | where | O_CLOEXEC, 0644);
    if (descriptor < 0) throw IoError(text(path.string(), ": cannot open for writing"), errno);
    return descriptor;
  }

  void write(int descriptor, const std::filesystem::path& path, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw IoError(text(path.string(), ": cannot write"), errno);
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  void sync(int descriptor, const std::filesystem::path& path) override {
    // Devices and pipes have nothing to sync and say EINVAL.
    if (::fsync(descriptor) != 0 && errno != EINVAL) {
      throw IoError(text(path.string(), ": cannot sync to disk"), errno);
    }
  }

  void close(int descriptor, const std::filesystem::path& path) override {
    if (::close(descriptor) != 0 && errno != EINTR) {
      throw IoError(text(path.string(), ": cannot close"), errno);
    }
  }

  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      throw IoError(text(from.string(), ": cannot rename to ", to.string()), errno);
    }
  }

  void sync_directory(const std::filesystem::path& directory) override {
    const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) throw IoError(text(directory.string(), ": cannot open"), errno);
    const bool synced = ::fsync(descriptor) == 0 || errno == EINVAL;
    const int error = errno;
    ::close(descriptor);
    if (!synced) throw IoError(text(directory.string(), ": cannot sync to disk"), error);
  }
};

}  // namespace

FileOps::~FileOps() = default;

FileOps& system_file_ops() {
  static SystemFileOps ops;
  return ops;
}

void write_atomically(FileOps& ops, const std::filesystem::path& path, std::string_view contents) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  const int descriptor = ops.open(temporary, FileOps::Open::kEmpty);
  try {
    ops.write(descriptor, temporary, contents);
    ops.sync(descriptor, temporary);
  } catch (...) {
    ::close(descriptor);
    ::unlink(temporary.c_str());
    throw;
  }
  try {
    ops.close(descriptor, temporary);
    ops.rename(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  ops.sync_directory(path.parent_path().empty() ? "." : path.parent_path());
}

LineFile::LineFile(FileOps& ops, std::filesystem::path path, FileOps::Open how)
    : ops_(ops), path_(std::move(path)), descriptor_(ops.open(path_, how)) {}

LineFile::~LineFile() { ::close(descriptor_); }

void LineFile::append(std::string_view line_with_newline) {
  ops_.write(descriptor_, path_, line_with_newline);
}

}  // namespace slackline
