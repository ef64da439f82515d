// `slackline doctor` as a user meets it, and what it does with files.

#include <slackline/registry.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <nlohmann/json.hpp>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "doctor/ladder.h"
#include "doctor/source_files.h"
#include "temporary_folder.h"
#include "test_host.h"

namespace slackline::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using testing_support::TemporaryFolder;

const fs::path kBinaries = SLACKLINE_TEST_BINARY_DIR;

/// What one call of the program came to.
struct Ended {
  int exit_code = -1;
  std::string out, err;
};

class DoctorTest : public testing::Test {
 protected:
  /// Runs `slackline doctor <arguments>`, words of a shell, in the test's own folder.
  Ended doctor(const std::string& arguments) {
    const std::string command =
        "cd '" + folder_.path().string() + "' && HOME=/nonexistent SLACKLINE_PLUGIN_PATH='" +
        (kBinaries / "fixtures/slow").string() + "' '" + (kBinaries / "bin/slackline").string() +
        "' doctor " + arguments + " >out 2>err </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read("out"), read("err")};
  }

  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream in(folder_.path() / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static constexpr const char* kConfig =
      "[input]\nbatch_size = 2\nimage_size = [4, 4]\nnum_classes = 10\nworkers = 1\n"
      "[source]\nplugin = \"slow_source\"\n"
      "[[transform]]\nplugin = \"slow_decode\"\n"
      "[prefetcher]\nplugin = \"plain\"\n"
      "[model]\nplugin = \"trivial\"\n"
      "[strategy]\nplugin = \"slow_launch\"\n";

  TemporaryFolder folder_;
};

TEST_F(DoctorTest, NamesAnEnormousDelayAndShowsTheLadderThatFoundIt) {
  folder_.write("slow.toml", kConfig);
  const Ended ended = doctor(
      "slow.toml --set 'source.fetch=\"5ms\"' --set 'strategy.step=\"1us\"' --seconds 0.001 "
      "--json result.json");
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, AllOf(HasSubstr("The stage that limits is fetch: "),
                               HasSubstr("device alone"), HasSubstr("not measured: the source")));
  EXPECT_THAT(ended.err,
              AllOf(StartsWith("trial of each rung"), HasSubstr("round 1 of 5, images/s: device"),
                    HasSubstr("round 2 of 5, images/s: warm"), HasSubstr("round 5 of 5")))
      << "every other round goes down";

  const json result = json::parse(read("result.json"));
  std::vector<std::string> measured;
  for (const json& rung : result.at("ladder")) {
    if (!rung.at("measured").get<bool>()) continue;
    measured.push_back(rung.at("rung"));
    EXPECT_EQ(rung.at("runs").size(), 5u);
    EXPECT_LE(rung.at("images_per_s").at("low"), rung.at("images_per_s").at("median"));
  }
  EXPECT_THAT(measured, ElementsAre("device", "batches", "records", "warm"));
  ASSERT_EQ(result.at("judgements").size(), 1u);
  const json& judgement = result.at("judgements")[0];
  EXPECT_EQ(judgement.at("limiting").at("stage"), "fetch");
  const json& loss = judgement.at("loss");
  EXPECT_NEAR(
      loss.at("input_wait_ms").get<double>() + loss.at("submit_and_device_wait_ms").get<double>(),
      loss.at("ms_per_step").get<double>(), 1e-6);
}

TEST_F(DoctorTest, FilesHaveDiskRungsAndReportsOfPluginsAreStages) {
  for (int i = 0; i < 50; ++i) folder_.write("images/cat/" + std::to_string(i) + ".jpg", "miaow");
  std::string config = testing_support::replaced(kConfig, "plugin = \"slow_source\"",
                                                 "plugin = \"image_folder\"\nroot = \"images\"");
  folder_.write("slow.toml", config);
  const Ended ended = doctor(
      "slow.toml --set 'transform[0].parse=\"5ms\"' --set 'strategy.step=\"1us\"' --seconds 0.001 "
      "--json -");
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("The stage that limits is CRC and parse: "));
  const json result = json::parse(ended.out);
  const json& cold = result.at("ladder").back();
  EXPECT_EQ(cold.at("rung"), "cold");
  if (!cold.at("measured").get<bool>()) {  // as on a tmpfs
    EXPECT_THAT(cold.at("why_not").get<std::string>(), HasSubstr("stay in the page cache"));
    EXPECT_EQ(result.at("judgements").size(), 1u);
    return;
  }
  ASSERT_EQ(result.at("judgements").size(), 2u);
  EXPECT_EQ(result.at("judgements")[1].at("rung"), "cold");
  EXPECT_EQ(result.at("judgements")[1].at("limiting").at("stage"), "CRC and parse");
}

