#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "source_fixture.h"
#include "tfrecord_files.h"

namespace slackline {
namespace {

using namespace testing_support;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAreArray;

using Texts = std::vector<std::string>;

const std::string kGolden = SLACKLINE_TEST_SOURCE_DIR "/tests/golden/";

json golden(const std::string& name, const std::string& key) {
  std::ifstream file(kGolden + name);
  return json::parse(file).at(key);
}

class TfrecordTest : public SourceTest {
 protected:
  TfrecordTest() : SourceTest("tfrecord") {}

  /// File k holds records "1000 k", "1000 k + 1", …, as in the golden orders.
  void write_files(const std::vector<int>& lengths) {
    for (std::size_t k = 0; k < lengths.size(); ++k) {
      std::string contents;
      for (int i = 0; i < lengths[k]; ++i) {
        contents += frame(std::to_string(1000 * static_cast<int>(k) + i));
      }
      write(text("shard-", k / 10, k % 10), contents);
    }
  }

  std::vector<std::string> some_files() const { return {path("shard-*")}; }
};

Texts texts(const json& numbers) {
  Texts out;
  for (const json& number : numbers) out.push_back(std::to_string(number.get<int>()));
  return out;
}

// ---- what TensorFlow wrote -------------------------------------------------------------------

TEST_F(TfrecordTest, ReadsTensorFlowsFilesPlainAndPacked) {
  const json records = golden("tfrecord.json", "records");
  std::ifstream plain(kGolden + "tfrecord/plain.tfrecord", std::ios::binary);
  const std::string contents{std::istreambuf_iterator<char>(plain), {}};
  for (const std::string compression : {"none", "gzip", "zlib"}) {
    const std::string file = compression == "none" ? "plain" : compression;
    open({{"files", Texts{kGolden + "tfrecord/" + file + ".tfrecord"}},
          {"compression", compression}});
    start();
    for (const json& expected : records) {
      Record record;
      ASSERT_TRUE(source().next(record)) << file;
      EXPECT_EQ(record.offset, expected.at("offset"));
      EXPECT_EQ(record.id, record.offset) << "of the first file";
      ASSERT_EQ(record.bytes.size(), expected.at("length"));
      const auto wanted =
          std::as_bytes(std::span(contents)).subspan(record.offset + 12, record.bytes.size());
      EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), record.bytes.begin())) << file;
      EXPECT_EQ(record.file, kGolden + "tfrecord/" + file + ".tfrecord");
      source().give_back(record);
    }
    EXPECT_EQ(read(), "end");
    EXPECT_EQ(read(), "end") << "again and again";
  }
}

TEST_F(TfrecordTest, InterleavesAsTensorFlowDoes) {
  const json cases = golden("tfdata.json", "interleave");
  ASSERT_FALSE(cases.empty());
  for (const json& one : cases) {
    const auto lengths = one.at("file_lengths").get<std::vector<int>>();
    if (lengths.empty()) continue;  // no files are an error here
    std::filesystem::remove_all(path(""));
    write_files(lengths);
    open({{"files", some_files()},
          {"cycle_length", one.at("cycle_length").get<int>()},
          {"block_length", one.at("block_length").get<int>()}});
    EXPECT_THAT(read_all(), ElementsAreArray(texts(one.at("order")))) << one;
    EXPECT_THAT(read_all(), ElementsAreArray(texts(one.at("order")))) << "in every epoch: " << one;
  }
}

TEST_F(TfrecordTest, ShardsFilesBeforeItInterleaves) {
  const json cases = golden("tfdata.json", "shard_then_interleave");
  ASSERT_FALSE(cases.empty());
  for (const json& one : cases) {
    std::filesystem::remove_all(path(""));
    write_files(one.at("file_lengths").get<std::vector<int>>());
    open({{"files", some_files()},
          {"cycle_length", one.at("cycle_length").get<int>()},
          {"block_length", one.at("block_length").get<int>()}});
    const EpochPlan plan{.seed = 1,
                         .shard_index = one.at("index").get<std::uint32_t>(),
                         .shard_count = one.at("num_shards").get<std::uint32_t>()};
    EXPECT_THAT(read_all(plan), ElementsAreArray(texts(one.at("order")))) << one;
  }
}

