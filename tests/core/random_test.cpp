#include <slackline/random.h>

#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace slackline {
namespace {

using Words = std::array<std::uint32_t, 4>;

/// Gives the words of a list, one after the other.
class Script {
 public:
  explicit Script(std::vector<std::uint32_t> words) : words_(std::move(words)) {}
  std::uint32_t operator()() { return words_.at(used_++); }
  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  std::vector<std::uint32_t> words_;
  std::size_t used_ = 0;
};

// The known answers that the authors of the generator publish with it (Random123, kat_vectors).
TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(Philox::generate({0, 0}, {0, 0, 0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(
      Philox::generate({0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
      (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      Philox::generate({0xa4093822, 0x299f31d0}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
      (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, GoesFromBlockToBlock) {
  Philox words({1, 2}, {0xffffffff, 7, 3, 4});
  for (const std::uint32_t expected : Philox::generate({1, 2}, {0xffffffff, 7, 3, 4})) {
    EXPECT_EQ(words(), expected);
  }
  EXPECT_EQ(words(), Philox::generate({1, 2}, {0, 8, 3, 4})[0]) << "the count carries over";
}

TEST(Random, WordsDependOnEveryPartOfTheKey) {
  std::set<std::uint32_t> first_words;
  for (const std::uint64_t seed : {1ull, 2ull, 1ull << 32 | 1}) {
    for (const std::uint64_t id : {5ull, 6ull, 1ull << 40 | 5}) {
      for (const std::uint32_t epoch : {0u, 1u}) {
        for (const std::uint32_t op : {0u, 1u, 255u}) {
          first_words.insert(random_words({.seed = seed, .sample_id = id, .epoch = epoch}, op)());
        }
      }
    }
  }
  EXPECT_EQ(first_words.size(), 3u * 3 * 2 * 3);
}

TEST(Random, TheSameKeyGivesTheSameWords) {
  Philox first = random_words({.seed = 1, .sample_id = 2, .epoch = 3}, 4);
  Philox second = random_words({.seed = 1, .sample_id = 2, .epoch = 3}, 4);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(first(), second());
}

TEST(UniformFloat, IsMadeOfTheLow23Bits) {
  Script words({0, 0xff800000, 0x00400000, 0xffffffff});
  EXPECT_EQ(uniform_float(words), 0.0F);
  EXPECT_EQ(uniform_float(words), 0.0F);
  EXPECT_EQ(uniform_float(words), 0.5F);
  EXPECT_EQ(uniform_float(words), 1.0F - 0x1p-23F);
}

TEST(UniformBelow, MasksWhereThereAreAPowerOfTwo) {
  Script words({0xfffffff6, 3});
  EXPECT_EQ(uniform_below(words, 16), 6u);
  EXPECT_EQ(uniform_below(words, 1), 0u);
  EXPECT_EQ(words.used(), 2u);
}

TEST(UniformBelow, RejectsLowWordsElse) {
  // 0xffffffff % 10 + 1 = 6 words are too many for ten equal shares.
  Script words({0, 5, 6, 17});
  EXPECT_EQ(uniform_below(words, 10), 6u);
  EXPECT_EQ(words.used(), 3u);
  EXPECT_EQ(uniform_below(words, 10), 7u);
}

}  // namespace
}  // namespace slackline
