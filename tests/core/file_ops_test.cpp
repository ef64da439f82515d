#include <slackline/error.h>
#include <slackline/file_ops.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "file_ops_models.h"
#include "temporary_folder.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using testing_support::FailingFileOps;

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
  FailingFileOps ops;
  write_atomically(ops, dir_ / "result.json", "new");
  EXPECT_EQ(contents(dir_ / "result.json"), "new");
  EXPECT_EQ(ops.names, (std::vector<std::string>{"open", "write", "sync", "close", "rename",
                                                 "sync_directory"}));
}

TEST_F(FileOpsTest, AnyFailureBeforeTheRenameLeavesTheOldFileAndNoOther) {
  write_atomically(system_file_ops(), dir_ / "result.json", "old");
  for (const std::string step : {"open", "write", "sync", "close", "rename"}) {
    FailingFileOps ops;
    ops.fail_first(step, ENOSPC);
    EXPECT_THROW(write_atomically(ops, dir_ / "result.json", "new"), IoError) << step;
    EXPECT_EQ(contents(dir_ / "result.json"), "old") << step;
    EXPECT_FALSE(fs::exists(dir_ / "result.json.tmp")) << step;
  }
}

TEST_F(FileOpsTest, PiecesBecomeOneFileOnlyWhenTheyAreCommitted) {
  write_atomically(system_file_ops(), dir_ / "x", "old");
  {
    AtomicFile file(system_file_ops(), dir_ / "x");
    file.write("one, ");
    file.write("two");
    EXPECT_EQ(contents(dir_ / "x"), "old");
    file.commit();
    EXPECT_EQ(contents(dir_ / "x"), "one, two");
  }
  {
    AtomicFile abandoned(system_file_ops(), dir_ / "x");
    abandoned.write("three");
  }
  EXPECT_EQ(contents(dir_ / "x"), "one, two");
  EXPECT_FALSE(fs::exists(dir_ / "x.tmp"));
}

TEST_F(FileOpsTest, ATemporaryThatAKilledProcessLeftIsReplacedAndALinkInItsPlaceIsNotFollowed) {
  std::ofstream(dir_ / "x.tmp") << "half of something long";
  write_atomically(system_file_ops(), dir_ / "x", "new");
  EXPECT_EQ(contents(dir_ / "x"), "new");
  std::ofstream(dir_ / "other") << "of somebody else";
  fs::create_symlink(dir_ / "other", dir_ / "y.tmp");
  write_atomically(system_file_ops(), dir_ / "y", "new");
  EXPECT_EQ(contents(dir_ / "y"), "new");
  EXPECT_EQ(contents(dir_ / "other"), "of somebody else");
}

TEST_F(FileOpsTest, EveryDirectoryThatIsMadeIsSyncedIntoTheOneAboveIt) {
  FailingFileOps ops;
  make_directories(ops, dir_ / "a" / "b" / "");
  EXPECT_TRUE(fs::is_directory(dir_ / "a" / "b"));
  // b fails as a is missing; a is made; b is made.
  EXPECT_EQ(ops.names,
            (std::vector<std::string>{"make_directory", "make_directory", "sync_directory",
                                      "make_directory", "sync_directory"}));
  EXPECT_NO_THROW(make_directories(ops, dir_ / "a"));
  std::ofstream(dir_ / "file") << "x";
  EXPECT_THROW(make_directories(ops, dir_ / "file"), IoError);
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
