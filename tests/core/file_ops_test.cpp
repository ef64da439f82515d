#include <slackline/error.h>
#include <slackline/file_ops.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "temporary_folder.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;

/// The real operations, until the one that is told to fail.
class FailingOps final : public FileOps {
 public:
  explicit FailingOps(std::string fails = "") : fails_(std::move(fails)) {}

  int open(const fs::path& path, Open how) override {
    step("open");
    return real_.open(path, how);
  }
  void write(int descriptor, const fs::path& path, std::string_view bytes) override {
    if (fails_ == "write") real_.write(descriptor, path, bytes.substr(0, bytes.size() / 2));
    step("write");
    real_.write(descriptor, path, bytes);
  }
  void sync(int descriptor, const fs::path& path) override {
    step("sync");
    real_.sync(descriptor, path);
  }
  void close(int descriptor, const fs::path& path) override {
    real_.close(descriptor, path);
    step("close");
  }
  void rename(const fs::path& from, const fs::path& to) override {
    step("rename");
    real_.rename(from, to);
  }
  void sync_directory(const fs::path& directory) override {
    step("sync_directory");
    real_.sync_directory(directory);
  }

  std::vector<std::string> steps;

 private:
  void step(const std::string& name) {
    steps.push_back(name);
    if (name == fails_) throw IoError(name + " was made to fail", ENOSPC);
  }

  FileOps& real_ = system_file_ops();
  std::string fails_;
};

class FileOpsTest : public testing::Test {
 protected:
  static std::string contents(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  testing_support::TemporaryFolder folder_;
  const fs::path dir_ = folder_.path();
};

TEST_F(FileOpsTest, SyncsTheFileBeforeTheRenameAndTheDirectoryAfterIt) {
  FailingOps ops;
  write_atomically(ops, dir_ / "result.json", "new");
  EXPECT_EQ(contents(dir_ / "result.json"), "new");
  EXPECT_EQ(ops.steps, (std::vector<std::string>{"open", "write", "sync", "close", "rename",
                                                 "sync_directory"}));
}

TEST_F(FileOpsTest, AnyFailureBeforeTheRenameLeavesTheOldFileAndNoOther) {
  write_atomically(system_file_ops(), dir_ / "result.json", "old");
  for (const std::string step : {"open", "write", "sync", "close", "rename"}) {
    FailingOps ops(step);
    EXPECT_THROW(write_atomically(ops, dir_ / "result.json", "new"), IoError) << step;
    EXPECT_EQ(contents(dir_ / "result.json"), "old") << step;
    EXPECT_FALSE(fs::exists(dir_ / "result.json.tmp")) << step;
  }
}

TEST_F(FileOpsTest, ErrorsNameTheFileAndTheReason) {
  try {
    write_atomically(system_file_ops(), dir_ / "absent" / "x", "");
    FAIL();
  } catch (const IoError& error) {
    EXPECT_EQ(std::string(error.what()),
              (dir_ / "absent" / "x.tmp").string() +
                  ": cannot open for writing: No such file or directory");
    EXPECT_EQ(error.exit_code(), ExitCode::kIo);
  }
}

TEST_F(FileOpsTest, AFullDiskIsAnErrorNotAShortFile) {
  LineFile full(system_file_ops(), "/dev/full");
  try {
    full.append("line\n");
    FAIL();
  } catch (const IoError& error) {
    EXPECT_STREQ(error.what(), "/dev/full: cannot write: No space left on device");
  }
}

TEST_F(FileOpsTest, LinesAreThereAsSoonAsTheyAreAppended) {
  LineFile lines(system_file_ops(), dir_ / "steps.jsonl");
  lines.append("one\n");
  EXPECT_EQ(contents(dir_ / "steps.jsonl"), "one\n");
  lines.append("two\n");
  EXPECT_EQ(contents(dir_ / "steps.jsonl"), "one\ntwo\n");
}

TEST(IoErrorTest, BeingForbiddenHasItsOwnExitCode) {
  EXPECT_EQ(IoError("x", EACCES).exit_code(), ExitCode::kPermission);
  EXPECT_EQ(IoError("x", EIO).exit_code(), ExitCode::kIo);
}

}  // namespace
}  // namespace slackline