TEST_F(TfrecordTest, ShardsAreTensorFlows) {
  int read_shards = 0;
  for (const json& one : golden("tfdata.json", "shard")) {
    if (one.contains("error")) continue;  // refused by [input]'s ranges
    std::filesystem::remove_all(path(""));
    write_files(std::vector<int>(one.at("elements").get<std::size_t>(), 1));
    open({{"files", some_files()}, {"cycle_length", 1}});
    const EpochPlan plan{.seed = 1,
                         .shard_index = one.at("index").get<std::uint32_t>(),
                         .shard_count = one.at("num_shards").get<std::uint32_t>()};
    if (one.at("elements").get<std::uint32_t>() < plan.shard_count) continue;  // see below
    json expected = json::array();
    for (const json& file : one.at("order")) expected.push_back(1000 * file.get<int>());
    EXPECT_THAT(read_all(plan), ElementsAreArray(texts(expected))) << one;
    ++read_shards;
  }
  EXPECT_GE(read_shards, 4);
}

TEST_F(TfrecordTest, ListsFilesAsTensorFlowDoes) {
  const json cases = golden("tfdata.json", "list_files");
  ASSERT_FALSE(cases.empty());
  for (const json& one : cases) {
    std::filesystem::remove_all(path(""));
    for (const json& file : one.at("files")) {
      write(file.get<std::string>(), frame(file.get<std::string>()));
    }
    Texts patterns;
    for (const json& pattern : one.at("patterns")) {
      patterns.push_back(path(pattern.get<std::string>()));
    }
    if (one.contains("error")) {
      EXPECT_EQ(refusal({{"files", patterns}}),
                "files: nothing*: no file matches, must be the path or glob of at least one");
    } else {
      open({{"files", patterns}, {"cycle_length", 1}});
      EXPECT_THAT(read_all(), ElementsAreArray(one.at("order").get<Texts>())) << one;
    }
  }
}

// ---- orders ----------------------------------------------------------------------------------

TEST_F(TfrecordTest, OrderDependsOnSeedAndEpochAlone) {
  write_files({20, 20, 20, 20});
  const OptionArguments options = {{"files", some_files()},
                                   {"shuffle_files", true},
                                   {"cycle_length", 2},
                                   {"shuffle_buffer", 30}};
  open(options);
  const Texts first = read_all({.seed = 7, .epoch = 0});
  const Texts second = read_all({.seed = 7, .epoch = 1});
  EXPECT_EQ(read_all({.seed = 7, .epoch = 0}), first) << "whatever was read before";
  open(options);
  EXPECT_EQ(read_all({.seed = 7, .epoch = 1}), second) << "in another process";
  EXPECT_NE(first, second);
  EXPECT_NE(read_all({.seed = 8, .epoch = 0}), first);
  EXPECT_THAT(second, UnorderedElementsAreArray(first));
  EXPECT_EQ(first.size(), 80u);
}

TEST_F(TfrecordTest, ShufflingFilesKeepsTheOrderWithinEach) {
  write_files({3, 3, 3, 3, 3, 3, 3, 3});
  open({{"files", some_files()}, {"shuffle_files", true}, {"cycle_length", 1}});
  const Texts all = read_all();
  Texts firsts;
  for (std::size_t i = 0; i < all.size(); i += 3) {
    firsts.push_back(all[i]);
    EXPECT_EQ(std::stoi(all[i]) + 1, std::stoi(all[i + 1]));
    EXPECT_EQ(std::stoi(all[i]) + 2, std::stoi(all[i + 2]));
  }
  EXPECT_FALSE(std::is_sorted(firsts.begin(), firsts.end()));
}

TEST_F(TfrecordTest, TheShuffleBufferReachesNoFurtherThanItsSize) {
  constexpr int kBuffer = 8;
  write_files({400});
  open({{"files", some_files()}, {"shuffle_buffer", kBuffer}});
  const Texts all = read_all();
  std::set<int> drawn_first;
  for (int i = 0; i < 400; ++i) {
    EXPECT_LT(std::stoi(all[static_cast<std::size_t>(i)]), i + kBuffer);
  }
  EXPECT_FALSE(std::is_sorted(all.begin(), all.end()));
  for (std::uint32_t epoch = 0; epoch < 100; ++epoch) {
    start({.seed = 1, .epoch = epoch});
    drawn_first.insert(std::stoi(read()));
  }
  EXPECT_THAT(drawn_first, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7)) << "every place has its chance";
}

