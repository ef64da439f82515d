#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "source_fixture.h"

namespace slackline {
namespace {

using namespace testing_support;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

using Texts = std::vector<std::string>;

class ImageFolderTest : public SourceTest {
 protected:
  ImageFolderTest() : SourceTest("image_folder") {}

  /// Files whose contents are their own names.
  void write_images(const Texts& names) {
    for (const std::string& name : names) write(name, name);
  }
  void open_root(const OptionArguments& more = {}) {
    OptionArguments options = {{"root", path("root")}};
    options.insert(options.end(), more.begin(), more.end());
    open(options);
  }
  std::string refusal_of_root() { return refusal({{"root", path("root")}}); }
};

TEST_F(ImageFolderTest, FoldersSortedByBytesGiveLabels) {
  write_images(
      {"root/b/2.jpg", "root/b/10.jpg", "root/a10/x.png", "root/a2/y.JPEG", "root/B/z.Jpg"});
  open_root();
  EXPECT_EQ(source().format(), RecordFormat::kEncodedImage);
  start();
  Texts found;
  for (Record record; source().next(record);) {
    found.push_back(text(record.id, " ", record.label, " ",
                         without_folder(std::string(record.file)), " ", record.bytes.size()));
    source().give_back(record);
  }
  EXPECT_THAT(found,
              ElementsAre("0 0 root/B/z.Jpg 12", "1 1 root/a10/x.png 14", "2 2 root/a2/y.JPEG 14",
                          "3 3 root/b/10.jpg 13", "4 3 root/b/2.jpg 12"));
  EXPECT_THAT(host().warnings, IsEmpty());
}

TEST_F(ImageFolderTest, LendsWhatTheFilesHold) {
  write("root/a/1.jpg", std::string("\xff\xd8\0\1", 4));
  write("root/a/2.jpg", "");
  open_root();
  EXPECT_THAT(read_all(), ElementsAre(std::string("\xff\xd8\0\1", 4), ""));
  EXPECT_EQ(read(), "end");
}

TEST_F(ImageFolderTest, OrderDependsOnSeedAndEpochAlone) {
  Texts names;
  for (int i = 10; i < 60; ++i) names.push_back(text("root/", i % 5, "/", i, ".jpg"));
  write_images(names);
  open_root({{"shuffle", true}});
  const Texts first = read_all({.seed = 1, .epoch = 0});
  const Texts second = read_all({.seed = 1, .epoch = 1});
  EXPECT_THAT(first, UnorderedElementsAreArray(names));
  EXPECT_NE(first, second);
  open_root({{"shuffle", true}});
  EXPECT_EQ(read_all({.seed = 1, .epoch = 1}), second);
  EXPECT_NE(read_all({.seed = 2, .epoch = 0}), first);
}

TEST_F(ImageFolderTest, WithoutShufflingFilesAreSortedByBytes) {
  Texts names;
  for (int i = 0; i < 100; ++i) names.push_back(text("root/a/", i * 37 % 100, ".jpg"));
  write_images(names);
  std::sort(names.begin(), names.end());
  open_root();
  EXPECT_EQ(read_all(), names);
}

TEST_F(ImageFolderTest, ShardsShareTheImages) {
  write_images({"root/a/1.jpg", "root/a/2.jpg", "root/a/3.jpg", "root/b/1.jpg", "root/b/2.jpg"});
  open_root();
  EXPECT_THAT(read_all({.shard_index = 0, .shard_count = 2}),
              ElementsAre("root/a/1.jpg", "root/a/3.jpg", "root/b/2.jpg"));
  EXPECT_THAT(read_all({.shard_index = 1, .shard_count = 2}),
              ElementsAre("root/a/2.jpg", "root/b/1.jpg"));
}

TEST_F(ImageFolderTest, LentRecordsStayWhileOthersAreRead) {
  write_images({"root/a/1.jpg", "root/a/2.jpg"});
  open_root();
  start();
  Record lent;
  ASSERT_TRUE(source().next(lent));
  EXPECT_THAT(read_all(), ElementsAre("root/a/1.jpg", "root/a/2.jpg"));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(lent.bytes.data()), lent.bytes.size()),
            "root/a/1.jpg");
  source().give_back(lent);
}

TEST_F(ImageFolderTest, WhatIsNotReadIsSaid) {
  write_images({"root/a/1.jpg", "root/a/notes.txt", "root/a/deeper/1.jpg", "root/loose.jpg",
                "root/.cache/x", "root/a/.hidden.jpg"});
  open_root();
  EXPECT_THAT(read_all(), ElementsAre("root/a/1.jpg"));
  ASSERT_EQ(host().warnings.size(), 2u);
  EXPECT_EQ(
      without_folder(host().warnings[0]),
      "root: 1 entries are not read, as 'loose.jpg': folders, one for each class, belong here");
  EXPECT_EQ(without_folder(host().warnings[1]),
            "root/a: 2 entries are not read, as 'notes.txt': images ending in .jpg, .jpeg or .png "
            "belong here");
}

TEST_F(ImageFolderTest, AFileThatIsTooLargeIsRefusedAndTheNextFollows) {
  write("root/a/1.jpg", std::string(101, 'x'));
  write("root/a/2.jpg", std::string(100, 'y'));
  open_root({{"max_file_bytes", 100}});
  EXPECT_THAT(read_all(),
              ElementsAre("root/a/1.jpg: has 101 bytes, at most 100 are allowed (max_file_bytes)",
                          std::string(100, 'y')));
}

TEST_F(ImageFolderTest, AFileThatVanishedIsNamedAndTheNextFollows) {
  write_images({"root/a/1.jpg", "root/a/2.jpg"});
  open_root();
  std::filesystem::remove(path("root/a/1.jpg"));
  EXPECT_THAT(read_all(),
              ElementsAre("root/a/1.jpg: cannot open: No such file or directory", "root/a/2.jpg"));
}

TEST_F(ImageFolderTest, ARootThatCannotWorkIsRefused) {
  EXPECT_EQ(refusal_of_root(),
            "root: root: does not exist, must be a directory with one folder for each class");
  write("root/1.jpg", "");
  EXPECT_EQ(refusal_of_root(), "root: root: has no folders, must have one for each class");
  std::filesystem::remove_all(path("root"));
  write("root", "");
  EXPECT_EQ(refusal_of_root(),
            "root: root: is no directory, must be a directory with one folder for each class");
}

TEST_F(ImageFolderTest, AClassWithoutImagesIsRefused) {
  write_images({"root/cat/1.jpg", "root/dog/1.gif"});
  EXPECT_EQ(refusal_of_root(),
            "root: root/dog: has no images, must have at least one ending in .jpg, .jpeg or .png");
}

}  // namespace
}  // namespace slackline
