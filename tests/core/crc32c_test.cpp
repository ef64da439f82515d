#include <slackline/crc32c.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace slackline {
namespace {

std::span<const std::byte> bytes_of(std::string_view chars) {
  return std::as_bytes(std::span(chars));
}

/// Bit by bit, as the definition says.
std::uint32_t by_definition(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0u;
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
  }
  return ~crc;
}

std::vector<std::byte> noise(std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::uint32_t state = 12345;
  for (std::byte& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

TEST(Crc32c, GivesTheCheckValue) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283u);
  EXPECT_EQ(crc32c_tables(bytes_of("123456789")), 0xE3069283u);
  EXPECT_EQ(crc32c({}), 0u);
}

TEST(Crc32c, GivesTheValuesOfRfc3720) {
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8A9136AAu);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\xff'))), 0x62A8AB43u);
}

TEST(Crc32c, BothWaysAgreeAtEveryAlignmentAndLength) {
  const std::vector<std::byte> bytes = noise(1800);
  for (std::size_t start = 0; start < 8; ++start) {
    for (std::size_t size = 0; size <= 800; ++size) {
      const auto part = std::span(bytes).subspan(start, size);
      ASSERT_EQ(crc32c(part), crc32c_tables(part)) << size << " bytes from " << start;
    }
  }
}

TEST(Crc32c, AgreesWithTheDefinitionAroundTheEndsOfLanes) {
  const std::vector<std::byte> bytes = noise(40'000);
  for (const std::size_t size : {767u, 768u, 769u, 1536u, 4096u, 12287u, 12288u, 12289u, 13056u,
                                 24576u, 25343u, 25344u, 39999u}) {
    const auto part = std::span(bytes).subspan(1, size);
    const std::uint32_t expected = by_definition(part);
    EXPECT_EQ(crc32c(part), expected) << size;
    EXPECT_EQ(crc32c_tables(part), expected) << size;
  }
}

TEST(Crc32c, GoesOnFromWhatCameBefore) {
  const std::vector<std::byte> bytes = noise(15'000);
  const std::uint32_t whole = crc32c(bytes);
  for (const std::size_t cut : {0u, 1u, 7u, 8u, 777u, 12'289u, 15'000u}) {
    const auto first = std::span(bytes).first(cut);
    const auto rest = std::span(bytes).subspan(cut);
    EXPECT_EQ(crc32c(rest, crc32c(first)), whole) << cut;
    EXPECT_EQ(crc32c_tables(rest, crc32c_tables(first)), whole) << cut;
  }
}

TEST(Crc32c, MaskedGivesWhatTensorFlowStored) {
  const std::string golden = SLACKLINE_TEST_SOURCE_DIR "/tests/golden/";
  std::ifstream shard(golden + "tfrecord/plain.tfrecord", std::ios::binary);
  const std::string contents{std::istreambuf_iterator<char>(shard), {}};
  std::ifstream described(golden + "tfrecord.json");
  const auto records = nlohmann::json::parse(described).at("records");
  ASSERT_EQ(records.size(), 51u);
  for (const auto& record : records) {
    const std::size_t offset = record.at("offset");
    const std::size_t length = record.at("length");
    const auto all = bytes_of(contents);
    EXPECT_EQ(masked_crc32c(all.subspan(offset, 8)), record.at("masked_crc_of_length"));
    const auto data = all.subspan(offset + 12, length);
    EXPECT_EQ(masked_crc32c(data), record.at("masked_crc_of_data")) << "at " << offset;
    EXPECT_EQ(mask_crc32c(crc32c_tables(data)), record.at("masked_crc_of_data")) << "at " << offset;
  }
}

}  // namespace
}  // namespace slackline
