#include <slackline/digest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace slackline {
namespace {

SequenceDigest digest_of(std::span<const std::uint64_t> items) {
  SequenceDigest digest;
  for (const std::uint64_t item : items) digest.append(item);
  return digest;
}

/// Items that are as well mixed as those of a run.
std::vector<std::uint64_t> made_up_items(std::size_t count) {
  std::vector<std::uint64_t> items;
  for (std::uint64_t i = 0; i < count; ++i) items.push_back(order_item(0, i, 0));
  return items;
}

// The numbers were computed with Python's integers, which have no limit, from the definition:
//   p = 2**61 - 1; b = 0x9e3779b97f4a7c15 & p; n = len(items)
//   sum(item * pow(b, n - 1 - i, p) for i, item in enumerate(items)) % p
TEST(SequenceDigestTest, IsThePolynomialOfItsItemsModuloTheMersennePrime) {
  EXPECT_EQ(digest_of({}).value(), 0u);
  EXPECT_EQ(digest_of(std::vector<std::uint64_t>{1}).value(), 1u);
  EXPECT_EQ(digest_of(std::vector<std::uint64_t>{~std::uint64_t{0}}).value(), 7u);
  EXPECT_EQ(digest_of(std::vector<std::uint64_t>{0x1fffffffffffffff}).value(), 0u) << "the prime";
  EXPECT_EQ(digest_of(std::vector<std::uint64_t>{1, 2, 3}).value(), 1746135506325180551u);
  EXPECT_EQ(digest_of(std::vector<std::uint64_t>{0xdeadbeefcafef00d, 0x1fffffffffffffff,
                                                 0x2000000000000000, 0x8000000000000005})
                .value(),
            1249510496464266486u);
  std::vector<std::uint64_t> thousand(1000);
  std::iota(thousand.begin(), thousand.end(), 1u);
  EXPECT_EQ(digest_of(thousand).value(), 1262462696988707446u);
}

TEST(SequenceDigestTest, AnySplitIntoTwoPartsPutTogetherIsTheWhole) {
  const std::vector<std::uint64_t> items = made_up_items(70);
  const SequenceDigest whole = digest_of(items);
  for (std::size_t split = 0; split <= items.size(); ++split) {
    SequenceDigest front = digest_of(std::span(items).first(split));
    front.append(digest_of(std::span(items).subspan(split)));
    EXPECT_EQ(front, whole) << "split at " << split;
  }
}

TEST(SequenceDigestTest, PartsMayBePutTogetherInAnyGrouping) {
  const std::vector<std::uint64_t> items = made_up_items(40);
  const SequenceDigest whole = digest_of(items);
  for (const std::size_t size : {1u, 3u, 8u, 39u}) {
    SequenceDigest from_front;
    SequenceDigest from_back;
    for (std::size_t begin = 0; begin < items.size(); begin += size) {
      const auto part = [&](std::size_t at) {
        return digest_of(std::span(items).subspan(at, std::min(size, items.size() - at)));
      };
      from_front.append(part(begin));
      SequenceDigest longer = part((items.size() - 1 - begin) / size * size);
      longer.append(from_back);
      from_back = longer;
    }
    EXPECT_EQ(from_front, whole) << "parts of " << size;
    EXPECT_EQ(from_back, whole) << "parts of " << size;
  }
}

TEST(SequenceDigestTest, ItGoesOnFromWhatWasStored) {
  const std::vector<std::uint64_t> items = made_up_items(10);
  const SequenceDigest before = digest_of(std::span(items).first(4));
  SequenceDigest resumed(before.value(), before.length());
  for (const std::uint64_t item : std::span(items).subspan(4)) resumed.append(item);
  EXPECT_EQ(resumed, digest_of(items));
}

TEST(SequenceDigestTest, OrderMatters) {
  std::vector<std::uint64_t> items = made_up_items(20);
  const SequenceDigest in_order = digest_of(items);
  for (std::size_t i = 0; i + 1 < items.size(); ++i) {
    std::swap(items[i], items[i + 1]);
    EXPECT_NE(digest_of(items), in_order) << "neighbours " << i << " and " << i + 1 << " swapped";
    std::swap(items[i], items[i + 1]);
  }
}

TEST(SequenceDigestTest, EveryBitOfEveryItemCounts) {
  std::vector<std::uint64_t> items = made_up_items(20);
  const SequenceDigest before = digest_of(items);
  for (std::uint64_t& item : items) {
    for (int bit = 0; bit < 64; ++bit) {
      item ^= std::uint64_t{1} << bit;
      EXPECT_NE(digest_of(items), before) << "bit " << bit;
      item ^= std::uint64_t{1} << bit;
    }
  }
}

TEST(SequenceDigestTest, ItemsOfZeroCountByTheirNumber) {
  const std::vector<std::uint64_t> none;
  const std::vector<std::uint64_t> one = {0};
  EXPECT_EQ(digest_of(one).value(), digest_of(none).value());
  EXPECT_NE(digest_of(one), digest_of(none));
  EXPECT_EQ(digest_of(one).length(), 1u);
  SequenceDigest three = digest_of(one);
  three.append(digest_of(std::vector<std::uint64_t>{5, 6}));
  EXPECT_EQ(three.length(), 3u);
}

TEST(BatchDigestTest, PartsArePutTogetherForOrderAndForPixels) {
  const std::vector<std::uint64_t> order = made_up_items(6);
  const std::vector<std::uint64_t> pixels = {11, 12, 13, 14, 15, 16};
  const auto part = [&](std::size_t begin, std::size_t count) {
    return BatchDigest{digest_of(std::span(order).subspan(begin, count)),
                       digest_of(std::span(pixels).subspan(begin, count))};
  };
  BatchDigest together = part(0, 2);
  together.append(part(2, 4));
  EXPECT_EQ(together, part(0, 6));

  BatchDigest other_pixels = part(0, 6);
  other_pixels.pixels = digest_of(order);
  EXPECT_NE(other_pixels, together);
}

// Computed in Python from the definition of SplitMix64's finaliser; of seed 0 that gives its
// published first number, 0xe220a8397b1dcdaf.
TEST(OrderItemTest, IsTheMixtureOfEpochRecordAndLabel) {
  EXPECT_EQ(order_item(0, 0, 0), 0x48218226ff3cd4bfu);
  EXPECT_EQ(order_item(1, 0, 0), 0x16ad48b0285970e5u);
  EXPECT_EQ(order_item(0, 1, 0), 0xdce423fc82c0d5b8u);
  EXPECT_EQ(order_item(0, 0, 1), 0x9e0160293a33aaf7u);
  EXPECT_EQ(order_item(0, 0, -1), 0x109116867520c2b2u);
  EXPECT_EQ(order_item(0xffffffff, ~std::uint64_t{0}, INT32_MIN), 0x480006e5365d8b37u);
  EXPECT_EQ(order_item(3, 0x123456789abcdef, 999), 0xb2cd6881b8b6aa28u);
}

TEST(OrderItemTest, TellsApartWhatDiffersInOnePart) {
  std::set<std::uint64_t> seen;
  for (std::uint32_t epoch = 0; epoch < 20; ++epoch) {
    for (std::uint64_t record = 0; record < 50; ++record) {
      for (std::int32_t label = -5; label < 5; ++label) {
        seen.insert(order_item(epoch, record, label));
      }
    }
  }
  EXPECT_EQ(seen.size(), 20u * 50u * 10u);
}

}  // namespace
}  // namespace slackline
