#include <slackline/config_diff.h>
#include <slackline/error.h>

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slackline {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

/// "key: a | b" of each difference, with "-" for what is not there.
std::vector<std::string> differences(const std::string& a, const std::string& b) {
  std::vector<std::string> out;
  for (const ConfigDifference& difference : config_diff(a, b)) {
    out.push_back(difference.key + ": " + difference.a.value_or("-") + " | " +
                  difference.b.value_or("-"));
  }
  return out;
}

TEST(ConfigDiffTest, NothingDiffersInACopy) {
  const std::string toml =
      "[run]\nsteps = 5\n[[transform]]\nplugin = \"x\"\nsizes = [1, 2]\n[eval.source]\na = 1.5\n";
  EXPECT_THAT(differences(toml, toml), IsEmpty());
  EXPECT_THAT(differences("", "# nothing\n"), IsEmpty());
}

TEST(ConfigDiffTest, ChangedKeysHaveBothValuesAsToml) {
  EXPECT_THAT(
      differences("[run]\nsteps = 5\n[prefetcher]\nplugin = \"plain\"\nratio = 0.5\non = true\n",
                  "[run]\nsteps = 5\n[prefetcher]\nplugin = \"delay\"\nratio = 0.25\non = false\n"),
      ElementsAre("prefetcher.on: true | false", "prefetcher.plugin: \"plain\" | \"delay\"",
                  "prefetcher.ratio: 0.5 | 0.25"));
}

TEST(ConfigDiffTest, AKeyThatOnlyOneHasIsADifference) {
  EXPECT_THAT(differences("[a]\nx = 1\n", "[a]\ny = \"2\"\n"),
              ElementsAre("a.x: 1 | -", "a.y: - | \"2\""));
}

TEST(ConfigDiffTest, AnEmptyTableIsNotTheSameAsNone) {
  EXPECT_THAT(differences("[eval]\n", ""), ElementsAre("eval: {} | -"));
}

TEST(ConfigDiffTest, ListsOfTablesAreComparedByPlace) {
  EXPECT_THAT(differences("[[transform]]\nplugin = \"a\"\n[[transform]]\nplugin = \"b\"\n",
                          "[[transform]]\nplugin = \"a\"\n[[transform]]\nplugin = \"c\"\n"
                          "[[transform]]\nplugin = \"d\"\n"),
              ElementsAre("transform[1].plugin: \"b\" | \"c\"", "transform[2].plugin: - | \"d\""));
}

TEST(ConfigDiffTest, AListOfValuesIsOneValue) {
  // So long that a writer of TOML would break the line.
  const std::string names = R"(["a very long name of a file, to-be-broken-00000-of-00004",)"
                            R"( "a very long name of a file, to-be-broken-00001-of-00004"])";
  EXPECT_THAT(differences("files = " + names + "\nsize = [1, 2]\n", "size = [1, 3]\n"),
              ElementsAre("files: " + names + " | -", "size: [1, 2] | [1, 3]"));
}

TEST(ConfigDiffTest, ValuesCountAndNotTheirSpelling) {
  EXPECT_THAT(differences("x = 16\ns = 'a'\n[t]\na = 1\nb = 1_000\n",
                          "# said otherwise\nt.b = 1000\nt.a = 1\ns = \"a\"\nx = 0x10\n"),
              IsEmpty());
  EXPECT_THAT(differences("x = 1\n", "x = 1.0\n"), ElementsAre("x: 1 | 1.0"));
}

TEST(ConfigDiffTest, OddKeysAndStringsAreQuoted) {
  EXPECT_THAT(differences("\"a.b\" = \"say \\\"x\\\"\\n\"\n", ""),
              ElementsAre(R"("a.b": "say \"x\"\n" | -)"));
}

TEST(ConfigDiffTest, TextThatIsNoTomlIsNamedWithItsPlace) {
  const auto message = [](const std::string& a, const std::string& b) -> std::string {
    try {
      (void)config_diff(a, b, "one/resolved.toml", "two/resolved.toml");
      return "";
    } catch (const DataError& error) {
      return error.what();
    }
  };
  EXPECT_THAT(message("x = \n", ""), StartsWith("one/resolved.toml:1:"));
  EXPECT_THAT(message("", "x = 1\nx = 2\n"), StartsWith("two/resolved.toml:2:"));
}

}  // namespace
}  // namespace slackline
