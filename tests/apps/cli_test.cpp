// The program as a user meets it: arguments in; stdout, stderr and exit code out.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "temporary_folder.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using testing_support::replaced;

const fs::path kBinaries = SLACKLINE_TEST_BINARY_DIR;

/// What one call of the program came to.
struct Ended {
  int exit_code = -1;
  std::string out, err;
};

class CliTest : public testing::Test {
 protected:
  /// Runs `slackline <arguments>`, words of a shell, in the test's own folder, over the fixtures'
  /// plugins as well as the build tree's.
  Ended slackline(const std::string& arguments, const std::string& environment = "") {
    const std::string command =
        "cd '" + folder_.path().string() + "' && HOME=/nonexistent SLACKLINE_PLUGIN_PATH='" +
        (kBinaries / "fixtures/config").string() + "' " + environment + " '" +
        (kBinaries / "bin/slackline").string() + "' " + arguments + " >out 2>err </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read("out"), read("err")};
  }

  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream in(folder_.path() / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  void write(const std::string& name, const std::string& contents) {
    folder_.write(name, contents);
  }

  static constexpr const char* kGood =
      "[source]\nplugin = \"records\"\nfiles = [\"a\"]\n"
      "[[transform]]\nplugin = \"decode\"\n"
      "[prefetcher]\nplugin = \"shallow\"\n"
      "[model]\nplugin = \"tiny\"\n"
      "[strategy]\nplugin = \"single\"\n";

  testing_support::TemporaryFolder folder_;
};

TEST_F(CliTest, TheVersionIsPrinted) {
  const Ended ended = slackline("--version");
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST_F(CliTest, ACommandLineThatMakesNoSenseIsAUsageError) {
  for (const char* arguments :
       {"", "frobnicate", "run", "check", "config", "plugins", "inspect", "check x.toml --frob",
        "inspect tiny", "inspect model/tiny --json --toml"}) {
    const Ended ended = slackline(arguments);
    EXPECT_EQ(ended.exit_code, 64) << arguments;
    EXPECT_EQ(ended.out, "") << arguments;
    EXPECT_NE(ended.err, "") << arguments;
  }
}

TEST_F(CliTest, HelpIsNoError) {
  const Ended ended = slackline("--help");
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, AllOf(HasSubstr("run"), HasSubstr("inspect")));
}

TEST_F(CliTest, AMissingConfigurationIsAnIoError) {
  for (const char* verb : {"run", "check", "config show"}) {
    const Ended ended = slackline(std::string(verb) + " none.toml");
    EXPECT_EQ(ended.exit_code, 74) << verb;
    EXPECT_EQ(ended.err, "slackline: none.toml: cannot open: No such file or directory\n");
  }
}

TEST_F(CliTest, AWrongConfigurationIsShownAsCompilersDo) {
  write("x.toml", std::string("[run]\nseeed = 3\n") + kGood);
  for (const char* verb : {"run", "check", "config show"}) {
    const Ended ended = slackline(std::string(verb) + " x.toml");
    EXPECT_EQ(ended.exit_code, 78) << verb;
    EXPECT_EQ(ended.out, "") << verb;
    EXPECT_EQ(ended.err,
              "x.toml:2:1: error: [run] has no option 'seeed'\n"
              "  seeed = 3\n"
              "  ^^^^^\n"
              "  help: did you mean 'seed'?\n");
  }
}

TEST_F(CliTest, OverridesAreNumberedAsTheyStand) {
  write("x.toml", kGood);
  const Ended ended = slackline("check x.toml --set run.seed=3 --set 'run.epochs=\"two\"'");
  EXPECT_EQ(ended.exit_code, 78);
  EXPECT_THAT(ended.err, StartsWith("--set#2:1:12: error: 'epochs' is a string"));
}

TEST_F(CliTest, TheResolvedConfigurationShowsItselfAgain) {
  write("x.toml", kGood);
  const Ended shown = slackline("config show x.toml --set run.seed=3");
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_THAT(shown.out, HasSubstr("seed = 3\n"));
  write("again/x.toml", shown.out);
  EXPECT_EQ(slackline("config show again/x.toml").out, shown.out);
  EXPECT_THAT(
      slackline("config show x.toml --origins").out,
      AllOf(HasSubstr("seed = 1  # default\n"), HasSubstr("plugin = \"records\"  # x.toml:2\n")));
}

TEST_F(CliTest, APluginThatMakesNothingIsAnInternalError) {
  write("x.toml", kGood);
  const Ended ended = slackline("check x.toml");
  EXPECT_EQ(ended.exit_code, 70);
  EXPECT_EQ(ended.err, "slackline: source/records: its constructor made nothing\n");
}

/// With which a strategy leaves a thread behind, and fails.
const std::string kStuck = "SLACKLINE_PLUGIN_PATH='" + (kBinaries / "fixtures/config").string() +
                           ":" + (kBinaries / "fixtures/stuck").string() + "'";

TEST_F(CliTest, NothingIsDestroyedUnderAThreadThatIsLeftBehind) {
  write("x.toml", kGood);
  const Ended ended = slackline("run x.toml --set 'strategy={plugin=\"stuck\"}'", kStuck);
  EXPECT_EQ(ended.exit_code, 70);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err, AllOf(StartsWith("slackline: its thread takes the signals:"),
                               HasSubstr("\nslackline: the fixture's thread did not return, and "
                                         "was left behind\n")));
}

/// Those who wait for signals need all of them.
TEST_F(CliTest, AThreadThatAStrategyStartsToPlanARunTakesNoSignals) {
  write("x.toml", kGood);
  const Ended ended = slackline("run x.toml --set 'strategy={plugin=\"stuck\"}'", kStuck);
  EXPECT_THAT(ended.err, StartsWith("slackline: its thread takes the signals:\n"));
}

