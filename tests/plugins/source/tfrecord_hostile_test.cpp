// Damaged and hostile TFRecord files: a clear error or the right record, never a wrong one.

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "source_fixture.h"
#include "tfrecord_files.h"

namespace slackline {
namespace {

using namespace testing_support;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using Texts = std::vector<std::string>;

class HostileTfrecordTest : public SourceTest {
 protected:
  HostileTfrecordTest() : SourceTest("tfrecord") {}

  /// Makes `contents` the only file, "f", and reads all of it.
  Texts read_file(std::string_view contents, const std::string& compression = "none",
                  int max_record_bytes = 1 << 20) {
    write("f", contents);
    open({{"files", Texts{path("f")}},
          {"compression", compression},
          {"max_record_bytes", max_record_bytes}});
    return read_all();
  }

  /// Overwrites the file of the source that is open and reads it.
  Texts read_changed(std::string_view contents) {
    write("f", contents);
    return read_all();
  }
};

bool is_error(const std::string& what) { return what.starts_with("f: record at byte "); }

// ---- what the errors say ---------------------------------------------------------------------

TEST_F(HostileTfrecordTest, DamagedDataIsNamedAndTheNextRecordFollows) {
  std::string contents = frame("first") + frame("second") + frame("third");
  contents[21 + 12] ^= 1;
  const Texts all = read_file(contents);
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_EQ(all[0], "first");
  EXPECT_EQ(all[1].substr(0, 61), "f: record at byte 21: data checksum does not match (stored 0x");
  EXPECT_EQ(all[2], "third");
}

TEST_F(HostileTfrecordTest, AChecksumErrorShowsBothChecksums) {
  const std::string payload = "first";
  std::string contents = frame(payload);
  contents.replace(contents.size() - 4, 4, little_endian(0x01020304u));
  const std::uint32_t computed = masked_crc32c(std::as_bytes(std::span(payload)));
  char expected[100];
  std::snprintf(expected, sizeof(expected),
                "f: record at byte 0: data checksum does not match (stored 0x01020304, computed "
                "0x%08x)",
                computed);
  EXPECT_THAT(read_file(contents), ElementsAre(expected));
}

TEST_F(HostileTfrecordTest, ADamagedLengthLosesTheRestOfTheFileAndSaysHowMuch) {
  std::string contents = frame("first") + frame("second") + frame("third");
  contents[21] ^= 1;
  const Texts all = read_file(contents);
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_THAT(all[1], HasSubstr("record at byte 21: length checksum does not match (stored 0x"));
  EXPECT_THAT(all[1], HasSubstr("; the rest of the file is lost, 43 bytes"));
}

TEST_F(HostileTfrecordTest, TheOtherFilesAreReadOn) {
  std::string bad = frame("a1") + frame("a2");
  bad[0] ^= 1;
  write("a", bad);
  write("b", frame("b1") + frame("b2"));
  open({{"files", Texts{path("?")}}});
  const Texts all = read_all();
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_THAT(all[0], HasSubstr("a: record at byte 0: length checksum"));
  EXPECT_EQ(all[1], "b1");
  EXPECT_EQ(all[2], "b2");
}

TEST_F(HostileTfrecordTest, ARecordThatIsTooLargeIsRefusedAndTheNextFollows) {
  const std::string contents = frame("small") + frame(std::string(5000, 'x')) + frame("after");
  EXPECT_THAT(read_file(contents, "none", 100),
              ElementsAre("small",
                          "f: record at byte 21: has 5000 bytes, at most 100 are allowed "
                          "(max_record_bytes)",
                          "after"));
  EXPECT_THAT(read_file(packed(contents, Packing::kGzip), "gzip", 100),
              ElementsAre("small",
                          "f: record at byte 21: has 5000 bytes, at most 100 are allowed "
                          "(max_record_bytes)",
                          "after"));
}

TEST_F(HostileTfrecordTest, AHugeLengthWithAGoodChecksumTakesNoMemory) {
  for (const std::uint64_t length :
       {std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{0} - 3, std::uint64_t{1} << 63}) {
    const std::string contents = frame("a") + header(length) + "xyz";
    EXPECT_THAT(
        read_file(contents),
        ElementsAre("a",
                    text("f: record at byte 17: the file ends inside the record, 3 of ", length,
                         " bytes and a checksum of 4 expected; the rest of "
                         "the file is lost, 15 bytes")));
    EXPECT_THAT(
        read_file(packed(contents, Packing::kZlib), "zlib"),
        ElementsAre("a", text("f: record at byte 17: the file ends inside the record, ", length,
                              " bytes and a checksum of 4 expected; the rest of "
                              "the file is lost")));
  }
}

TEST_F(HostileTfrecordTest, ACutHeaderIsAnErrorHoweverShort) {
  for (std::size_t size = 1; size < 12; ++size) {
    EXPECT_THAT(
        read_file(frame("a") + frame("b").substr(0, size)),
        ElementsAre("a", text("f: record at byte 17: the file ends inside the header, after ", size,
                              " of 12 bytes; the rest of the file is lost, ", size, " bytes")));
  }
}

TEST_F(HostileTfrecordTest, ZeroPaddingIsAnError) {
  for (const std::size_t size : {1u, 11u, 12u, 16u, 4096u}) {
    const Texts all = read_file(frame("a") + std::string(size, '\0'));
    ASSERT_THAT(all, SizeIs(2)) << size;
    EXPECT_THAT(all[1], HasSubstr("f: record at byte 17: ")) << size;
  }
}

TEST_F(HostileTfrecordTest, AnEmptyFileHasNoRecords) {
  EXPECT_THAT(read_file(""), ElementsAre());
  EXPECT_THAT(read_file("", "gzip"),
              ElementsAre("f: record at byte 0: the gzip stream is cut after 0 unpacked bytes; the "
                          "rest of the file is lost"));
}

TEST_F(HostileTfrecordTest, AWrongCompressionSaysWhichIsRight) {
  const std::string contents = frame("first");
  EXPECT_THAT(read_file(packed(contents, Packing::kGzip)),
              ElementsAre(HasSubstr("it looks like a gzip file: set compression = \"gzip\"")));
  EXPECT_THAT(read_file(packed(contents, Packing::kZlib)),
              ElementsAre(HasSubstr("it may be a zlib file: set compression = \"zlib\"")));
  EXPECT_THAT(
      read_file(contents, "gzip"),
      ElementsAre("f: record at byte 0: the gzip stream is damaged (incorrect header check) "
                  "after 0 unpacked bytes; the rest of the file is lost"));
  EXPECT_THAT(read_file("this is a text file"), ElementsAre(HasSubstr("is it a TFRecord file?")));
}

TEST_F(HostileTfrecordTest, BytesAfterAPackedStreamAreAnError) {
  const std::string contents = frame("first");
  EXPECT_THAT(read_file(packed(contents, Packing::kZlib) + "xyz", "zlib"),
              ElementsAre("first",
                          "f: record at byte 21: the zlib stream is followed by 3 bytes too many "
                          "after 21 unpacked bytes; the rest of the file is lost"));
  EXPECT_THAT(read_file(packed(contents, Packing::kGzip) + "xyz", "gzip"),
              ElementsAre("first", HasSubstr("the gzip stream is ")));
}

TEST_F(HostileTfrecordTest, TheErrorSaysWhichRecordItWas) {
  std::string contents = frame("first") + frame("second");
  contents.back() ^= 1;
  for (const int buffer : {0, 5}) {
    write("f", contents);
    open({{"files", Texts{path("f")}}, {"shuffle_buffer", buffer}});
    start();
    int errors = 0;
    for (int i = 0; i < 2; ++i) {
      Record record;
      try {
        ASSERT_TRUE(source().next(record));
        source().give_back(record);
      } catch (const DataError& error) {
        ++errors;
        EXPECT_EQ(error.key(), "data");
        EXPECT_EQ(record.file, path("f"));
        EXPECT_EQ(record.offset, 21u);
        EXPECT_EQ(record.id, 21u);
        EXPECT_TRUE(record.bytes.empty());
        EXPECT_EQ(record.lease, nullptr);
      }
    }
    EXPECT_EQ(errors, 1);
  }
}

TEST_F(HostileTfrecordTest, OneDamagedRecordLeavesTheOrderOfTheOthers) {
  std::string contents;
  for (int i = 0; i < 60; ++i) contents += frame(std::to_string(100 + i));
  write("f", contents);
  std::string others;
  for (int i = 0; i < 60; ++i) others += frame(std::to_string(200 + i));
  write("g", others);
  open({{"files", Texts{path("?")}}, {"shuffle_buffer", 16}, {"block_length", 3}});
  Texts good = read_all();
  contents[19 * 30 + 12] ^= 1;  // a frame has 19 bytes: this is record 130
  write("f", contents);
  const Texts damaged = read_all();
  ASSERT_EQ(damaged.size(), good.size());
  for (std::size_t i = 0; i < good.size(); ++i) {
    if (good[i] == "130") {
      EXPECT_TRUE(is_error(damaged[i])) << damaged[i];
    } else {
      EXPECT_EQ(damaged[i], good[i]);
    }
  }
}

// ---- every byte, every cut -------------------------------------------------------------------

const Texts kPayloads = {"", "one", std::string(40, 'z'), "the last of four"};

std::string small_shard() {
  std::string contents;
  for (const std::string& payload : kPayloads) contents += frame(payload);
  return contents;
}

/// What was read must be the records in their order, with errors in between.
void expect_only_right_records(const Texts& all, const std::string& what) {
  std::size_t next = 0;
  for (const std::string& one : all) {
    if (is_error(one)) continue;
    while (next < kPayloads.size() && kPayloads[next] != one) ++next;
    ASSERT_LT(next, kPayloads.size()) << what << ": a wrong record: " << one;
    ++next;
  }
}

TEST_F(HostileTfrecordTest, EveryFlippedByteGivesAnErrorAndNoWrongRecord) {
  const std::string good = small_shard();
  EXPECT_EQ(read_file(good), kPayloads);
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (int flip = 1; flip < 256; ++flip) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ flip);
      const Texts all = read_changed(bad);
      const std::string what = text("byte ", at, " xor ", flip);
      expect_only_right_records(all, what);
      ASSERT_EQ(std::count_if(all.begin(), all.end(), is_error), 1) << what;
    }
  }
}