TEST_F(TfrecordTest, ABufferLargerThanTheDataShufflesAllOfIt) {
  write_files({5, 5});
  open({{"files", some_files()}, {"shuffle_buffer", 1000}});
  EXPECT_THAT(read_all(), UnorderedElementsAreArray(Texts{"0", "1", "2", "3", "4", "1000", "1001",
                                                          "1002", "1003", "1004"}));
}

TEST_F(TfrecordTest, ShardsAreDisjointAndCoverEverything) {
  write_files({4, 7, 1, 0, 5, 3, 2});
  open({{"files", some_files()}, {"shuffle_files", true}, {"shuffle_buffer", 3}});
  Texts together;
  for (std::uint32_t i = 0; i < 3; ++i) {
    const Texts part = read_all({.seed = 3, .epoch = 2, .shard_index = i, .shard_count = 3});
    together.insert(together.end(), part.begin(), part.end());
  }
  EXPECT_THAT(together, UnorderedElementsAreArray(read_all()));
}

TEST_F(TfrecordTest, OfFewerFilesThanShardsEachShardKeepsItsRecordsOfAll) {
  write_files({3, 2});
  open({{"files", some_files()}, {"cycle_length", 2}});
  EXPECT_THAT(read_all(), ElementsAre("0", "1000", "1", "1001", "2"));
  EXPECT_TRUE(host().warnings.empty());
  EXPECT_THAT(read_all({.shard_index = 0, .shard_count = 3}), ElementsAre("0", "1001"));
  EXPECT_THAT(read_all({.shard_index = 1, .shard_count = 3}), ElementsAre("1000", "2"));
  EXPECT_THAT(read_all({.shard_index = 2, .shard_count = 3}), ElementsAre("1"));
  EXPECT_THAT(host().warnings,
              testing::Contains(testing::HasSubstr("2 files for 3 shards: each shard reads all")));
}

TEST_F(TfrecordTest, OfSharedFilesTheShardThatADamagedRecordBelongsToTellsIt) {
  std::string contents = frame("a") + frame("b") + frame("c") + frame("d");
  contents[2 * frame("a").size() - 1] ^= 1;
  write("shard-00", contents);
  open({{"files", some_files()}});
  EXPECT_THAT(read_all({.shard_index = 0, .shard_count = 2}), ElementsAre("a", "c"));
  EXPECT_THAT(read_all({.shard_index = 1, .shard_count = 2}),
              ElementsAre(StartsWith("shard-00: record at byte 17: data checksum does not"), "d"));
}

// ---- records ---------------------------------------------------------------------------------

TEST_F(TfrecordTest, ARecordHasTheSameIdInEveryOrder) {
  write_files({30, 30, 30});
  const auto ids = [&](const OptionArguments& more, const EpochPlan& plan) {
    OptionArguments options = {{"files", some_files()}};
    options.insert(options.end(), more.begin(), more.end());
    open(options);
    start(plan);
    std::map<std::string, std::uint64_t> found;
    Record record;
    while (source().next(record)) {
      found[{reinterpret_cast<const char*>(record.bytes.data()), record.bytes.size()}] = record.id;
      source().give_back(record);
    }
    return found;
  };
  const auto plain = ids({}, {});
  EXPECT_EQ(plain.at("0"), 0u);
  EXPECT_EQ(plain.at("1"), 17u);
  EXPECT_EQ(plain.at("2001"), (std::uint64_t{2} << 40) + 20u);
  EXPECT_EQ(ids({{"shuffle_files", true}, {"shuffle_buffer", 9}}, {.seed = 5, .epoch = 3}), plain);
}

TEST_F(TfrecordTest, LentRecordsStayWhileOthersAreRead) {
  write_files({50, 50});
  open({{"files", some_files()}, {"shuffle_buffer", 10}});
  start();
  std::vector<Record> lent(40);
  for (Record& record : lent) ASSERT_TRUE(source().next(record));
  Texts before;
  for (const Record& record : lent) {
    before.emplace_back(reinterpret_cast<const char*>(record.bytes.data()), record.bytes.size());
  }
  EXPECT_EQ(read_all({.seed = 2}).size(), 100u) << "a new epoch, too";
  for (std::size_t i = 0; i < lent.size(); ++i) {
    EXPECT_EQ(
        std::string(reinterpret_cast<const char*>(lent[i].bytes.data()), lent[i].bytes.size()),
        before[i]);
    source().give_back(lent[i]);
  }
}

