#include <slackline/error.h>
#include <slackline/file_ops.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace slackline {
namespace {

constexpr const char* kTemporary = ".tmp";

/// Of "x" it is ".".
std::filesystem::path parent_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

class SystemFileOps final : public FileOps {
 public:
  int open(const std::filesystem::path& path, Open how) override {
    const int where = how == Open::kAppend ? O_APPEND
                      : how == Open::kNew  ? O_EXCL | O_NOFOLLOW
                                           : O_TRUNC;
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

  void remove(const std::filesystem::path& path) override {
    if (::unlink(path.c_str()) != 0) throw IoError(text(path.string(), ": cannot remove"), errno);
  }

  bool make_directory(const std::filesystem::path& directory) override {
    if (::mkdir(directory.c_str(), 0755) == 0) return true;
    const int error = errno;
    std::error_code ignored;
    if (error == EEXIST && std::filesystem::is_directory(directory, ignored)) return false;
    throw IoError(text(directory.string(), ": cannot make this directory"), error);
  }

  void sync_directory(const std::filesystem::path& directory) override {
    const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) throw IoError(text(directory.string(), ": cannot open"), errno);
    const bool synced = ::fsync(descriptor) == 0 || errno == EINVAL;
    const int error = errno;
    ::close(descriptor);
    if (!synced) throw IoError(text(directory.string(), ": cannot sync to disk"), error);
  }

  bool lock(int descriptor, const std::filesystem::path& path) override {
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    throw IoError(text(path.string(), ": cannot lock"), errno);
  }
};

}  // namespace

FileOps::~FileOps() = default;

FileOps& system_file_ops() {
  static SystemFileOps ops;
  return ops;
}

std::string contents_of(const std::filesystem::path& file) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  // An empty file fails here too, but without an errno.
  if (in.is_open()) out << in.rdbuf();
  if (!in.is_open() || (out.fail() && errno != 0)) {
    throw IoError(file.string() + ": cannot read", errno);
  }
  return out.str();
}

void make_directories(FileOps& ops, const std::filesystem::path& directory) {
  if (directory.empty()) return;
  if (!directory.has_filename() && directory.has_relative_path()) {  // "runs/x/"
    return make_directories(ops, directory.parent_path());
  }
  try {
    if (!ops.make_directory(directory)) return;
  } catch (const IoError& error) {
    if (error.error_number() != ENOENT || !directory.has_relative_path()) throw;
    make_directories(ops, directory.parent_path());
    if (!ops.make_directory(directory)) return;
  }
  ops.sync_directory(parent_of(directory));
}

void remove_stale_temporary(FileOps& ops, const std::filesystem::path& path) {
  const std::filesystem::path temporary = path.string() + kTemporary;
  std::error_code ignored;
  if (std::filesystem::is_regular_file(temporary, ignored)) ops.remove(temporary);
}

AtomicFile::AtomicFile(FileOps& ops, std::filesystem::path path)
    : ops_(ops), path_(std::move(path)), temporary_(path_.string() + kTemporary) {
  try {
    descriptor_ = ops_.open(temporary_, FileOps::Open::kNew);
  } catch (const IoError& error) {
    if (error.error_number() != EEXIST) throw;
    ops_.remove(temporary_);
    descriptor_ = ops_.open(temporary_, FileOps::Open::kNew);
  }
  has_temporary_ = true;
}

AtomicFile::~AtomicFile() {
  // Only what was not committed is left: the reason is on its way as an exception, or nobody wanted
  // the file. The next start removes what cannot be removed now.
  try {
    if (descriptor_ >= 0) ops_.close(descriptor_, temporary_);
  } catch (const IoError&) {
  }
  try {
    if (has_temporary_) ops_.remove(temporary_);
  } catch (const IoError&) {
  }
}

void AtomicFile::write(std::string_view bytes) { ops_.write(descriptor_, temporary_, bytes); }

void AtomicFile::commit() {
  ops_.sync(descriptor_, temporary_);
  ops_.close(std::exchange(descriptor_, -1), temporary_);
  ops_.rename(temporary_, path_);
  has_temporary_ = false;
  ops_.sync_directory(parent_of(path_));
}

void write_atomically(FileOps& ops, const std::filesystem::path& path, std::string_view contents) {
  AtomicFile file(ops, path);
  file.write(contents);
  file.commit();
}

LineFile::LineFile(FileOps& ops, std::filesystem::path path, FileOps::Open how)
    : ops_(ops), path_(std::move(path)), descriptor_(ops.open(path_, how)) {}

LineFile::~LineFile() {
  try {
    ops_.close(descriptor_, path_);
  } catch (const IoError&) {
    // Every line was handed over with its own check; what must survive was synced.
  }
}

void LineFile::append(std::string_view line_with_newline) {
  ops_.write(descriptor_, path_, line_with_newline);
}

void LineFile::sync() { ops_.sync(descriptor_, path_); }

}  // namespace slackline
