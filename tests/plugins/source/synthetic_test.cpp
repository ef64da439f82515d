#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include <gmock/gmock.h>

#include "source_fixture.h"

namespace slackline {
namespace {

using namespace testing_support;
using ::testing::ElementsAre;

class SyntheticTest : public SourceTest {
 protected:
  SyntheticTest() : SourceTest("synthetic") {}

  std::vector<Record> records(const EpochPlan& plan = {}) {
    start(plan);
    std::vector<Record> all;
    for (Record record; source().next(record);) {
      all.push_back(record);
      source().give_back(record);
    }
    return all;
  }
  std::vector<std::uint64_t> ids(const EpochPlan& plan) {
    std::vector<std::uint64_t> found;
    for (const Record& record : records(plan)) found.push_back(record.id);
    return found;
  }
};

TEST_F(SyntheticTest, LendsPixelsOfTheWantedShape) {
  open({{"image_size", std::vector<double>{20, 30}}, {"records", 2}});
  EXPECT_EQ(source().format(), RecordFormat::kPixels);
  const auto all = records();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].bytes.size(), 20u * 30 * 3);
  EXPECT_EQ(all[0].file, "");
  EXPECT_EQ(read(), "end");
}

TEST_F(SyntheticTest, OneImageIsLentAgainAndAgain) {
  open({{"image_size", std::vector<double>{8, 8}}, {"records", 50}});
  const auto all = records();
  ASSERT_EQ(all.size(), 50u);
  for (const Record& record : all) {
    EXPECT_EQ(record.bytes.data(), all[0].bytes.data()) << "nothing is copied";
    EXPECT_EQ(record.label, all[0].label);
  }
}

TEST_F(SyntheticTest, PixelsAreANormalDistributionCutAtTwoDeviations) {
  open({{"image_size", std::vector<double>{200, 200}}, {"records", 1}});
  const auto pixels = records().at(0).bytes;
  double sum = 0;
  double squares = 0;
  int smallest = 255;
  int largest = 0;
  for (const std::byte byte : pixels) {
    const int value = std::to_integer<int>(byte);
    sum += value;
    squares += value * value;
    smallest = std::min(smallest, value);
    largest = std::max(largest, value);
  }
  const auto count = static_cast<double>(pixels.size());
  const double mean = sum / count;
  EXPECT_NEAR(mean, 127, 0.6) << "four standard errors";
  // The standard deviation of a normal distribution cut at 2 is 0.8796 of the whole one's.
  EXPECT_NEAR(std::sqrt(squares / count - mean * mean), 60 * 0.8796, 0.5);
  EXPECT_EQ(smallest, 7);
  EXPECT_EQ(largest, 247);
}

TEST_F(SyntheticTest, DistinctImagesTakeTurns) {
  open({{"image_size", std::vector<double>{8, 8}}, {"records", 9}, {"distinct", 3}});
  const auto all = records();
  ASSERT_EQ(all.size(), 9u);
  std::set<const std::byte*> images;
  for (std::size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(all[i].bytes.data(), all[i % 3].bytes.data());
    images.insert(all[i].bytes.data());
  }
  EXPECT_EQ(images.size(), 3u);
  EXPECT_FALSE(std::equal(all[0].bytes.begin(), all[0].bytes.end(), all[1].bytes.begin()));
}

TEST_F(SyntheticTest, LabelsLieBelowTheNumberOfClasses) {
  open({{"image_size", std::vector<double>{1, 1}},
        {"records", 400},
        {"distinct", 400},
        {"num_classes", 7}});
  std::map<int, int> counts;
  for (const Record& record : records()) ++counts[record.label];
  EXPECT_EQ(counts.size(), 7u);
  EXPECT_EQ(counts.begin()->first, 0);
  EXPECT_EQ(counts.rbegin()->first, 6);
}

TEST_F(SyntheticTest, EveryEpochAndEverySourceIsTheSame) {
  const OptionArguments options = {{"image_size", std::vector<double>{4, 4}}, {"records", 3}};
  open(options);
  start({.seed = 1, .epoch = 0});
  const std::string first = read();
  start({.seed = 2, .epoch = 9});
  EXPECT_EQ(read(), first);
  open(options);
  start({.seed = 3});
  EXPECT_EQ(read(), first);
}

TEST_F(SyntheticTest, ShardsShareTheRecords) {
  open({{"image_size", std::vector<double>{1, 1}}, {"records", 7}});
  EXPECT_THAT(ids({.shard_index = 0, .shard_count = 3}), ElementsAre(0, 3, 6));
  EXPECT_THAT(ids({.shard_index = 1, .shard_count = 3}), ElementsAre(1, 4));
  EXPECT_THAT(ids({.shard_index = 2, .shard_count = 3}), ElementsAre(2, 5));
}

}  // namespace
}  // namespace slackline
