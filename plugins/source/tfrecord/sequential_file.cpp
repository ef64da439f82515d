#include "sequential_file.h"

#include <slackline/error.h>

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace slackline::tfrecord {
namespace {

/// How far ahead of the reader the system is asked to read, in bytes. Ten files are read in turn,
/// which defeats the system's own guess about what comes next.
constexpr std::uint64_t kAhead = 4 << 20;

}  // namespace

void SequentialFile::open(const std::string& path) {
  close();
  path_ = &path;
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) throw IoError(path + ": cannot open", errno);
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw IoError(path + ": cannot read its size", errno);
  size_ = static_cast<std::uint64_t>(status.st_size);
  position_ = 0;
  announced_ = 0;
  ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
  read_ahead();
}

void SequentialFile::close() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

std::size_t SequentialFile::read(std::span<std::byte> must, std::span<std::byte> may) {
  std::size_t done = 0;
  while (done < must.size()) {
    std::array<iovec, 2> parts = {
        {{must.data() + done, must.size() - done}, {may.data(), may.size()}}};
    const ssize_t count = ::preadv(descriptor_, parts.data(), static_cast<int>(parts.size()),
                                   static_cast<off_t>(position_));
    if (count < 0) {
      if (errno == EINTR) continue;
      throw IoError(text(*path_, ": cannot read at byte ", position_), errno);
    }
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
    position_ += static_cast<std::uint64_t>(count);
  }
  read_ahead();
  return done;
}

void SequentialFile::read_ahead() noexcept {
  if (announced_ >= size_ || position_ + kAhead / 2 < announced_) return;
  ::posix_fadvise(descriptor_, static_cast<off_t>(announced_), kAhead, POSIX_FADV_WILLNEED);
  announced_ += kAhead;
}

void SequentialFile::announce(const std::string& path) noexcept {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::posix_fadvise(descriptor, 0, kAhead, POSIX_FADV_WILLNEED);
  ::close(descriptor);
}

}  // namespace slackline::tfrecord
