// Reads image files from one folder for each class.

#include <slackline/plugin.h>
#include <slackline/random.h>
#include <slackline/record_pool.h>
#include <slackline/source.h>

#include <cassert>
#include <cerrno>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image_list.h"

namespace slackline {
namespace {

using image_folder::ImageFile;

// random_words() of sample 0: transforms use the low numbers of the operations.
constexpr std::uint32_t kShuffleOp = 255;

/// So many files before its turn, the system is asked to read a file: it can fetch many small
/// files at once, the reader only one after the other.
constexpr std::size_t kAhead = 16;

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) noexcept
      : value_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  [[nodiscard]] int value() const noexcept { return value_; }

 private:
  int value_;
};

class ImageFolderSource final : public Source {
 public:
  struct Options {
    Path root;
    bool shuffle = false;
    Bytes max_file_bytes{64 << 20};

    static OptionTable<Options> table() {
      return {
          option(
              "root", &Options::root,
              "directory with one folder for each class; sorted by bytes, they get labels from 0")
              .required()
              .example("\"photos/train\""),
          option("shuffle", &Options::shuffle, "another random order in each epoch"),
          option("max_file_bytes", &Options::max_file_bytes,
                 "a larger file is refused before memory is taken for it")
              .range(Bytes{1}, Bytes{std::uint64_t{1} << 32}),
      };
    }
  };

  ImageFolderSource(const Options& options, Host& host)
      : options_(options), files_(image_folder::list_images(options.root.value, host)) {
    host.report("files", static_cast<double>(files_.size()), "files");
    host.report("classes", files_.back().label + 1, "classes");
  }

  RecordFormat format() const override { return RecordFormat::kEncodedImage; }

  void start_epoch(const EpochPlan& plan) override {
    assert(plan.shard_index < plan.shard_count);
    order_.clear();
    next_ = 0;
    for (std::size_t i = plan.shard_index; i < files_.size(); i += plan.shard_count) {
      order_.push_back(static_cast<std::uint32_t>(i));
    }
    if (options_.shuffle) {
      Philox words =
          random_words({.seed = plan.seed, .sample_id = 0, .epoch = plan.epoch}, kShuffleOp);
      for (std::size_t left = order_.size(); left > 1; --left) {
        std::swap(order_[left - 1], order_[uniform_below(words, static_cast<std::uint32_t>(left))]);
      }
    }
    for (std::size_t i = 0; i < kAhead; ++i) announce(i);
  }

  bool next(Record& record) override {
    record = {};
    if (next_ == order_.size()) return false;
    announce(next_ + kAhead);
    const std::uint32_t index = order_[next_++];
    const ImageFile& file = files_[index];
    record.file = file.path;
    record.id = index;
    record.format = RecordFormat::kEncodedImage;
    record.label = file.label;
    read(file.path, record);
    return true;
  }

  void give_back(const Record& record) noexcept override {
    pool_.give_back(static_cast<RecordPool::Buffer*>(record.lease));
  }

 private:
  void announce(std::size_t place) const noexcept {
    if (place >= order_.size()) return;
    const Descriptor descriptor(files_[order_[place]].path);
    if (descriptor.value() >= 0) ::posix_fadvise(descriptor.value(), 0, 0, POSIX_FADV_WILLNEED);
  }

  void read(const std::string& path, Record& record) {
    const Descriptor descriptor(path);
    if (descriptor.value() < 0) throw IoError(path + ": cannot open", errno);
    struct stat status {};
    if (::fstat(descriptor.value(), &status) != 0) {
      throw IoError(path + ": cannot read its size", errno);
    }
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size > options_.max_file_bytes.value) {
      throw DataError(text(path, ": has ", size, " bytes, at most ", options_.max_file_bytes.value,
                           " are allowed (max_file_bytes)"));
    }
    RecordPool::Buffer* const buffer = pool_.take(static_cast<std::size_t>(size));
    try {
      fill(descriptor.value(), path, {buffer->data(), static_cast<std::size_t>(size)});
    } catch (...) {
      pool_.give_back(buffer);
      throw;
    }
    record.bytes = {buffer->data(), static_cast<std::size_t>(size)};
    record.lease = buffer;
  }

  static void fill(int descriptor, const std::string& path, std::span<std::byte> into) {
    std::size_t done = 0;
    while (done < into.size()) {
      const ssize_t count = ::read(descriptor, into.data() + done, into.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw IoError(text(path, ": cannot read at byte ", done), errno);
      if (count == 0) {
        throw DataError(text(path, ": ends after ", done, " of ", into.size(),
                             " bytes: it was cut while it was read"));
      }
      done += static_cast<std::size_t>(count);
    }
  }

  Options options_;
  std::vector<ImageFile> files_;
  RecordPool pool_{RecordPool::Fit::kWarm};
  std::vector<std::uint32_t> order_;  ///< of this epoch and shard: indexes in files_
  std::size_t next_ = 0;              ///< index in order_
};

}  // namespace

SLACKLINE_PLUGIN(Source, ImageFolderSource, "image_folder",
                 "reads JPEG and PNG files from one folder for each class")

}  // namespace slackline
