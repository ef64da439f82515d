// How a configuration that is wrong is refused: every mistake at its place, with what would be
// right.

#include <slackline/config.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config_folder.h"

namespace slackline {
namespace {

using testing::HasSubstr;
using testing::Not;

class ConfigErrorsTest : public testing_support::ConfigFolder {
 protected:
  /// The complaint about one more line of [source].
  std::string source_line(const std::string& line) {
    return errors_of_text(std::string(kSource) + line + "\n" + kRest);
  }
  const std::string whole_ = std::string(kSource) + kRest;
};

TEST_F(ConfigErrorsTest, EverythingIsToldAtOnceInTheOrderOfTheFile) {
  write("base.toml", "[input]\nbatch_size = 0\n");
  write("x.toml", R"(# Wrong in every way.
extends = "base.toml"

[run]
epoch = 3
seed = "one"

[sorce]
plugin = "records"

[source]
plugin = "records"
count = 1000    # too many
mode = "trian"
depth = 3

[[transform]]
plugin = "decoed"

[prefetcher]
plugin = "eager"
patience = 2

[model]
)");
  EXPECT_EQ(errors("x.toml", {"prefetcher.slack=true"}),
            R"(--set#1:1:18: error: 'slack' is a boolean, but must be a number
  prefetcher.slack=true
                   ^^^^
base.toml:2:14: error: 'batch_size' = 0 is out of range: 1 to 1048576 samples
  batch_size = 0
               ^
x.toml: error: there is no [strategy], which chooses the strategy
  help: for instance plugin = "single"
x.toml:5:1: error: [run] has no option 'epoch'
  epoch = 3
  ^^^^^
  help: did you mean 'epochs'?
x.toml:6:8: error: 'seed' is a string, but must be an integer
  seed = "one"
         ^^^^^
x.toml:8:2: error: there is no table or key 'sorce'
  [sorce]
   ^^^^^
  help: did you mean 'source'?
x.toml:11:1: error: source 'records' needs the option 'files': what to read
  [source]
  ^^^^^^^^
  help: for instance files = ["train-*"]
x.toml:13:9: error: 'count' = 1000 is out of range: 1 to 100 records
  count = 1000    # too many
          ^^^^
x.toml:14:8: error: 'mode' = "trian" is not one of "train", "eval"
  mode = "trian"
         ^^^^^^^
  help: did you mean "train"?
x.toml:15:1: error: source 'records' has no option 'depth'
  depth = 3
  ^^^^^
x.toml:18:10: error: transform plugin 'decoed' was not found (did you mean 'decode'?); searched:
    PLUGINS/transform (fixtures)
  plugin = "decoed"
           ^^^^^^^^
x.toml:22:1: error: prefetcher 'eager' has no option 'patience'
  patience = 2
  ^^^^^^^^
  help: 'patience' belongs to prefetcher 'shallow'
x.toml:24:1: error: [model] needs plugin = "NAME"
  [model]
  ^^^^^^^
  help: there are tiny)");
}

TEST_F(ConfigErrorsTest, AKeyOfAnotherTableIsSentThere) {
  EXPECT_THAT(source_line("batch_size = 3"), HasSubstr("help: 'batch_size' belongs to [input]"));
  EXPECT_THAT(errors_of_text("momentum = 0.5\n" + whole_),
              HasSubstr("x.toml:1:1: error: there is no table or key 'momentum'\n"
                        "  momentum = 0.5\n"
                        "  ^^^^^^^^\n"
                        "  help: 'momentum' belongs to [optimizer]"));
}

TEST_F(ConfigErrorsTest, TypesAreStrict) {
  EXPECT_THAT(source_line("count = 1.0"), HasSubstr("'count' is a float, but must be an integer"));
  EXPECT_THAT(source_line("count = true"),
              HasSubstr("'count' is a boolean, but must be an integer"));
  EXPECT_THAT(source_line("share = \"1\""), HasSubstr("'share' is a string, but must be a number"));
  EXPECT_THAT(source_line("verbose = 1"),
              HasSubstr("'verbose' is an integer, but must be true or false"));
  EXPECT_THAT(source_line("word = 1979-05-27"),
              HasSubstr("'word' is a date or time, but must be a string"));
  EXPECT_THAT(source_line("cache = 3"),
              HasSubstr("'cache' is an integer, but must be a file name in quotes"));
  EXPECT_THAT(source_line("word = {a = 1}"), HasSubstr("'word' is a table, but must be a string"));
}

TEST_F(ConfigErrorsTest, RangesIncludeTheirEndsAndNothingElse) {
  for (const char* line : {"count = 1", "count = 100", "share = 0", "share = 1.0",
                           "memory = \"1KiB\"", "memory = \"1GiB\"", "wait = \"10s\""}) {
    EXPECT_EQ(source_line(line), "") << line;
  }
  EXPECT_THAT(source_line("count = 101"), HasSubstr("is out of range: 1 to 100 records"));
  EXPECT_THAT(source_line("share = 1.0000001"), HasSubstr("is out of range: 0 to 1"));
  EXPECT_THAT(source_line("share = nan"), HasSubstr("is out of range: 0 to 1"));
  EXPECT_THAT(source_line("memory = 1023"), HasSubstr("1023 is out of range: 1KiB to 1GiB"));
  EXPECT_THAT(source_line("wait = \"10001ms\""),
              HasSubstr("'wait' = \"10001ms\" is out of range: 0ns to 10s"));
  EXPECT_THAT(source_line("weights = [inf]"), HasSubstr("is out of range: any finite number"));
}

TEST_F(ConfigErrorsTest, ListsHaveTheirOwnRules) {
  EXPECT_THAT(
      errors_of_text("[source]\nplugin = \"records\"\nfiles = \"a\"\n" + std::string(kRest)),
      HasSubstr("'files' is a string, but must be an array, each item a file name"));
  EXPECT_THAT(errors_of_text("[source]\nplugin = \"records\"\nfiles = []\n" + std::string(kRest)),
              HasSubstr("'files' has 0 items, but must have at least 1"));
  EXPECT_THAT(source_line("size = [1, 2, 3]"), HasSubstr("'size' has 3 items, but must have 2"));
  EXPECT_THAT(source_line("weights = [1, 2, 3, 4]"),
              HasSubstr("'weights' has 4 items, but must have 0 to 3"));
  EXPECT_THAT(source_line("size = [1, 0]"), HasSubstr("x.toml:4:12: error: 'size' = 0 is out of"));
  EXPECT_THAT(source_line("count = [1]"), HasSubstr("'count' is an array, but must be an integer"));
}

TEST_F(ConfigErrorsTest, QuantitiesNeedTheirUnit) {
  EXPECT_THAT(source_line("wait = \"11\""),
              HasSubstr("'wait' = \"11\" is not a duration like \"11ms\""));
  EXPECT_THAT(source_line("wait = \"11\""), HasSubstr("help: units are ns, us, ms, s, min"));
  EXPECT_THAT(source_line("wait = 11"),
              HasSubstr("'wait' is an integer, but must be a duration like \"11ms\""));
  EXPECT_THAT(source_line("memory = \"1M\""),
              HasSubstr("'memory' = \"1M\" is not a size like \"64MiB\" or a number of bytes"));
}

TEST_F(ConfigErrorsTest, ACaretStandsRightAfterTabsAndWideLetters) {
  EXPECT_THAT(source_line("\tcount\t=\t0"), HasSubstr("x.toml:4:10: error: 'count' = 0 is out of"));
  EXPECT_THAT(source_line("\tcount\t=\t0"), HasSubstr("\n  \tcount\t=\t0\n  \t     \t \t^"));
  EXPECT_THAT(source_line("size = [\"\u00e9\u00e9\", 0]"),
              HasSubstr("\n  size = [\"\u00e9\u00e9\", 0]\n                ^"));
  EXPECT_THAT(source_line("size = [\"\u00e9\",\t0]"), HasSubstr("]\n              \t^"));
}

TEST_F(ConfigErrorsTest, ASyntaxErrorIsShownAloneAtItsPlace) {
  EXPECT_EQ(errors_of_text("[run]\nseed = = 3\n"),
            "x.toml:2:8: error: cannot read this value: could not determine value type\n"
            "  seed = = 3\n"
            "         ^");
  EXPECT_THAT(errors_of_text("[run]\nseed = 1\nseed = 2\n"),
              HasSubstr("x.toml:3:8: error: cannot read this key-value pair: cannot redefine"));
}

TEST_F(ConfigErrorsTest, EveryFileWithASyntaxErrorIsNamed) {
  write("one.toml", "a = \n");
  write("two.toml", "[b\n");
  const std::string message = errors_of_text("extends = [\"one.toml\", \"two.toml\"]\n");
  EXPECT_THAT(message, HasSubstr("one.toml:1:"));
  EXPECT_THAT(message, HasSubstr("two.toml:1:"));
  EXPECT_THAT(message, Not(HasSubstr("there is no")));
}

TEST_F(ConfigErrorsTest, AFileThatCannotBeReadIsAnIoError) {
  EXPECT_THAT(
      [&] { (void)load("none.toml"); },
      testing::Throws<IoError>(testing::Property(&IoError::exit_code, testing::Eq(ExitCode::kIo))));
}

TEST_F(ConfigErrorsTest, AParentThatIsMissingIsShownWhereItIsNamed) {
  EXPECT_THAT(errors_of_text("extends = \"none.toml\"\n" + whole_),
              HasSubstr("x.toml:1:11: error: extends none.toml: no such file\n"
                        "  extends = \"none.toml\"\n"
                        "            ^^^^^^^^^^^"));
  EXPECT_THAT(errors_of_text("extends = 3\n" + whole_),
              HasSubstr("extends is an integer, but must be a file name or a list of them"));
}

TEST_F(ConfigErrorsTest, ACircleOfParentsIsNamedWhole) {
  write("a.toml", "extends = \"b.toml\"\n");
  write("b.toml", "extends = \"sub/../x.toml\"\n");
  EXPECT_THAT(errors_of_text("extends = \"a.toml\"\n"),
              HasSubstr("b.toml:1:11: error: extends in a circle: x.toml -> a.toml -> b.toml -> "
                        "x.toml"));
}

TEST_F(ConfigErrorsTest, EveryTableThatIsNeededIsAskedFor) {
  const std::string message = errors_of_text("");
  for (const char* table : {"[source]", "[[transform]]", "[prefetcher]", "[model]", "[strategy]"}) {
    EXPECT_THAT(message, HasSubstr(std::string("x.toml: error: there is no ") + table));
  }
}

TEST_F(ConfigErrorsTest, TransformsAreAListEverywhere) {
  EXPECT_THAT(errors_of_text(std::string(kSource) + "[transform]\nplugin = \"decode\"\n"),
              HasSubstr("x.toml:4:1: error: transforms are a list, even if there is only one: "
                        "write [[transform]]"));
  EXPECT_THAT(errors_of_text(whole_ + "[eval.source]\n"),
              HasSubstr("there is no [[eval.transform]]"));
}

TEST_F(ConfigErrorsTest, TrainingDataAreNotTakenForHeldOutOnes) {
  EXPECT_THAT(errors_of_text(whole_ + "[eval]\n[[eval.transform]]\nplugin = \"decode\"\n"),
              HasSubstr("there is no [eval.source], which says what is held out"));
}

TEST_F(ConfigErrorsTest, AMistakeInASharedSourceIsToldOnce) {
  const std::string message = errors_of_text(std::string(kSource) + "count = 0\n" + kRest +
                                             "[eval.source]\n[[eval.transform]]\nplugin = "
                                             "\"decode\"\n");
  EXPECT_EQ(message,
            "x.toml:4:9: error: 'count' = 0 is out of range: 1 to 100 records\n"
            "  count = 0\n"
            "          ^");
}

TEST_F(ConfigErrorsTest, AShardMustBeOneOfTheShards) {
  EXPECT_EQ(errors_of_text(whole_ + "[input]\nshard_index = 4\nshard_count = 4\n"),
            "x.toml:13:15: error: 'shard_index' = 4 must be below 'shard_count' = 4\n"
            "  shard_index = 4\n"
            "                ^");
}

TEST_F(ConfigErrorsTest, AnOverrideMustReadPathAndValue) {
  write("x.toml", whole_);
  for (const char* argument : {"run.seed", "=3", "run..seed=3", "transform[x].mode=1"}) {
    EXPECT_THAT(errors("x.toml", {argument}),
                HasSubstr("--set#1:1:1: error: an override reads path=TOML"))
        << argument;
  }
  EXPECT_THAT(errors("x.toml", {"run.seed=1", "source.word=\"open"}),
              HasSubstr("--set#2:1:18: error: cannot read this string"));
  EXPECT_THAT(errors("x.toml", {"run.seed=1\nb=2"}), HasSubstr("one override sets one key"));
}

TEST_F(ConfigErrorsTest, AnOverrideOfNothingIsExplained) {
  write("x.toml", whole_);
  EXPECT_THAT(errors("x.toml", {"transform[3].mode=eval"}),
              HasSubstr("there is no transform[3]: there are 1"));
  EXPECT_THAT(errors("x.toml", {"source.plugin.x=1"}),
              HasSubstr("source.plugin.x: its parent is a string, not a table"));
  EXPECT_THAT(errors("x.toml", {"transform.mode=eval"}),
              HasSubstr("transform.mode: its parent is an array, not a table\n"
                        "  transform.mode=eval\n"
                        "  ^^^^^^^^^^^^^^\n"
                        "  help: name one of a list by its place, from 0: transform[0].mode"));
  EXPECT_THAT(errors("x.toml", {"prefetcher.dept=3"}),
              HasSubstr("--set#1:1:1: error: prefetcher 'shallow' has no option 'dept'\n"
                        "  prefetcher.dept=3\n"
                        "  ^^^^^^^^^^^^^^^\n"
                        "  help: did you mean 'depth'?"));
}

}  // namespace
}  // namespace slackline
