// What the registry loads and, above all, what it refuses and how it says so.

#include <slackline/registry.h>
#include <slackline/source.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_folder.h"
#include "test_host.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_support::replaced;
using testing_support::TemporaryFolder;

const fs::path kFixtures = fs::path(SLACKLINE_TEST_BINARY_DIR) / "fixtures";

std::string shortened(const std::string& message) {
  return replaced(message, kFixtures.string(), "FIXTURES");
}

/// Why kind/name cannot be loaded from a folder; "" if it can.
std::string refusal(const fs::path& folder, const std::string& name,
                    const std::string& kind = "source") {
  Registry registry({{folder, "test"}});
  try {
    (void)registry.load(kind, name);
    return "";
  } catch (const PluginError& error) {
    return shortened(error.what());
  }
}

/// Why a fixture that is wrong on purpose cannot be loaded, without what all messages begin with.
std::string broken(const std::string& name) {
  const std::string message = refusal(kFixtures / "broken", name);
  const std::string prefix =
      "source plugin '" + name + "': FIXTURES/broken/source/" + name + ".so: ";
  EXPECT_EQ(message.substr(0, prefix.size()), prefix);
  return message.substr(std::min(prefix.size(), message.size()));
}

TEST(RegistryTest, AGoodPluginDescribesItself) {
  Registry registry({{kFixtures / "config", "test"}});
  const Plugin& plugin = registry.load("source", "records");
  EXPECT_EQ(plugin.id(), "source/records");
  EXPECT_STREQ(plugin.descriptor->version, "1.2.3");
  EXPECT_EQ(plugin.file, kFixtures / "config/source/records.so");
  EXPECT_EQ(plugin.sha256.size(), 64u);
  EXPECT_EQ(plugin.descriptor->option_count, 11u);
  EXPECT_TRUE(plugin.shadows.empty());
}

TEST(RegistryTest, ASecondLoadGivesTheSameObject) {
  Registry registry({{kFixtures / "config", "test"}});
  EXPECT_EQ(&registry.load("source", "records"), &registry.load("source", "records"));
}

TEST(RegistryTest, ANameNobodyHasTellsWhereWasSearchedAndWhatIsNear) {
  Registry registry({{kFixtures / "config", "build tree"}, {"/nowhere/plugins", "user"}});
  try {
    (void)registry.load("source", "recrods");
    FAIL() << "loaded";
  } catch (const PluginError& error) {
    EXPECT_EQ(shortened(error.what()),
              "source plugin 'recrods' was not found (did you mean 'records'?); searched:\n"
              "    FIXTURES/config/source (build tree)\n"
              "    /nowhere/plugins/source (user, does not exist)");
  }
}

TEST(RegistryTest, ANameOfAnotherKindIsPointedOut) {
  EXPECT_THAT(refusal(kFixtures / "config", "tiny"),
              HasSubstr("'tiny' was not found; there is a model of that name; searched:"));
}

TEST(RegistryTest, AKindThatDoesNotExistIsNamed) {
  EXPECT_EQ(refusal(kFixtures / "config", "tiny", "modle"),
            "modle plugin 'tiny': there is no kind 'modle', only model, prefetcher, source, "
            "strategy, transform");
}

TEST(RegistryTest, ANameThatIsAPathIsRefused) {
  for (const char* name : {"", "../source/records", "/tmp/evil", "a/b"}) {
    EXPECT_THAT(refusal(kFixtures / "config", name), HasSubstr("a name is one word, without '/'"))
        << name;
  }
}

TEST(RegistryTest, TheMissingLibraryIsNamedByTheLoader) {
  EXPECT_EQ(broken("missing_dependency"),
            "libslackline_fixture_dependency.so: cannot open shared object file: No such file or "
            "directory");
}

TEST(RegistryTest, TheUndefinedSymbolIsReadable) {
  EXPECT_EQ(broken("undefined_symbol"), "undefined symbol: fixture::never_defined(int)");
}

TEST(RegistryTest, ALibraryThatIsNoPluginIsRefused) {
  EXPECT_EQ(broken("no_description"),
            "is not a slackline plugin: it does not export slackline_plugin_descriptor_v1 "
            "(slackline_add_plugin() and SLACKLINE_PLUGIN do that)");
}

TEST(RegistryTest, AnotherDescriptorAbiIsRefusedWithBothNumbers) {
  EXPECT_EQ(broken("other_descriptor_abi"),
            "built for descriptor ABI 99, this program has 1: rebuild it with this slackline's "
            "headers");
}

