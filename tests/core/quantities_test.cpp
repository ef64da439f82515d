#include "quantities.h"

#include <gtest/gtest.h>

namespace slackline {
namespace {

TEST(DurationTest, EveryUnitIsReadAsNanoseconds) {
  EXPECT_EQ(parse_duration("7ns"), 7);
  EXPECT_EQ(parse_duration("200us"), 200'000);
  EXPECT_EQ(parse_duration("11ms"), 11'000'000);
  EXPECT_EQ(parse_duration("1.5s"), 1'500'000'000);
  EXPECT_EQ(parse_duration("2min"), 120'000'000'000);
  EXPECT_EQ(parse_duration("0s"), 0);
  EXPECT_EQ(parse_duration("3 ms"), 3'000'000);
}

TEST(DurationTest, WhatIsNoDurationIsRefused) {
  for (const char* text : {"", "11", "ms", "11 parsecs", "-1ms", "-0s", "1e3s", "nans", "infs",
                           "11ms ", "  11ms", "11  ms", "0.5ns", "1,5s", "11MS"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
}

TEST(DurationTest, OneThatDoesNotFitIsRefused) {
  EXPECT_EQ(parse_duration("99999999999999999999s"), std::nullopt);
  EXPECT_EQ(parse_duration("1000000min"), std::nullopt);
}

TEST(SizeTest, DecimalAndBinaryUnitsDiffer) {
  EXPECT_EQ(parse_size("100B"), 100);
  EXPECT_EQ(parse_size("10kB"), 10'000);
  EXPECT_EQ(parse_size("10KiB"), 10'240);
  EXPECT_EQ(parse_size("3MB"), 3'000'000);
  EXPECT_EQ(parse_size("64MiB"), 67'108'864);
  EXPECT_EQ(parse_size("1GB"), 1'000'000'000);
  EXPECT_EQ(parse_size("1.5GiB"), 1'610'612'736);
  EXPECT_EQ(parse_size("1TB"), 1'000'000'000'000);
  EXPECT_EQ(parse_size("1TiB"), 1'099'511'627'776);
}

TEST(SizeTest, WhatIsNoSizeIsRefused) {
  for (const char* text : {"", "64", "64M", "64mb", "KiB", "-1B", "0.5B", "1e3B", "64MiBs"}) {
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
  }
}

TEST(QuantityTest, TextIsTheLargestUnitWithoutAFraction) {
  EXPECT_EQ(duration_text(0), "0ns");
  EXPECT_EQ(duration_text(11'000'000), "11ms");
  EXPECT_EQ(duration_text(1'500'000), "1500us");
  EXPECT_EQ(duration_text(120'000'000'000), "2min");
  EXPECT_EQ(size_text(0), "0B");
  EXPECT_EQ(size_text(64 << 20), "64MiB");
  EXPECT_EQ(size_text(10'000), "10kB");
  EXPECT_EQ(size_text(1'001), "1001B");
}

}  // namespace
}  // namespace slackline
