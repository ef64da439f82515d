// The table that an author writes, seen as the program sees it.

#include <slackline/options.h>

#include <array>
#include <chrono>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace slackline {
namespace {

using namespace std::chrono_literals;

enum class Colour { kRed, kGreen };

struct Options {
  std::vector<Path> files;
  std::int32_t depth = 3;
  double factor = 0.2;
  bool loud = false;
  std::array<double, 2> area{0.05, 1};
  Bytes cap{64 << 20};
  std::chrono::nanoseconds delay = 11ms;
  Colour colour = Colour::kGreen;
  std::string name = "a \"b\"";

  static OptionTable<Options> table() {
    return {
        option("files", &Options::files, "input").required().items(1, 9),
        option("depth", &Options::depth, "how deep").range(1, 8).unit("batches"),
        option("factor", &Options::factor, "part").range(0.0, 1.0),
        option("loud", &Options::loud, "noise"),
        option("area", &Options::area, "fractions"),
        option("cap", &Options::cap, "memory"),
        option("delay", &Options::delay, "pause").range(0ns, 1s),
        choice("colour", &Options::colour, {{"red", Colour::kRed}, {"green", Colour::kGreen}},
               "paint"),
        option("name", &Options::name, "who"),
    };
  }
};

TEST(OptionTableTest, DefaultsAreTheInitialisersAsToml) {
  const auto table = Options::table();
  std::vector<std::string> defaults;
  for (const slackline_option& row : table.rows()) defaults.emplace_back(row.default_toml);
  EXPECT_EQ(defaults,
            (std::vector<std::string>{"[]", "3", "0.2", "false", "[0.05, 1.0]", "\"64MiB\"",
                                      "\"11ms\"", "\"green\"", "\"a \\\"b\\\"\""}));
}

TEST(OptionTableTest, RowsSayTypeRangeAndNumberOfItems) {
  const auto table = Options::table();
  const auto& rows = table.rows();
  EXPECT_EQ(rows[0].type, SLACKLINE_PATH);
  EXPECT_EQ(rows[0].flags, SLACKLINE_REQUIRED | SLACKLINE_LIST);
  EXPECT_EQ(rows[0].items_max, 9u);
  EXPECT_EQ(rows[1].int_max, 8);
  EXPECT_STREQ(rows[1].unit, "batches");
  EXPECT_EQ(rows[2].max, 1.0);
  EXPECT_EQ(rows[4].items_min, 2u) << "an array has as many items as it has";
  EXPECT_EQ(rows[6].int_max, 1'000'000'000) << "durations are nanoseconds";
  EXPECT_EQ(rows[7].choice_count, 2u);
  EXPECT_STREQ(rows[7].choices[0], "red");
}

TEST(OptionTableTest, ValuesReachTheirMembersAndTheOthersKeepTheirs) {
  const auto table = Options::table();
  std::vector<slackline_value> values(table.rows().size());
  const std::int64_t depth = 5;
  const double area[] = {0.1, 0.5};
  const char* red = "red";
  const char* files[] = {"/a", "/b"};
  values[0] = {1, 2, nullptr, nullptr, files};
  values[1] = {1, 1, &depth, nullptr, nullptr};
  values[4] = {1, 2, nullptr, area, nullptr};
  values[7] = {1, 1, nullptr, nullptr, &red};
  const Options options = table.bind(values.data());
  ASSERT_EQ(options.files.size(), 2u);
  EXPECT_EQ(options.files[1].value, "/b");
  EXPECT_EQ(options.depth, 5);
  EXPECT_EQ(options.area[1], 0.5);
  EXPECT_EQ(options.colour, Colour::kRed);
  EXPECT_EQ(options.delay, 11ms);
  EXPECT_EQ(options.cap.value, 64u << 20);
}

TEST(OptionTableTest, NarrowIntegersBringTheirOwnRange) {
  struct Narrow {
    std::uint8_t small = 0;
    static OptionTable<Narrow> table() { return {option("small", &Narrow::small, "byte")}; }
  };
  const auto table = Narrow::table();
  EXPECT_EQ(table.rows()[0].int_min, 0);
  EXPECT_EQ(table.rows()[0].int_max, 255);
}

}  // namespace
}  // namespace slackline