TEST_F(CliTest, ASoundConfigurationIsSaidToBe) {
  write("x.toml",
        "[source]\nplugin = \"synthetic\"\n"
        "[[transform]]\nplugin = \"imagenet_turbojpeg\"\nmode = \"eval\"\n"
        "[prefetcher]\nplugin = \"none\"\n"
        "[model]\nplugin = \"trivial\"\n"
        "[strategy]\nplugin = \"one_device\"\n");
  const Ended ended = slackline("check x.toml");
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.out, "x.toml: ok\n");
  EXPECT_EQ(ended.err, "");
}

TEST_F(CliTest, TheListOfPluginsSaysWhatBecameOfEach) {
  const std::string path = "SLACKLINE_PLUGIN_PATH='" + (kBinaries / "fixtures/first").string() +
                           ":" + (kBinaries / "fixtures/second").string() + ":" +
                           (kBinaries / "fixtures/broken").string() + "'";
  const Ended ended = slackline("plugins list --json", path);
  EXPECT_EQ(ended.exit_code, 0);
  const auto list = nlohmann::json::parse(ended.out);
  std::string twice, undefined, in_tree, not_here;
  for (const auto& entry : list) {
    if (entry["name"] == "twice") twice += entry["status"].get<std::string>() + " ";
    if (entry["name"] == "undefined_symbol") undefined = entry["problem"];
    if (entry["name"] == "trivial") in_tree = entry["summary"];
    if (entry["name"] == "not_here")
      not_here = entry["status"].get<std::string>() + ": " + entry["problem"].get<std::string>();
  }
  EXPECT_EQ(twice, "ok shadowed ");
  EXPECT_THAT(undefined, HasSubstr("undefined symbol: fixture::never_defined(int)"));
  EXPECT_NE(in_tree, "");
  EXPECT_EQ(not_here, "unavailable: no such device");
  EXPECT_THAT(slackline("plugins list", path).out,
              AllOf(HasSubstr("model/trivial"), HasSubstr("shadowed: shadowed by "),
                    HasSubstr("source/not_here                 unavailable: no such device\n")));
}

TEST_F(CliTest, ThePathIsPrintedInTheOrderOfTheSearch) {
  const std::string out = replaced(slackline("plugins path").out, kBinaries.string(), "BUILD");
  EXPECT_THAT(out, StartsWith("BUILD/plugins  (build tree)\n"
                              "BUILD/fixtures/config  (SLACKLINE_PLUGIN_PATH)\n"
                              "/nonexistent/.local/share/slackline/plugins  (user, does not "
                              "exist)\n"));
}

TEST_F(CliTest, ARelativePluginPathIsRefused) {
  const Ended ended = slackline("plugins list", "SLACKLINE_PLUGIN_PATH=here");
  EXPECT_EQ(ended.exit_code, 70);
  EXPECT_THAT(ended.err, StartsWith("slackline: SLACKLINE_PLUGIN_PATH: 'here' is relative"));
}

TEST_F(CliTest, InspectTellsEveryOption) {
  const Ended ended = slackline("inspect source/records");
  EXPECT_EQ(ended.exit_code, 0);
  for (const char* words :
       {"source/records 1.2.3: made for tests", "files", "required", "count", "default 10",
        "1 to 100 records", "\"train\", \"eval\"", "default \"11ms\"", "height and width"}) {
    EXPECT_THAT(ended.out, HasSubstr(words));
  }
}

TEST_F(CliTest, InspectGivesJsonForPrograms) {
  const auto plugin = nlohmann::json::parse(slackline("inspect source/records --json").out);
  EXPECT_EQ(plugin["kind"], "source");
  EXPECT_EQ(plugin["version"], "1.2.3");
  EXPECT_EQ(plugin["sha256"].get<std::string>().size(), 64u);
  const auto& files = plugin["options"][0];
  EXPECT_EQ(files["name"], "files");
  EXPECT_EQ(files["type"], "path");
  EXPECT_EQ(files["list"], true);
  EXPECT_EQ(files["required"], true);
  EXPECT_TRUE(files["default"].is_null());
  const auto& count = plugin["options"][1];
  EXPECT_EQ(count["default"], "10");
  EXPECT_EQ(count["min"], 1);
  EXPECT_EQ(count["max"], 100);
  EXPECT_EQ(count["unit"], "records");
  EXPECT_EQ(plugin["options"][4]["choices"], nlohmann::json({"train", "eval"}));
}

TEST_F(CliTest, TheSampleOfInspectIsAValidTable) {
  std::string sample = slackline("inspect source/records --toml").out;
  EXPECT_THAT(sample, StartsWith("# source/records 1.2.3: made for tests\n[source]\nplugin = "
                                 "\"records\"\n"));
  // With the defaults' comment signs taken away, it must still be right.
  const std::string kept = "# count = 10\n";
  ASSERT_THAT(sample, HasSubstr(kept));
  for (const char* name : {"count", "share", "word", "mode", "memory", "wait", "size", "weights",
                           "verbose", "cache"}) {
    sample = replaced(sample, std::string("# ") + name + " = ", std::string(name) + " = ");
  }
  const std::string good = kGood;
  write("x.toml", sample + good.substr(good.find("[[transform]]")));
  EXPECT_EQ(slackline("config show x.toml").err, "");
}

TEST_F(CliTest, APluginThatIsNotThereIsNamedWithItsNeighbour) {
  const Ended ended = slackline("inspect model/tinny");
  EXPECT_EQ(ended.exit_code, 70);
  EXPECT_THAT(ended.err, StartsWith("slackline: model plugin 'tinny' was not found (did you mean "
                                    "'tiny'?); searched:\n"));
}

}  // namespace
}  // namespace slackline