TEST(RegistryTest, AnotherInterfaceVersionIsRefusedWithBothNumbers) {
  EXPECT_EQ(broken("older_interface"),
            "implements version 0 of the source interface, this program has version 1: rebuild it "
            "with this slackline's headers");
  EXPECT_THAT(broken("newer_interface"),
              HasSubstr("implements version 99 of the source interface, this program has version "
                        "1: it was built with a newer slackline than this "));
}

TEST(RegistryTest, AnotherStandardLibraryIsRefused) {
  EXPECT_THAT(broken("other_cxx_abi"), HasSubstr("built with libother, this program with libstdc"));
}

TEST(RegistryTest, AnotherKindIsRefused) {
  EXPECT_EQ(broken("other_kind"), "is a model, not a source");
}

TEST(RegistryTest, FileAndPluginMustHaveOneName) {
  EXPECT_EQ(broken("other_name"), "calls itself 'somebody': file and plugin must have one name");
}

TEST(RegistryTest, ADescriptionWithGapsIsRefused) {
  EXPECT_EQ(broken("gaps"), "its description has gaps: SLACKLINE_PLUGIN fills all of it in");
}

/// A search path with one source, whose file a test spoils.
class PluginFileTest : public testing::Test {
 protected:
  PluginFileTest() {
    fs::create_directories(file_.parent_path());
    fs::copy_file(kFixtures / "config/source/records.so", file_);
  }
  /// Why it is refused, without what all messages begin with.
  std::string refused() {
    const std::string message = refusal(folder_.path(), "records");
    const std::string prefix = "source plugin 'records': " + file_.string() + ": ";
    EXPECT_EQ(message.substr(0, prefix.size()), prefix);
    return replaced(message.substr(std::min(prefix.size(), message.size())),
                    folder_.path().string(), "FOLDER");
  }

  TemporaryFolder folder_;
  const fs::path file_ = folder_.path() / "source/records.so";
};

TEST_F(PluginFileTest, AWholeFileIsLoaded) { EXPECT_EQ(refusal(folder_.path(), "records"), ""); }

TEST_F(PluginFileTest, TextIsNoLibrary) {
  folder_.write("source/records.so", "#!/bin/sh\n");
  EXPECT_EQ(refused(), "is not an ELF file, so it is no shared library");
}

TEST_F(PluginFileTest, AnEmptyFileIsRefused) {
  folder_.write("source/records.so", "");
  EXPECT_EQ(refused(), "is empty");
}

TEST_F(PluginFileTest, AnyTruncationIsRefusedBeforeTheLoaderSeesIt) {
  const auto size = fs::file_size(file_);
  for (const std::uintmax_t kept : {size - 1, size / 2, std::uintmax_t{100}, std::uintmax_t{20}}) {
    fs::resize_file(file_, kept);
    EXPECT_THAT(refused(), HasSubstr("is cut off: it has " + std::to_string(kept) + " bytes of"));
  }
}

