// What a configuration means: layers, plugins, values, and the resolved text.

#include <slackline/config.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config_folder.h"

namespace slackline {
namespace {

using testing::HasSubstr;
using testing::Not;

class ConfigTest : public testing_support::ConfigFolder {
 protected:
  const std::string whole_ = std::string(kSource) + kRest;
};

TEST_F(ConfigTest, TheSmallestOneHasDefaultsForAllElse) {
  const Config config = load_text(whole_);
  EXPECT_EQ(config.name(), "x");
  EXPECT_EQ(config.run.seed, 1);
  EXPECT_EQ(config.input.batch_size, 32);
  EXPECT_EQ(config.optimizer.momentum, 0.9);
  EXPECT_EQ(config.source.plugin->id(), "source/records");
  ASSERT_EQ(config.transforms.size(), 1u);
  EXPECT_EQ(config.transforms[0].table, "transform[0]");
  EXPECT_EQ(config.transforms[0].plugin->id(), "transform/decode");
  EXPECT_FALSE(config.eval.has_value());
  EXPECT_EQ(value(config.source, "count"), "not set");
}

TEST_F(ConfigTest, ValuesReachThePluginInItsUnits) {
  const Config config = load_text(std::string(kSource) +
                                  "count = 7\nshare = 1\nword = \"a \\\"b\\\"\"\nmode = \"eval\"\n"
                                  "memory = \"64KiB\"\nwait = \"1.5s\"\nsize = [32, 64]\n"
                                  "weights = [1, 0.5]\nverbose = true\n" +
                                  kRest);
  EXPECT_EQ(value(config.source, "count"), "7");
  EXPECT_EQ(value(config.source, "share"), "1");
  EXPECT_EQ(value(config.source, "word"), "a \"b\"");
  EXPECT_EQ(value(config.source, "mode"), "eval");
  EXPECT_EQ(value(config.source, "memory"), "65536");
  EXPECT_EQ(value(config.source, "wait"), "1500000000");
  EXPECT_EQ(value(config.source, "size"), "32 64");
  EXPECT_EQ(value(config.source, "weights"), "1 0.5");
  EXPECT_EQ(value(config.source, "verbose"), "1");
}

TEST_F(ConfigTest, ASizeMayBeAPlainNumberOfBytes) {
  const Config config = load_text(std::string(kSource) + "memory = 2048\n" + kRest);
  EXPECT_EQ(value(config.source, "memory"), "2048");
}

TEST_F(ConfigTest, PathsAreRelativeToTheFileTheyStandIn) {
  write("base/base.toml", "[source]\nplugin = \"records\"\nfiles = [\"../data/a\", \"/abs/b\"]\n");
  write("x.toml", std::string("extends = \"base/base.toml\"\n[source]\ncache = \"c\"\n") + kRest);
  const Config config = load("x.toml");
  EXPECT_EQ(shortened(value(config.source, "files")), "data/a /abs/b");
  EXPECT_EQ(shortened(value(config.source, "cache")), "c");
  const std::string here = std::filesystem::current_path().string();
  EXPECT_EQ(value(load("x.toml", {"source.cache=\"c\""}).source, "cache"), here + "/c");
}

TEST_F(ConfigTest, ATildeIsALetterAndAnEmptyPathStaysEmpty) {
  const Config config =
      load_text(std::string(kSource) + "cache = \"\"\n" + kRest, {"source.files=[\"~/a\"]"});
  EXPECT_EQ(value(config.source, "cache"), "");
  EXPECT_EQ(value(config.source, "files"), std::filesystem::current_path().string() + "/~/a");
}

TEST_F(ConfigTest, TablesMergeAndArraysReplace) {
  write("base.toml", std::string("[run]\nseed = 3\nepochs = 4\n") + kSource + "size = [8, 8]\n" +
                         "[[transform]]\nplugin = \"decode\"\n[[transform]]\nplugin = \"flip\"\n"
                         "[prefetcher]\nplugin = \"shallow\"\n[model]\nplugin = \"tiny\"\n"
                         "[strategy]\nplugin = \"single\"\n");
  write("x.toml",
        "extends = \"base.toml\"\n[run]\nepochs = 5\n[source]\nsize = [16, 16]\n"
        "[[transform]]\nplugin = \"decode\"\nmode = \"eval\"\n");
  const Config config = load("x.toml");
  EXPECT_EQ(config.run.seed, 3);
  EXPECT_EQ(config.run.epochs, 5);
  EXPECT_EQ(value(config.source, "size"), "16 16");
  ASSERT_EQ(config.transforms.size(), 1u);
  EXPECT_EQ(value(config.transforms[0], "mode"), "eval");
}

TEST_F(ConfigTest, OfSeveralParentsTheLaterCountsMore) {
  write("one.toml", "[run]\nseed = 1\nepochs = 1\nlog_steps = 1\n");
  write("two.toml", "extends = \"one.toml\"\n[run]\nseed = 2\nepochs = 2\n");
  write("x.toml", "extends = [\"one.toml\", \"two.toml\"]\n" + whole_ + "[run]\nseed = 3\n");
  const Config config = load("x.toml");
  EXPECT_EQ(config.run.seed, 3);
  EXPECT_EQ(config.run.epochs, 2);
  EXPECT_EQ(config.run.log_steps, 1);
}

TEST_F(ConfigTest, AnOverrideReachesListsAndMakesTables) {
  const Config config = load_text(whole_, {"transform[0].mode=\"eval\"", "run.epochs = 7",
                                           "source.size=[1, 2]", "run.steps=5"});
  EXPECT_EQ(value(config.transforms[0], "mode"), "eval");
  EXPECT_EQ(config.run.epochs, 7);
  EXPECT_EQ(config.run.steps, 5);
  EXPECT_EQ(value(config.source, "size"), "1 2");
  EXPECT_EQ(value(load_text(whole_, {"transform.0.mode=\"eval\""}).transforms[0], "mode"), "eval");
}

TEST_F(ConfigTest, ABareWordInAnOverrideIsAString) {
  const Config config = load_text(whole_, {"source.mode=eval", "source.wait=3ms"});
  EXPECT_EQ(value(config.source, "mode"), "eval");
  EXPECT_EQ(value(config.source, "wait"), "3000000");
}

TEST_F(ConfigTest, TheLaterOverrideCounts) {
  EXPECT_EQ(load_text(whole_, {"run.seed=5", "run.seed=6"}).run.seed, 6);
}

TEST_F(ConfigTest, AChangedPluginKeepsTheKeysThatItHasToo) {
  const std::string base = std::string(kSource) +
                           "[[transform]]\nplugin = \"decode\"\n[model]\nplugin = \"tiny\"\n"
                           "[strategy]\nplugin = \"single\"\n"
                           "[prefetcher]\nplugin = \"shallow\"\ndepth = 9\npatience = 3\n";
  const Config config = load_text(base, {"prefetcher.plugin=\"eager\""});
  EXPECT_EQ(config.prefetcher.plugin->id(), "prefetcher/eager");
  EXPECT_EQ(value(config.prefetcher, "depth"), "9");
  EXPECT_EQ(value(config.prefetcher, "slack"), "not set");
  EXPECT_THAT(config.to_toml(false), Not(HasSubstr("patience")));

  write("y.toml", "extends = \"x.toml\"\n[prefetcher]\nplugin = \"eager\"\nslack = 0.5\n");
  EXPECT_EQ(value(load("y.toml").prefetcher, "slack"), "0.5");
}

TEST_F(ConfigTest, TheOrderOfOverridesAndTheirPluginDoesNotMatter) {
  for (const std::vector<std::string>& overrides :
       {std::vector<std::string>{"prefetcher.plugin=eager", "prefetcher.slack=0.5"},
        std::vector<std::string>{"prefetcher.slack=0.5", "prefetcher.plugin=eager"}}) {
    EXPECT_EQ(value(load_text(whole_, overrides).prefetcher, "slack"), "0.5");
  }
  EXPECT_THAT(errors("x.toml", {"prefetcher.patience=2", "prefetcher.plugin=eager"}),
              HasSubstr("prefetcher 'eager' has no option 'patience'"));
}

TEST_F(ConfigTest, TheHeldOutSourceIsLaidOverTheTrainingSource) {
  const Config config =
      load_text(std::string(kSource) + "count = 5\nshare = 0.25\n" + kRest +
                "[eval]\nevery_epochs = 2\n[eval.source]\nfiles = [\"held-out\"]\ncount = 6\n"
                "[[eval.transform]]\nplugin = \"decode\"\nmode = \"eval\"\n");
  ASSERT_TRUE(config.eval.has_value());
  EXPECT_EQ(config.eval->options.every_epochs, 2);
  EXPECT_EQ(config.eval->source.table, "eval.source");
  EXPECT_EQ(shortened(value(config.eval->source, "files")), "held-out");
  EXPECT_EQ(value(config.eval->source, "count"), "6");
  EXPECT_EQ(value(config.eval->source, "share"), "0.25");
  ASSERT_EQ(config.eval->transforms.size(), 1u);
  EXPECT_EQ(config.eval->transforms[0].table, "eval.transform[0]");
  EXPECT_EQ(value(config.eval->transforms[0], "mode"), "eval");
  EXPECT_EQ(value(config.transforms[0], "mode"), "not set");
}

TEST_F(ConfigTest, AnotherPluginForHeldOutDataStandsAlone) {
  const Config config =
      load_text(std::string(kSource) + "count = 5\n" + kRest +
                "[eval.source]\nplugin = \"other\"\n[[eval.transform]]\nplugin = \"decode\"\n");
  EXPECT_EQ(config.eval->source.plugin->id(), "source/other");
  EXPECT_EQ(value(config.eval->source, "count"), "not set");
}

TEST_F(ConfigTest, TheResolvedTextHasEveryKeyAndLoadsToTheSame) {
  write("base.toml",
        "[source]\nplugin = \"records\"\nfiles = [\"data/\\u0001 \\\"q\\\"\"]\n"
        "memory = \"1.5KiB\"\nwait = \"1.5ms\"\nweights = [1, 2.5e-7]\n");
  write("x.toml", std::string("extends = \"base.toml\"\n[optimizer]\nlearning_rate = 1\n") + kRest +
                      "[eval.source]\ncache = \"somewhere\"\n[[eval.transform]]\nplugin = "
                      "\"decode\"\n[[eval.transform]]\nplugin = \"flip\"\n");
  const std::string once = load("x.toml", {"run.seed=7"}).to_toml(false);
  write("elsewhere/x.toml", once);
  EXPECT_EQ(load("elsewhere/x.toml").to_toml(false), once);
  for (const char* line : {"seed = 7\n", "batch_size = 32\n", "learning_rate = 1.0\n",
                           "wait = \"1.5ms\"\n", "weights = [1.0, 2.5e-07]\n", "mode = \"train\"\n",
                           "[[eval.transform]]\nplugin = "
                           "\"flip\"\n"}) {
    EXPECT_THAT(once, HasSubstr(line));
  }
  EXPECT_THAT(once, HasSubstr("files = [\"" + folder().string() + "/data/\\u0001 \\\"q\\\"\"]"));
}

TEST_F(ConfigTest, OriginsSayWhereEachValueCameFrom) {
  write("base.toml", whole_);
  write("x.toml", "extends = \"base.toml\"\n\n[run]\nepochs = 3\n");
  const std::string origins = shortened(load("x.toml", {"run.seed=7"}).to_toml(true));
  for (const char* line :
       {"seed = 7  # --set#1\n", "epochs = 3  # x.toml:4\n", "log_steps = 10  # default\n",
        "plugin = \"records\"  # base.toml:2\n"}) {
    EXPECT_THAT(origins, HasSubstr(line));
  }
}

TEST_F(ConfigTest, AnErrorOfAPluginIsShownAtItsOption) {
  const Config config = load_text(whole_ + "[run]\nseed = 2\n");
  EXPECT_EQ(shortened(config.locate("source", ConfigError("files", "nothing matches")).what()),
            "x.toml:3:9: error: nothing matches\n"
            "  files = [\"data/train-*\"]\n"
            "          ^^^^^^^^^^^^^^^^");
  EXPECT_EQ(shortened(config.locate("transform[0]", ConfigError("mode", "not today")).what()),
            "x.toml:5:10: error: not today\n"
            "  plugin = \"decode\"\n"
            "           ^^^^^^^^")
      << "an option that is not set has the place of its plugin";
  EXPECT_EQ(shortened(config.locate("run", ConfigError("seed", "unlucky")).what()),
            "x.toml:13:8: error: unlucky\n"
            "  seed = 2\n"
            "         ^");
}

TEST_F(ConfigTest, LocatedErrorsAreJoinedByPlaceAndOnce) {
  const ConfigError late("x.toml:10:2: error: c");
  const ConfigError early("x.toml:9:12: error: b");
  const ConfigError whole("x.toml: error: a");
  EXPECT_STREQ(Config::join({late, early, late, whole}).what(),
               "x.toml: error: a\nx.toml:9:12: error: b\nx.toml:10:2: error: c");
}

}  // namespace
}  // namespace slackline