TEST_F(HostileTfrecordTest, EveryCutGivesAnErrorExceptBetweenRecords) {
  const std::string good = small_shard();
  std::set<std::size_t> boundaries = {0};
  for (std::size_t i = 0, end = 0; i < kPayloads.size(); ++i) {
    end += kPayloads[i].size() + 16;
    boundaries.insert(end);
  }
  EXPECT_EQ(read_file(good), kPayloads);
  for (std::size_t size = 0; size < good.size(); ++size) {
    const Texts all = read_changed(good.substr(0, size));
    const std::string what = text("cut to ", size, " bytes");
    expect_only_right_records(all, what);
    const auto errors = std::count_if(all.begin(), all.end(), is_error);
    ASSERT_EQ(errors, boundaries.count(size) == 1 ? 0 : 1) << what;
  }
}

TEST_F(HostileTfrecordTest, EveryFlippedByteOfAPackedFileGivesNoWrongRecord) {
  for (const auto& [packing, name] :
       {std::pair(Packing::kGzip, "gzip"), std::pair(Packing::kZlib, "zlib")}) {
    const std::string good = packed(small_shard(), packing);
    EXPECT_EQ(read_file(good, name), kPayloads);
    for (std::size_t at = 0; at < good.size(); ++at) {
      for (const int flip : {1, 2, 4, 8, 16, 32, 64, 128, 255}) {
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ flip);
        const Texts all = read_changed(bad);
        const std::string what = text(name, ": byte ", at, " xor ", flip);
        expect_only_right_records(all, what);
        // Some bits of a gzip header mean nothing (time, system); then all records must be there.
        if (std::none_of(all.begin(), all.end(), is_error)) {
          ASSERT_EQ(all, kPayloads) << what;
        }
      }
    }
  }
}

TEST_F(HostileTfrecordTest, EveryCutOfAPackedFileGivesAnError) {
  for (const auto& [packing, name] :
       {std::pair(Packing::kGzip, "gzip"), std::pair(Packing::kZlib, "zlib")}) {
    const std::string good = packed(small_shard(), packing);
    EXPECT_EQ(read_file(good, name), kPayloads);
    for (std::size_t size = 0; size < good.size(); ++size) {
      const Texts all = read_changed(good.substr(0, size));
      const std::string what = text(name, " cut to ", size, " bytes");
      expect_only_right_records(all, what);
      ASSERT_EQ(std::count_if(all.begin(), all.end(), is_error), 1) << what;
    }
  }
}

}  // namespace
}  // namespace slackline