TEST_F(PluginFileTest, AnotherMachinesLibraryIsRefused) {
  std::fstream file(file_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(18);  // e_machine
  file.put('\x08');
  file.close();
  EXPECT_THAT(refused(), HasSubstr("is for another machine (ELF machine 8, this one is "));
}

TEST_F(PluginFileTest, AProgramIsNoLibrary) {
  std::fstream file(file_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(16);  // e_type: ET_EXEC
  file.put('\x02');
  file.close();
  EXPECT_EQ(refused(), "is an ELF file, but no shared library");
}

TEST_F(PluginFileTest, ADirectoryIsNoLibrary) {
  fs::remove(file_);
  fs::create_directory(file_);
  EXPECT_EQ(refused(), "is not a regular file");
}

TEST_F(PluginFileTest, ALinkToNothingIsNotPassedOver) {
  fs::remove(file_);
  fs::create_symlink("nowhere.so", file_);
  EXPECT_EQ(refused(), "is not a regular file");
}

TEST_F(PluginFileTest, AFileThatAnyoneCanWriteToIsRefused) {
  fs::permissions(file_, fs::perms::others_write, fs::perm_options::add);
  EXPECT_EQ(refused(),
            "anyone can write to it, so it is not loaded: chmod o-w FOLDER/source/records.so");
}

TEST_F(PluginFileTest, AFolderThatAnyoneCanWriteToIsRefused) {
  fs::permissions(folder_.path(), fs::perms::others_write, fs::perm_options::add);
  EXPECT_EQ(refused(), "anyone can write to its directory, so it is not loaded: chmod o-w FOLDER");
}

TEST_F(PluginFileTest, ALinkIntoAFolderThatAnyoneCanWriteToIsRefused) {
  fs::create_directory(folder_.path() / "open");
  fs::rename(file_, folder_.path() / "open/records.so");
  fs::create_symlink("../open/records.so", file_);
  fs::permissions(folder_.path() / "open", fs::perms::others_write, fs::perm_options::add);
  EXPECT_EQ(refused(),
            "anyone can write to its directory, so it is not loaded: chmod o-w FOLDER/open");
}

TEST(RegistryTest, OfTwoWithOneNameTheFirstIsUsedAndTheOtherIsKnown) {
  Registry registry({{kFixtures / "first", "one"}, {kFixtures / "second", "two"}});
  const Plugin& plugin = registry.load("source", "twice");
  EXPECT_EQ(plugin.file, kFixtures / "first/source/twice.so");
  EXPECT_THAT(plugin.shadows, ElementsAre(kFixtures / "second/source/twice.so"));

  const auto listings = registry.list();
  ASSERT_EQ(listings.size(), 2u);
  EXPECT_EQ(listings[0].plugin, &plugin);
  EXPECT_EQ(listings[1].plugin, nullptr);
  EXPECT_EQ(listings[1].file, kFixtures / "second/source/twice.so");
  EXPECT_EQ(shortened(listings[1].problem), "shadowed by FIXTURES/first/source/twice.so");
}

TEST(RegistryTest, TheListIsSortedByKindAndNameAndSaysWhatIsWrong) {
  Registry registry({{kFixtures / "config", "one"}, {kFixtures / "broken", "two"}});
  std::vector<std::string> ids;
  std::size_t problems = 0;
  for (const PluginListing& listing : registry.list()) {
    ids.push_back(listing.kind + "/" + listing.name);
    EXPECT_EQ(listing.plugin == nullptr, !listing.problem.empty()) << ids.back();
    if (!listing.problem.empty()) ++problems;
  }
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  EXPECT_THAT(ids, testing::IsSupersetOf({"model/tiny", "source/records", "source/gaps"}));
  EXPECT_EQ(problems, 10u);
}

TEST(RegistryTest, NamesAreSortedAndSaidOnce) {
  Registry registry({{kFixtures / "first", "one"},
                     {kFixtures / "second", "two"},
                     {kFixtures / "config", "three"}});
  EXPECT_THAT(registry.names("source"), ElementsAre("other", "records", "twice"));
}

/// Why make() fails for a fixture.
std::string making(const std::string& name) {
  Registry registry({{kFixtures / "broken", "test"}});
  const Plugin& plugin = registry.load("source", name);
  testing_support::TestHost host;
  try {
    (void)make<Source>(plugin, OptionValues(0), host);
    return "";
  } catch (const ConfigError& error) {
    return std::string("option ") + error.option() + ": " + error.what();
  } catch (const PluginError& error) {
    return error.what();
  }
}

TEST(RegistryTest, OurExceptionsOfAConstructorPassAsTheyAre) {
  EXPECT_EQ(making("throws_ours"), "option files: none there");
}

TEST(RegistryTest, OtherExceptionsOfAConstructorNameThePlugin) {
  EXPECT_EQ(making("throws_foreign"), "source/throws_foreign: its constructor failed: no luck");
  EXPECT_EQ(making("throws_number"),
            "source/throws_number: its constructor threw something that is no exception");
  EXPECT_EQ(making("makes_nothing"), "source/makes_nothing: its constructor made nothing");
}

/// The search path as it follows from the environment.
class SearchPathTest : public testing::Test {
 protected:
  ~SearchPathTest() override {
    for (const char* name : {"SLACKLINE_PLUGIN_PATH", "XDG_DATA_HOME"}) unsetenv(name);
  }
};

TEST_F(SearchPathTest, TheEnvironmentComesBeforeUserSiteAndSystem) {
  setenv("SLACKLINE_PLUGIN_PATH", "/one::/two", 1);
  setenv("XDG_DATA_HOME", "/data", 1);
  std::vector<std::string> found;
  for (const PluginDirectory& directory : Registry::default_search_path()) {
    if (directory.origin == "build tree" || directory.origin == "system") continue;
    found.push_back(directory.origin + " " + directory.path.string());
  }
  EXPECT_THAT(found,
              ElementsAre("SLACKLINE_PLUGIN_PATH /one", "SLACKLINE_PLUGIN_PATH /two",
                          "user /data/slackline/plugins", "site /usr/local/lib/slackline/plugins"));
}

TEST_F(SearchPathTest, ARelativeDirectoryIsRefused) {
  setenv("SLACKLINE_PLUGIN_PATH", "/one:plugins", 1);
  EXPECT_THAT([] { (void)Registry::default_search_path(); },
              testing::ThrowsMessage<PluginError>(
                  "SLACKLINE_PLUGIN_PATH: 'plugins' is relative; give absolute directories, "
                  "separated by ':'"));
}

}  // namespace
}  // namespace slackline