TEST_F(DoctorTest, ARunThatFailsEndsItWithItsOwnWordsAndExitCode) {
  // Only a run finds out that the first transform does not decode.
  folder_.write("bad.toml", testing_support::replaced(kConfig, "slow_decode", "slow_augment"));
  const Ended ended = doctor("bad.toml --seconds 0.001");
  EXPECT_EQ(ended.exit_code, 78);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("slackline: doctor: trial of 'device alone' (bad.toml"),
                               HasSubstr("so it cannot be first")));
}

TEST_F(DoctorTest, ItsOwnKeyIsRefused) {
  folder_.write("slow.toml", kConfig);
  const Ended ended = doctor("slow.toml --set 'input.replay=\"off\"'");
  EXPECT_EQ(ended.exit_code, 78);
  EXPECT_THAT(ended.err, HasSubstr("input.replay is what doctor sets"));
}

TEST_F(DoctorTest, FewerRoundsThanFiveAreAUsageErrorThatSaysWhy) {
  folder_.write("slow.toml", kConfig);
  const Ended ended = doctor("slow.toml --rounds 4");
  EXPECT_EQ(ended.exit_code, 64);
  EXPECT_THAT(ended.err, HasSubstr("must be 5 to 1000"));
}

TEST(RungTest, ItsMiddleIsARunThatReallyWas) {
  Rung rung;
  for (const double wall_s : {3.0, 1.0, 9.0, 2.0}) {
    LadderRun run;
    run.result["throughput"] = {
        {"images_per_s", 100 / wall_s}, {"wall_s", wall_s}, {"measured_steps", 10}};
    rung.runs.push_back(std::move(run));
  }
  EXPECT_DOUBLE_EQ(rung.middle().step_ms(), 200) << "of an even number, the faster of two";
  rung.runs.pop_back();
  EXPECT_DOUBLE_EQ(rung.middle().step_ms(), 300);
  EXPECT_NEAR(rung.images_per_s().median, 100 / 3.0, 1e-9);
  EXPECT_GE(rung.images_per_s().low, 100 / 9.0);
  EXPECT_LE(rung.images_per_s().high, 100.0);
}

