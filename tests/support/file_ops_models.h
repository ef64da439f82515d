#pragma once

// Disks that fail and machines that lose power, behind the seam of FileOps.

#include <slackline/error.h>
#include <slackline/file_ops.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slackline::testing_support {

/// The real operations, counted, until the one that is told to fail.
class FailingFileOps : public FileOps {
 public:
  enum class Then {
    kRecovers,    ///< only that one fails
    kStaysBroken  ///< and every one behind it
  };

  /// Nothing fails before fail_at().
  FailingFileOps() = default;

  /// The `k`-th operation from now on fails, counted from 0, with this errno.
  void fail_at(std::size_t k, int error_number, Then then) {
    names.clear();
    failing_name_.clear();
    failing_ = k;
    error_number_ = error_number;
    then_ = then;
    has_failed = false;
  }
  /// As fail_at(), for the first operation of this name.
  void fail_first(std::string name, int error_number) {
    names.clear();
    failing_ = kNone;
    failing_name_ = std::move(name);
    error_number_ = error_number;
    has_failed = false;
  }

  std::vector<std::string> names;  ///< of the operations since fail_at()
  bool has_failed = false;

  int open(const std::filesystem::path& path, Open how) override {
    step("open", path);
    return real_.open(path, how);
  }
  /// One that fails has written half.
  void write(int descriptor, const std::filesystem::path& path, std::string_view bytes) override {
    if (is_next("write")) real_.write(descriptor, path, bytes.substr(0, bytes.size() / 2));
    step("write", path);
    real_.write(descriptor, path, bytes);
  }
  void sync(int descriptor, const std::filesystem::path& path) override {
    step("sync", path);
    real_.sync(descriptor, path);
  }
  void close(int descriptor, const std::filesystem::path& path) override {
    real_.close(descriptor, path);
    step("close", path);
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    step("rename", from);
    real_.rename(from, to);
  }
  void remove(const std::filesystem::path& path) override {
    step("remove", path);
    real_.remove(path);
  }
  bool make_directory(const std::filesystem::path& directory) override {
    step("make_directory", directory);
    return real_.make_directory(directory);
  }
  void sync_directory(const std::filesystem::path& directory) override {
    step("sync_directory", directory);
    real_.sync_directory(directory);
  }
  bool lock(int descriptor, const std::filesystem::path& path) override {
    step("lock", path);
    return real_.lock(descriptor, path);
  }

 private:
  [[nodiscard]] bool is_next(const std::string& name) const {
    return names.size() == failing_ || (!has_failed && name == failing_name_);
  }
  void step(const std::string& name, const std::filesystem::path& path) {
    const bool fails = is_next(name) || (has_failed && then_ == Then::kStaysBroken);
    names.push_back(name);
    if (!fails) return;
    has_failed = true;
    throw IoError(path.string() + ": " + name + " was made to fail", error_number_);
  }

  FileOps& real_ = system_file_ops();
  static constexpr auto kNone = static_cast<std::size_t>(-1);
  std::size_t failing_ = kNone;
  std::string failing_name_;
  int error_number_ = ENOSPC;
  Then then_ = Then::kRecovers;
};

/// Files that are only in memory, as a disk with caches would hold them: what was not synced may or
/// may not be there when the power comes back.
///
/// A write is safe after sync() of its file; a name (of a new, renamed or removed file or
/// directory) after sync_directory() of its directory, or when power_losses() lets it be. The
/// journal has every operation, so that the power can be lost before, between and behind any two.
class PowerLossDisk final : public FileOps {
 public:
  struct Syncs {
    bool files = true;        ///< sync() does something
    bool directories = true;  ///< sync_directory() does
  };
  explicit PowerLossDisk(Syncs syncs) : syncs_(syncs) {}

  /// Whoever asked was told that all is safe up to here.
  void acknowledge(std::uint64_t what) { journal_.push_back({.kind = Kind::kAck, .ack = what}); }

  /// What is on the disk when the power comes back, and what had been acknowledged.
  struct State {
    std::map<std::string, std::string> files;  ///< contents by absolute path
    std::uint64_t acknowledged = 0;            ///< 0: nothing
    std::string what;                          ///< for messages: when, and what was lost
  };
  /// Visits every state after a loss at any moment: names that were not synced in every
  /// combination, contents that were not synced gone, halved or whole. Equal states once. Ends
  /// early when `visit` returns false.
  void power_losses(const std::function<bool(const State&)>& visit) const {
    std::map<std::pair<std::uint64_t, std::map<std::string, std::string>>, bool> seen;
    Disk disk;
    bool goes_on = true;
    for (std::size_t cut = 0; goes_on && cut <= journal_.size(); ++cut) {
      disk.each_state([&](State& state) {
        if (!seen.emplace(std::pair(state.acknowledged, state.files), true).second) return true;
        state.what = "after " + std::to_string(cut) + " operations, " + state.what;
        goes_on = visit(state);
        return goes_on;
      });
      if (cut < journal_.size()) disk.apply(journal_[cut], syncs_);
    }
  }
  [[nodiscard]] std::size_t operations() const { return journal_.size(); }