TEST_F(TfrecordTest, MemoryOfReturnedRecordsIsUsedAgain) {
  write_files({500});
  open({{"files", some_files()}});
  start();
  std::set<const std::byte*> places;
  Record record;
  while (source().next(record)) {
    places.insert(record.bytes.data());
    source().give_back(record);
  }
  EXPECT_EQ(places.size(), 1u);
}

TEST_F(TfrecordTest, RecordsGoBackFromAnyThread) {
  write_files({2000});
  open({{"files", some_files()}, {"shuffle_buffer", 16}});
  start();
  std::vector<Record> lent(2000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) threads.emplace_back();
  for (std::size_t round = 0; round < 10; ++round) {
    const std::span<Record> part(lent.data() + round * 200, 200);
    for (Record& record : part) ASSERT_TRUE(source().next(record));
    for (std::size_t t = 0; t < 2; ++t) {
      if (threads[t].joinable()) threads[t].join();
      threads[t] = std::thread([this, half = part.subspan(t * 100, 100)] {
        for (const Record& record : half) source().give_back(record);
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(read(), "end");
}

TEST_F(TfrecordTest, RecordsOfEverySizeArriveWhole) {
  std::string contents;
  Texts payloads;
  for (const std::size_t size : {0u, 1u, 255u, 4096u, 16'383u, 16'384u, 16'385u, 115'000u, 300u,
                                 1'048'560u, 1'048'564u, 1'048'576u, 3'000'000u, 7u}) {
    std::string payload(size, '\0');
    for (std::size_t i = 0; i < size; ++i) payload[i] = static_cast<char>(i * 131 + size);
    contents += frame(payload);
    payloads.push_back(std::move(payload));
  }
  write("plain", contents);
  write("gzip", packed(contents, Packing::kGzip));
  write("zlib", packed(contents, Packing::kZlib));
  open({{"files", Texts{path("plain")}}});
  EXPECT_TRUE(read_all() == payloads);
  for (const std::string compression : {"gzip", "zlib"}) {
    open({{"files", Texts{path(compression)}}, {"compression", compression}});
    EXPECT_TRUE(read_all() == payloads) << compression;
  }
}

TEST_F(TfrecordTest, GzipMembersOneAfterTheOtherAreOneFile) {
  const std::string all = frame("first") + frame("second") + frame("third");
  write("two", packed(all.substr(0, 30), Packing::kGzip) + packed(all.substr(30), Packing::kGzip));
  open({{"files", Texts{path("two")}}, {"compression", "gzip"}});
  EXPECT_THAT(read_all(), ElementsAre("first", "second", "third"));
}

// ---- configurations that cannot work ---------------------------------------------------------

TEST_F(TfrecordTest, EachPatternMustMatch) {
  write_files({1});
  EXPECT_EQ(refusal({{"files", Texts{path("shard-*"), path("shrad-*")}}}),
            "files: shrad-*: no file matches, must be the path or glob of at least one");
}

TEST_F(TfrecordTest, ADirectoryIsNoTfrecordFile) {
  write("train/shard", frame(""));
  EXPECT_EQ(refusal({{"files", Texts{path("train")}}}),
            "files: train: is a directory, must be a TFRecord file");
}

TEST_F(TfrecordTest, ANameWithABracketIsFound) {
  write("part[1", frame("here"));
  write("odd[12]", frame("and here"));
  open({{"files", Texts{path("part[1"), path("odd[12]")}}});
  EXPECT_THAT(read_all(), ElementsAre("and here", "here"));
}

TEST_F(TfrecordTest, AFileThatVanishedIsNamedAndTheOthersAreRead) {
  write_files({1, 1});
  open({{"files", some_files()}});
  std::filesystem::remove(path("shard-00"));
  EXPECT_THAT(read_all(), ElementsAre("shard-00: cannot open: No such file or directory", "1000"));
}

TEST_F(TfrecordTest, TellsWhatOfTheReadingIsChecksums) {
  write("shard-00", frame(std::string(1 << 20, 'x')) + frame(std::string(1 << 20, 'y')) +
                        frame(std::string(1 << 20, 'z')));
  open({{"files", some_files()}});
  EXPECT_FALSE(host().reports.contains("checksum")) << "nothing has been read";
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(read_all().size(), 3u);
  const std::chrono::duration<double, std::micro> elapsed =
      std::chrono::steady_clock::now() - begin;
  EXPECT_GT(host().reports.at("checksum"), 0);
  EXPECT_LT(3 * host().reports.at("checksum"), elapsed.count()) << "a part of the whole";
}

}  // namespace
}  // namespace slackline