TEST(RungTest, WhatItsResultSaysIsWhatTheAnalysisGets) {
  const auto stage = [](double ms) { return json{{"s", 1}, {"ms_per_image", ms}}; };
  LadderRun run;
  run.result["throughput"] = {{"wall_s", 2.0},         {"input_wait_s", 1.2},
                              {"submit_s", 0.5},       {"device_wait_s", 0.3},
                              {"measured_steps", 100}, {"measured_images", 3200}};
  run.result["machine"] = {{"cpus_usable", 4}};
  auto& input = run.result["input"];
  input = {{"workers", 3}, {"cpu_ms_per_image", 0.9}, {"upload", {{"ms_per_step", 0.7}}}};
  input["worker_time"] = {{"read", stage(0.1)}};
  input["worker_time"]["transform/z"] = stage(0.6);
  input["worker_time"]["transform/a"] = stage(0.2);
  for (const char* name : {"batching", "turn", "idle"}) input["worker_time"][name] = stage(0.05);
  run.result["plugins"]["source/s"]["reports"]["checksum"] = {{"value", 25}, {"unit", "us/record"}};
  run.result["plugins"]["transform/z"]["reports"]["parse"] = {{"value", 50}, {"unit", "us/record"}};
  Rung full, device;
  full.runs = {run};
  run.result["plugins"]["strategy/t"]["reports"]["straggler"] = {{"value", 3}, {"unit", "ms"}};
  run.result["throughput"]["input_wait_s"] = 0.2;
  device.runs = {run};

  const Measured got = measured_of({"source/s", "transform/z", "strategy/t"}, device, full);
  EXPECT_DOUBLE_EQ(got.full.step_ms(), 20);
  EXPECT_DOUBLE_EQ(got.full.input_wait_ms, 12);
  EXPECT_DOUBLE_EQ(got.full.submit_ms, 5);
  EXPECT_DOUBLE_EQ(got.device.input_wait_ms, 2);
  EXPECT_DOUBLE_EQ(got.images_per_step, 32);
  EXPECT_EQ(got.workers, 3);
  EXPECT_EQ(got.cpus, 4);
  EXPECT_DOUBLE_EQ(got.image.read_ms, 0.1);
  EXPECT_DOUBLE_EQ(got.image.checksum_ms.value(), 0.025);
  EXPECT_DOUBLE_EQ(got.image.parse_ms.value(), 0.05);
  EXPECT_THAT(got.image.transforms_ms, ElementsAre(0.6, 0.2)) << "in their order";
  EXPECT_DOUBLE_EQ(got.image.batching_ms, 0.05);
  EXPECT_DOUBLE_EQ(got.image.cpu_ms, 0.9);
  EXPECT_DOUBLE_EQ(got.upload_ms.value(), 0.7);
  EXPECT_DOUBLE_EQ(got.straggler_ms.value(), 3);
}

/// The files of a source whose option `name` is this list.
std::vector<std::string> files_of(const std::string& plugin, const std::vector<std::string>& paths,
                                  const fs::path& base) {
  Registry& registry = testing_support::test_registry();
  Component source;
  source.plugin = &registry.load("source", plugin);
  source.values = OptionValues(source.plugin->descriptor->option_count);
  source.values.set_strings(0, paths);
  std::vector<std::string> out;
  const SourceFiles files(source);
  for (const fs::path& file : files.all()) {
    out.push_back(file.lexically_relative(base).string());
  }
  return out;
}

TEST_F(DoctorTest, TheFilesOfASourceAreItsGlobsAndWhatItsDirectoriesHold) {
  folder_.write("a-1", "x");
  folder_.write("a-2", "x");
  folder_.write("b/c/d.jpg", "x");
  folder_.write("b/e.jpg", "x");
  const fs::path base = folder_.path();
  EXPECT_THAT(files_of("tfrecord", {(base / "a-*").string(), (base / "a-1").string()}, base),
              ElementsAre("a-1", "a-2"));
  EXPECT_THAT(files_of("image_folder", {(base / "b").string()}, base),
              ElementsAre("b/c/d.jpg", "b/e.jpg"));
  EXPECT_THAT(files_of("synthetic", {}, base), IsEmpty());
}

TEST_F(DoctorTest, WhatWasReadIsInThePageCacheAndWhatWasDroppedIsNot) {
  const fs::path file = folder_.write("data", std::string(100'000, 'x'));
  EXPECT_EQ(cached_bytes(file), 102'400u) << "just written, in pages of 4096";
  Registry& registry = testing_support::test_registry();
  Component source;
  source.plugin = &registry.load("source", "tfrecord");
  source.values = OptionValues(source.plugin->descriptor->option_count);
  source.values.set_strings(0, {file.string()});
  const std::string problem = SourceFiles(source).drop_from_cache();
  struct statfs system {};
  ASSERT_EQ(::statfs(file.c_str(), &system), 0);
  const std::set<long> disks = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC};
  if (disks.contains(static_cast<long>(system.f_type))) {
    EXPECT_EQ(cached_bytes(file), 0u);
    EXPECT_EQ(problem, "");
  } else if (cached_bytes(file) > 0) {  // as on a tmpfs
    EXPECT_THAT(problem, AllOf(HasSubstr("102400 bytes of 1 of the source's 1 files"),
                               HasSubstr(file.string())));
  }
}

}  // namespace
}  // namespace slackline::app