  int open(const std::filesystem::path& path, Open how) override {
    const bool is_there = names_.contains(path.string());
    if (how == Open::kNew && is_there) throw IoError(path.string() + ": cannot open", EEXIST);
    if (!is_there) {
      names_[path.string()] = next_file_;
      journal_.push_back({.kind = Kind::kCreate, .file = next_file_++, .path = path.string()});
    } else if (how == Open::kEmpty) {
      throw IoError(path.string() + ": this disk does not empty files", EINVAL);
    }
    return names_[path.string()];
  }
  void write(int file, const std::filesystem::path& /*path*/, std::string_view bytes) override {
    journal_.push_back({.kind = Kind::kWrite, .file = file, .bytes = std::string(bytes)});
  }
  void sync(int file, const std::filesystem::path& /*path*/) override {
    journal_.push_back({.kind = Kind::kSync, .file = file});
  }
  void close(int /*file*/, const std::filesystem::path& /*path*/) override {}
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    const auto found = names_.find(from.string());
    if (found == names_.end()) throw IoError(from.string() + ": cannot rename", ENOENT);
    const int file = found->second;
    names_.erase(found);
    names_[to.string()] = file;
    journal_.push_back(
        {.kind = Kind::kRename, .file = file, .path = from.string(), .to = to.string()});
  }
  void remove(const std::filesystem::path& path) override {
    if (names_.erase(path.string()) == 0) throw IoError(path.string() + ": cannot remove", ENOENT);
    journal_.push_back({.kind = Kind::kRemove, .path = path.string()});
  }
  bool make_directory(const std::filesystem::path& directory) override {
    if (!directories_.emplace(directory.string(), true).second) return false;
    journal_.push_back({.kind = Kind::kMakeDirectory, .path = directory.string()});
    return true;
  }
  void sync_directory(const std::filesystem::path& directory) override {
    journal_.push_back({.kind = Kind::kSyncDirectory, .path = directory.string()});
  }
  bool lock(int /*file*/, const std::filesystem::path& /*path*/) override { return true; }

 private:
  enum class Kind {
    kCreate,
    kWrite,
    kSync,
    kRename,
    kRemove,
    kMakeDirectory,
    kSyncDirectory,
    kAck
  };
  struct Operation {
    Kind kind;
    int file = -1;
    std::string path = {}, to = {};
    std::string bytes = {};
    std::uint64_t ack = 0;
  };

  static std::string parent(const std::string& path) {
    return std::filesystem::path(path).parent_path().string();
  }

  /// After some of the operations.
  class Disk {
   public:
    void apply(const Operation& operation, Syncs syncs) {
      switch (operation.kind) {
        case Kind::kCreate:
        case Kind::kRename:
        case Kind::kRemove:
        case Kind::kMakeDirectory:
          pending_.push_back(operation);
          return;
        case Kind::kWrite:
          files_[operation.file].cached += operation.bytes;
          return;
        case Kind::kSync: {
          if (!syncs.files) return;
          Contents& contents = files_[operation.file];
          contents.safe += std::exchange(contents.cached, "");
          return;
        }
        case Kind::kSyncDirectory: {
          if (!syncs.directories) return;
          std::vector<Operation> others;
          for (const Operation& each : pending_) {
            if (parent(each.path) == operation.path) {
              change(names_, each);
            } else {
              others.push_back(each);
            }
          }
          pending_ = others;
          return;
        }
        case Kind::kAck:
          acknowledged_ = operation.ack;
          return;
      }
    }

    void each_state(const std::function<bool(State&)>& visit) const {
      std::vector<int> unsynced;
      for (const auto& [file, contents] : files_) {
        if (!contents.cached.empty()) unsynced.push_back(file);
      }
      std::size_t contents_states = 1;
      for (std::size_t i = 0; i < unsynced.size(); ++i) contents_states *= 3;
      for (std::size_t kept = 0; kept < std::size_t{1} << pending_.size(); ++kept) {
        Names names = names_;
        for (std::size_t i = 0; i < pending_.size(); ++i) {
          if ((kept >> i & 1) != 0) change(names, pending_[i]);
        }
        for (std::size_t choice = 0; choice < contents_states; ++choice) {
          State state = contents_of(names, unsynced, choice);
          state.acknowledged = acknowledged_;
          state.what = "names kept: " + std::to_string(kept) + " of " +
                       std::to_string((1u << pending_.size()) - 1) + " (bits), contents " +
                       std::to_string(choice);
          if (!visit(state)) return;
        }
      }
    }

   private:
    struct Contents {
      std::string safe, cached;
    };
    static constexpr int kDirectory = -1;
    using Names = std::map<std::string, int>;

    static void change(Names& names, const Operation& operation) {
      if (operation.kind == Kind::kRemove || operation.kind == Kind::kRename) {
        names.erase(operation.path);
      }
      if (operation.kind == Kind::kCreate) names[operation.path] = operation.file;
      if (operation.kind == Kind::kRename) names[operation.to] = operation.file;
      if (operation.kind == Kind::kMakeDirectory) names[operation.path] = kDirectory;
    }

    /// Of each file that is not synced, `choice` has a digit to base 3: gone, half, whole.
    [[nodiscard]] State contents_of(const Names& names, const std::vector<int>& unsynced,
                                    std::size_t choice) const {
      std::map<int, std::string> contents;
      for (const auto& [file, each] : files_) contents[file] = each.safe;
      for (const int file : unsynced) {
        const std::string& cached = files_.at(file).cached;
        contents[file] += cached.substr(0, cached.size() * (choice % 3) / 2);
        choice /= 3;
      }
      State out;
      for (const auto& [path, file] : names) {
        // What is in a directory whose own name was lost cannot be found.
        const std::string directory = parent(path);
        const bool can_be_found = directory == kRoot || names.contains(directory);
        if (file != kDirectory && can_be_found) out.files[path] = contents[file];
      }
      return out;
    }

    std::map<int, Contents> files_;
    Names names_;  ///< that are safe
    std::vector<Operation> pending_;
    std::uint64_t acknowledged_ = 0;
  };

  static constexpr const char* kRoot = "/run";  ///< a directory that is there, and safe

  Syncs syncs_;
  std::vector<Operation> journal_;
  std::map<std::string, int> names_;
  std::map<std::string, bool> directories_;
  int next_file_ = 1'000'000;  ///< no descriptor that could be closed by mistake
};

}  // namespace slackline::testing_support
