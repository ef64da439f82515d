// Whole runs, from a TOML file to result.json, on the real data of the tree.

#include <slackline/checkpoint.h>
#include <slackline/config.h>
#include <slackline/error.h>
#include <slackline/run.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iomanip>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "file_ops_models.h"
#include "run_dir.h"
#include "span_recorder.h"
#include "temporary_folder.h"
#include "test_host.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::HasSubstr;

constexpr const char* kDigits = R"toml(
[run]
seed = 3
epochs = 1
steps = 12
warmup_steps = 2
log_steps = 5
[input]
batch_size = 32
image_size = [28, 28]
num_classes = 10
workers = 2
[optimizer]
learning_rate = 0.2
[source]
plugin = "tfrecord"
files = ["DATA/digits/train-*"]
compression = "gzip"
shuffle_buffer = 500
[[transform]]
plugin = "imagenet_turbojpeg"
mode = "train"
area = [1.0, 1.0]
aspect_ratio = [1.0, 1.0]
flip_probability = 0.0
[prefetcher]
plugin = "plain"
[model]
plugin = "linear"
grid = [14, 14]
[strategy]
plugin = "one_device"
)toml";

constexpr const char* kHeldOut = R"toml(
[eval]
[eval.source]
files = ["DATA/digits/validation-*"]
shuffle_buffer = 0
[[eval.transform]]
plugin = "imagenet_turbojpeg"
mode = "train"
area = [1.0, 1.0]
aspect_ratio = [1.0, 1.0]
flip_probability = 0.0
)toml";

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class RunTest : public testing::Test {
 protected:
  /// The tree's plugins, and those of tests/fixtures/checks.
  static Registry& registry() {
    static Registry registry({{SLACKLINE_TEST_PLUGIN_DIR, "build tree"},
                              {SLACKLINE_TEST_BINARY_DIR "/fixtures/checks", "fixtures"}});
    return registry;
  }

  /// Runs this configuration with these --set arguments; results go to dir_/`name`.
  RunOutcome run_toml(std::string toml, const std::vector<std::string>& set = {},
                      const std::string& name = "run") {
    const std::string data = std::string(SLACKLINE_TEST_SOURCE_DIR) + "/tests/data";
    for (auto at = toml.find("DATA"); at != std::string::npos; at = toml.find("DATA")) {
      toml.replace(at, 4, data);
    }
    const fs::path file = dir_ / (name + ".toml");
    std::ofstream(file) << toml;
    return run_file(file, set, name);
  }

  RunOutcome run_file(const fs::path& file, const std::vector<std::string>& set,
                      const std::string& name) {
    const Config config = Config::load({file, set}, registry());
    RunControl control{.out = screen_,
                       .is_terminal = false,
                       .stop = stop_.get_token(),
                       .dir = dir_ / name,
                       .files = *files_};
    return run(config, control);
  }

  /// Goes on with the run `name`, with its own configuration and these --set arguments.
  RunOutcome resume(const std::string& name, const std::vector<std::string>& set = {},
                    bool anyway = false) {
    const Config config = Config::load({dir_ / name / "resolved.toml", set}, registry());
    RunControl control{.out = screen_,
                       .is_terminal = false,
                       .stop = stop_.get_token(),
                       .dir = dir_ / name,
                       .resume = true,
                       .resume_anyway = anyway,
                       .files = *files_};
    return run(config, control);
  }

  template <class Error>
  std::string error_of_resume(const std::string& name, const std::vector<std::string>& set = {}) {
    try {
      static_cast<void>(resume(name, set));
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  /// The digests of every step, "order pixels".
  std::vector<std::string> digests(const std::string& name) {
    std::vector<std::string> out;
    for (const Json& step : steps(name)) {
      out.push_back(step["order"].get<std::string>() + " " + step["pixels"].get<std::string>());
    }
    return out;
  }

  /// The message of the error that such a run ends with.
  template <class Error>
  std::string error_of(const std::string& toml, const std::vector<std::string>& set = {}) {
    try {
      static_cast<void>(run_toml(toml, set));
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  static std::string contents(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Json result(const std::string& name = "run") {
    return Json::parse(contents(dir_ / name / "result.json"));
  }
  /// steps.jsonl, line by line.
  std::vector<Json> steps(const std::string& name = "run") {
    std::vector<Json> out;
    std::istringstream lines(contents(dir_ / name / "steps.jsonl"));
    for (std::string line; std::getline(lines, line);) out.push_back(Json::parse(line));
    return out;
  }
  std::vector<double> losses(const std::string& name) {
    std::vector<double> out;
    for (const Json& step : steps(name)) out.push_back(step["loss"]);
    return out;
  }

  [[nodiscard]] fs::path checkpoint(const std::string& name, std::uint64_t steps) const {
    const std::string digits = std::to_string(steps);
    return dir_ / name / "checkpoints" /
           ("step-" + std::string(9 - digits.size(), '0') + digits + ".safetensors");
  }
  /// The values of every tensor in a checkpoint but its checksum.
  std::vector<std::vector<float>> tensors(const std::string& name, std::uint64_t steps) const {
    const SafetensorsFile file(checkpoint(name, steps));
    std::vector<std::vector<float>> out;
    for (const StoredTensor& tensor : file.tensors()) {
      if (tensor.name == "slackline.checksum") continue;
      file.read(tensor, out.emplace_back(tensor.values()));
    }
    return out;
  }

  testing_support::TemporaryFolder folder_;
  const fs::path dir_ = folder_.path();
  std::ostringstream screen_;
  std::stop_source stop_;
  FileOps* files_ = &system_file_ops();
};

TEST_F(RunTest, ALinearModelLearnsTheDigits) {
  const fs::path digits = fs::path(SLACKLINE_TEST_SOURCE_DIR) / "configs/digits_linear.toml";
  const RunOutcome outcome = run_file(digits, {}, "digits");
  EXPECT_EQ(outcome.exit_code, ExitCode::kOk);
  ASSERT_FALSE(outcome.evaluations.empty());
  EXPECT_EQ(outcome.evaluations.back().sums.samples, 1000);
  EXPECT_GT(outcome.evaluations.back().accuracy(), 0.85);
  EXPECT_THAT(screen_.str(), HasSubstr("held out    accuracy"));
}

TEST_F(RunTest, ALinearModelToldThePhotographsApartFarAboveChance) {
  const fs::path photos = fs::path(SLACKLINE_TEST_SOURCE_DIR) / "configs/photos_linear.toml";
  const RunOutcome outcome = run_file(photos, {}, "photos");
  const Json held_out = result("photos")["evaluations"].back();
  EXPECT_GT(outcome.evaluations.back().accuracy(), 0.4) << held_out;
}

/// Trains resnet_cpu, whose OpenMP threads ThreadSanitizer cannot follow.
class ResnetRunTest : public RunTest {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "ThreadSanitizer does not know OpenMP's barriers";
#endif
  }
  /// A few steps on digits, with all that a step may change.
  static std::vector<std::string> on_digits() {
    return {"model={plugin='resnet_cpu',depth=20,std=[58,58,58]}",
            "optimizer={learning_rate=0.1,momentum=0.9,weight_decay=1e-4}",
            "input.batch_size=16",
            "run.steps=6",
            "run.warmup_steps=0",
            "checkpoint.every_steps=2"};
  }
};

// A third of the quickstart's steps.
TEST_F(ResnetRunTest, TheQuickstartLearnsFarAboveChance) {
  const fs::path quickstart = fs::path(SLACKLINE_TEST_SOURCE_DIR) / "configs/quickstart.toml";
  const RunOutcome outcome = run_file(quickstart, {"run.steps=108"}, "quickstart");
  const Json held_out = result("quickstart")["evaluations"].back();
  EXPECT_GT(outcome.evaluations.back().accuracy(), 0.4) << held_out << "; chance is 0.056";
}

TEST_F(ResnetRunTest, GoesOnToTheSameBitsAndEvaluation) {
  const std::string toml = std::string(kDigits) + kHeldOut;
  run_toml(toml, on_digits(), "whole");
  for (const std::string stop : {"1", "2", "5"}) {
    run_toml(toml, on_digits() + std::vector<std::string>{"run.steps=" + stop}, stop);
    resume(stop, {"run.steps=6"});
    EXPECT_EQ(losses(stop), losses("whole")) << "stopped after step " << stop;
    EXPECT_EQ(result(stop)["evaluations"].back()["loss"],
              result("whole")["evaluations"].back()["loss"]);
  }
}

TEST_F(ResnetRunTest, ReplicasGiveTheSameBitsOnThreadsAndInTurn) {
  const std::string toml = std::string(kDigits) + kHeldOut;
  for (const std::string execution : {"threads", "virtual"}) {
    run_toml(toml,
             on_digits() +
                 std::vector<std::string>{"strategy={plugin='mirrored_cpu',replicas=2,execution='" +
                                          execution + "'}"},
             execution);
  }
  EXPECT_EQ(losses("threads"), losses("virtual"));
  EXPECT_EQ(result("threads")["evaluations"].back()["loss"],
            result("virtual")["evaluations"].back()["loss"]);
}

TEST_F(RunTest, LapsOfStepsEvaluationsAndCheckpointsAddUpToTheWallTime) {
  for (const std::string in_flight : {"0", "1", "3"}) {
    static_cast<void>(run_toml(std::string(kDigits) + kHeldOut,
                               {"run.warmup_steps=0", "run.epochs=1", "checkpoint.every_steps=5",
                                "run.steps_in_flight=" + in_flight},
                               in_flight));
    double sum_s = 0;
    for (const Json& step : steps(in_flight)) {
      const double step_s = 1e-3 * (double(step["input_wait_ms"]) + double(step["submit_ms"]) +
                                    double(step["device_wait_ms"]));
      EXPECT_GT(step_s, 0) << step.dump();
      sum_s += step_s;
    }
    const Json measured = result(in_flight);
    EXPECT_EQ(measured["checkpoints"], 3);
    EXPECT_GT(double(measured["checkpoint_wall_s"]), 0);
    EXPECT_NEAR(double(measured["throughput"]["wall_s"]) + double(measured["evaluation_wall_s"]) +
                    double(measured["checkpoint_wall_s"]),
                double(measured["training_wall_s"]), 1e-6)
        << "a lap is missing or counted twice";
    // Waiting for each step at once, the books of the last one are kept when its line is written.
    EXPECT_NEAR(sum_s, double(measured["throughput"]["wall_s"]), in_flight == "0" ? 1e-2 : 1e-6);
  }
}

TEST_F(RunTest, TheWarmUpIsLeftOutAndSaidSo) {
  static_cast<void>(run_toml(kDigits));
  const Json measured = result();
  EXPECT_EQ(measured["steps"], 12);
  EXPECT_EQ(measured["warmup_steps"], 2);
  EXPECT_EQ(measured["throughput"]["measured_steps"], 10);
  EXPECT_EQ(measured["throughput"]["measured_images"], 320);
  EXPECT_THAT(screen_.str(), HasSubstr("2 warm-up steps are left out"));
}

TEST_F(RunTest, ResultsNameTheStagesThePluginsAndTheMachine) {
  static_cast<void>(run_toml(kDigits));
  const Json measured = result();
  EXPECT_EQ(measured["status"], "complete");
  EXPECT_TRUE(measured["input"]["worker_time"].contains("transform/imagenet_turbojpeg"));
  EXPECT_EQ(std::string(measured["plugins"]["model/linear"]["sha256"]).size(), 64u);
  EXPECT_GE(int(measured["machine"]["cpus_usable"]), 1);
  EXPECT_GT(double(measured["peak_memory_bytes"]), 0);
  EXPECT_GT(double(measured["time_to_first_batch_s"]), 0);
  EXPECT_TRUE(measured["upstream"]["avg_exp_per_second"].is_number());
  EXPECT_EQ(steps().size(), 12u);
  EXPECT_THAT(screen_.str(), HasSubstr("verdict"));
}

TEST_F(RunTest, NeitherWorkersNorPrefetcherNorDepthChangeWhatIsLearned) {
  static_cast<void>(run_toml(kDigits, {"input.workers=1"}, "reference"));
  const std::vector<double> reference = losses("reference");
  ASSERT_EQ(reference.size(), 12u);
  const std::vector<std::vector<std::string>> variants = {
      {"input.workers=4"},
      {"prefetcher.plugin=\"none\""},
      {"input.batches_ahead=7", "run.steps_in_flight=3"}};
  for (std::size_t i = 0; i < variants.size(); ++i) {
    const std::string name = "variant" + std::to_string(i);
    static_cast<void>(run_toml(kDigits, variants[i], name));
    EXPECT_EQ(losses(name), reference) << variants[i][0];
  }
}

/// Digits that are cropped and mirrored, 48 to a step, two epochs of 146 steps less a rest.
constexpr const char* kAugmented = "transform=[{plugin='imagenet_turbojpeg',mode='train'}]";

TEST_F(RunTest, NothingButTheDataChangesTheDigestOfTheData) {
  const std::vector<std::string> common = {"input.batch_size=48", kAugmented};
  const auto digests_of = [&](const std::string& name, std::vector<std::string> set) {
    set.insert(set.begin(), common.begin(), common.end());
    run_toml(kDigits, set, name);
    EXPECT_EQ(steps(name).size(), 12u) << name;
    return digests(name);
  };
  const auto expected = digests_of("one worker", {"input.workers=1", "prefetcher.plugin='none'"});
  EXPECT_EQ(digests_of("two", {"input.workers=2", "prefetcher.plugin='plain'"}), expected);
  EXPECT_EQ(digests_of("four", {"input.workers=4", "input.batches_ahead=5"}), expected);
  EXPECT_EQ(digests_of("deep", {"prefetcher.buffer_size=7", "prefetcher.device_buffer_size=3"}),
            expected);
  EXPECT_EQ(digests_of("delay", {"prefetcher={plugin='delay',delay='1ms'}"}), expected);
  EXPECT_EQ(digests_of("slack", {"prefetcher.plugin='slack'"}), expected);
  EXPECT_EQ(digests_of("adaptive", {"prefetcher.plugin='adaptive'"}), expected);
  for (const char* replicas : {"1", "2", "3", "4"}) {
    const std::string strategy =
        std::string("strategy={plugin='mirrored_cpu',replicas=") + replicas;
    EXPECT_EQ(digests_of(std::string("mirrored ") + replicas, {strategy + "}"}), expected);
    EXPECT_EQ(digests_of(std::string("virtual ") + replicas,
                         {strategy + ",execution='virtual'}", "prefetcher.plugin='none'"}),
              expected);
  }
  EXPECT_NE(digests_of("another seed", {"run.seed=4"}), expected);
}

TEST_F(RunTest, AnEpochThatDoesNotDivideByTheStepIsCutAlikeForAnyNumberOfReplicas) {
  // 1,000 records, 48 to a step: 20 steps and a rest of 40, which is 16 + 16 + 8 for three.
  const std::string source = "source.files=['" + std::string(SLACKLINE_TEST_SOURCE_DIR) +
                             "/tests/data/digits/validation-*']";
  for (const std::string drop : {"true", "false"}) {
    std::vector<std::string> expected;
    for (const std::string replicas : {"1", "2", "3", "4"}) {
      const std::string name = drop + replicas;
      run_toml(kDigits,
               {"input.batch_size=48", source, "run.steps=0", "run.epochs=2",
                "input.drop_remainder=" + drop,
                "strategy={plugin='mirrored_cpu',replicas=" + replicas + "}"},
               name);
      EXPECT_EQ(steps(name).size(), drop == "true" ? 40u : 42u);
      EXPECT_EQ(result(name)["data"]["samples"], drop == "true" ? 1920 : 2000);
      if (expected.empty()) expected = digests(name);
      EXPECT_EQ(digests(name), expected) << replicas << " replicas";
    }
  }
}

/// Three epochs of 25 steps.
std::vector<std::string> three_epochs() {
  return {"input.batch_size=40",
          kAugmented,
          "run.epochs=3",
          "run.steps=0",
          "source.shuffle_buffer=100",
          "source.files=['" + std::string(SLACKLINE_TEST_SOURCE_DIR) +
              "/tests/data/digits/validation-*']",
          "checkpoint={}"};
}

TEST_F(RunTest, AResumedRunIsTheUninterruptedOneToTheBit) {
  run_toml(kDigits, three_epochs(), "whole");
  const auto expected = digests("whole");
  ASSERT_EQ(expected.size(), 75u);
  for (const std::string stop : {"1", "13", "24", "25", "26", "50", "74"}) {
    run_toml(kDigits, three_epochs() + std::vector<std::string>{"run.steps=" + stop}, stop);
    const RunOutcome outcome =
        resume(stop, {"run.steps=0", "input.workers=1", "prefetcher.plugin='slack'"});
    EXPECT_EQ(outcome.steps, 75u);
    EXPECT_EQ(digests(stop), expected) << "stopped after step " << stop;
    EXPECT_EQ(losses(stop), losses("whole")) << "stopped after step " << stop;
    EXPECT_EQ(result(stop)["data"], result("whole")["data"]);
    EXPECT_EQ(result(stop)["last_epoch"], result("whole")["last_epoch"]);
    EXPECT_EQ(result(stop)["resumed_at_step"], std::stoi(stop));
    EXPECT_THAT(result(stop)["warnings"].dump(), testing::Not(HasSubstr("resume")));
    EXPECT_EQ(tensors(stop, 75), tensors("whole", 75)) << "stopped after step " << stop;
  }
}

TEST_F(RunTest, MoreReplicasGoOnWithTheSameData) {
  run_toml(kDigits, three_epochs(), "whole");
  run_toml(kDigits, three_epochs() + std::vector<std::string>{"run.steps=30"}, "parts");
  resume("parts", {"run.steps=0", "strategy={plugin='mirrored_cpu',replicas=2}"});
  EXPECT_EQ(digests("parts"), digests("whole"));
}

TEST_F(RunTest, AResumedRunMayBeStoppedAndResumedAgain) {
  run_toml(kDigits, {"run.steps=12"}, "whole");
  run_toml(kDigits, {"run.steps=3", "checkpoint={}"}, "parts");
  resume("parts", {"run.steps=7"});
  resume("parts", {"run.steps=12"});
  EXPECT_EQ(digests("parts"), digests("whole"));
  EXPECT_EQ(losses("parts"), losses("whole"));
  // A run that is complete has nothing left to do, and loses nothing.
  EXPECT_EQ(resume("parts", {"run.steps=12"}).steps, 12u);
  EXPECT_EQ(losses("parts"), losses("whole"));
}

TEST_F(RunTest, AResumedRunThatWasKilledIsResumedAtItsLastCheckpoint) {
  run_toml(kDigits, {"run.steps=12"}, "whole");
  run_toml(kDigits, {"run.steps=5", "checkpoint={}"}, "parts");
  // Two steps behind it, the second torn.
  std::ofstream(dir_ / "parts" / "steps.jsonl", std::ios::app) << "{\"step\":5}\n{\"st";
  std::ofstream(dir_ / "parts" / "result.json.tmp") << "{";
  resume("parts", {"run.steps=12"});
  EXPECT_EQ(losses("parts"), losses("whole"));
  EXPECT_FALSE(fs::exists(dir_ / "parts" / "result.json.tmp"));
}

TEST_F(RunTest, ADamagedCheckpointIsSetAsideAndTheOneBeforeTaken) {
  run_toml(kDigits, {"run.steps=12"}, "whole");
  run_toml(kDigits, {"run.steps=8", "checkpoint={every_steps=5}"}, "parts");
  const fs::path newest = checkpoint("parts", 8);
  std::string bytes = contents(newest);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(newest, std::ios::binary) << bytes;
  resume("parts", {"run.steps=12"});
  EXPECT_EQ(result("parts")["resumed_at_step"], 5);
  EXPECT_THAT(result("parts")["warnings"].dump(),
              testing::AllOf(HasSubstr("step-000000008.safetensors: is damaged"),
                             HasSubstr("step-000000008.safetensors.damaged")));
  EXPECT_THAT(screen_.str(), HasSubstr("warning: "));
  EXPECT_EQ(losses("parts"), losses("whole"));
  EXPECT_TRUE(fs::exists(newest.string() + ".damaged"));
  EXPECT_FALSE(fs::exists(newest));
}

TEST_F(RunTest, AProcessThatIsNoneOfTheRanksIsRefused) {
  try {
    run_toml(kDigits, {"strategy={plugin='multi_worker',processes=4}"});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("wants 4 processes, and this is none of them"));
    EXPECT_THAT(error.what(), HasSubstr("--set#1")) << "where it says so";
  }
}

TEST_F(RunTest, CheckpointsComeBySteps) {
  run_toml(kDigits, {"checkpoint={every_steps=4,keep=10}"}, "steps");
  EXPECT_EQ(checkpoint_files(dir_ / "steps"),
            (std::vector<fs::path>{checkpoint("steps", 12), checkpoint("steps", 8),
                                   checkpoint("steps", 4)}));
  EXPECT_EQ(result("steps")["checkpoints"], 3) << "the last one is not written twice";
  run_toml(kDigits, {"checkpoint={every_minutes=1e-9,keep=100}"}, "minutes");
  EXPECT_EQ(result("minutes")["checkpoints"], 12);
  run_toml(kDigits, {"checkpoint={every_minutes=1000}"}, "end");
  EXPECT_EQ(result("end")["checkpoints"], 1);
  run_toml(kDigits, {}, "none");
  EXPECT_EQ(result("none")["checkpoints"], 0);
  EXPECT_FALSE(fs::exists(dir_ / "none" / "checkpoints"));
  EXPECT_EQ(losses("steps"), losses("none"));
  EXPECT_EQ(losses("minutes"), losses("none"));
}

TEST_F(RunTest, ARunThatIsStoppedBeforeItsFirstStepCanGoOn) {
  stop_.request_stop();
  EXPECT_TRUE(run_toml(kDigits, {"checkpoint={}"}).is_resumable);
  stop_ = std::stop_source();
  resume("run");
  run_toml(kDigits, {}, "whole");
  EXPECT_EQ(losses("run"), losses("whole"));
}

/// 1,000 digits, 48 to a step: epochs of 20 steps, or of 20.83 to a schedule that does not round.
constexpr const char* kWarmAndStep =
    "optimizer={learning_rate=0.1,learning_rate_batch=24,schedule='step',images_per_epoch=1000,"
    "warmup_epochs=0.5,boundaries=[1,2.25],factors=[0.5,0.125]}";

class RunScheduleTest : public RunTest {
 protected:
  /// Three epochs, unless `set` says otherwise.
  void run_schedule(const std::string& name, std::vector<std::string> set) {
    const std::string data = std::string(SLACKLINE_TEST_SOURCE_DIR) + "/tests/data/digits/";
    const std::vector<std::string> common = {"source.files=['" + data + "validation-*']",
                                             "input.batch_size=48",
                                             "run.steps=0",
                                             "run.epochs=3",
                                             "checkpoint={}",
                                             kWarmAndStep};
    set.insert(set.begin(), common.begin(), common.end());
    run_toml(kDigits, set, name);
  }
  std::vector<float> rates(const std::string& name) {
    std::vector<float> out;
    for (const Json& step : steps(name)) out.push_back(float(double(step["learning_rate"])));
    return out;
  }
  static float expected(const std::string& mode, int step) {
    constexpr double kRate = 0.1 * 48 / 24;
    if (mode == "callback") {
      const double epoch = step / 20 + step % 20 / (1000.0 / 48);
      return float(epoch < 0.5     ? kRate * epoch / 0.5
                   : epoch >= 2.25 ? kRate * 0.125
                   : epoch >= 1    ? kRate * 0.5
                                   : kRate);
    }
    return float(step < 10   ? kRate * step / 10
                 : step > 45 ? kRate * 0.125
                 : step > 20 ? kRate * 0.5
                             : kRate);
  }
};

TEST_F(RunScheduleTest, EveryStepHasItsRateAndAResumedRunGoesOnWithThem) {
  for (const std::string mode : {"callback", "tensor"}) {
    const std::string set_mode = "optimizer.schedule_mode='" + mode + "'";
    run_schedule(mode, {set_mode});
    const std::vector<float> all = rates(mode);
    ASSERT_EQ(all.size(), 60u);
    for (int step = 0; step < 60; ++step) {
      EXPECT_EQ(all[static_cast<std::size_t>(step)], expected(mode, step)) << mode << " " << step;
    }
    for (const std::string stop : {"5", "20", "33", "45"}) {
      const std::string name = mode + " " + stop;
      run_schedule(name, {set_mode, "run.steps=" + stop});
      resume(name, {"run.steps=0", "strategy={plugin='mirrored_cpu',replicas=2}"});
      EXPECT_EQ(rates(name), all) << mode << ", stopped after step " << stop;
    }
  }
}

TEST_F(RunScheduleTest, AModelKnowsTheRatesOfAllStepsBeforehandIfTheyDependOnTheStepAlone) {
  // The model ends the run if a step is not the next one, or has not the rate of its place.
  const auto told = [&](const std::string& run, const std::string& name) {
    return result(run)["plugins"]["model/rate_check"]["reports"][name]["value"];
  };
  run_schedule("callback", {"model={plugin='rate_check'}"});
  EXPECT_EQ(told("callback", "rates"), 0);
  run_schedule("run",
               {"model={plugin='rate_check'}", "optimizer.schedule_mode='tensor'", "run.steps=33"});
  EXPECT_EQ(told("run", "rates"), 33);
  EXPECT_EQ(told("run", "first_step"), 0);
  resume("run", {"run.steps=0"});
  EXPECT_EQ(told("run", "rates"), 47) << "none falls behind 2.25 epochs of 20 steps";
  EXPECT_EQ(told("run", "first_step"), 33);
}

TEST_F(RunScheduleTest, TheStrategyGetsTheRateThatIsWritten) {
  // The same batch for ever, without momentum: the loss stays where the rate is 0, and only there.
  const std::vector<std::string> common = {
      "run.steps=10", "input.replay='device'", "input.batch_size=32",
      "optimizer={learning_rate=0.02,momentum=0,schedule='step',images_per_epoch=96,"
      "warmup_epochs=0,boundaries=[1],factors=[0]}"};
  const auto first_rest = [&](const std::string& name, std::vector<std::string> set) {
    set.insert(set.begin(), common.begin(), common.end());
    run_schedule(name, set);
    const std::vector<double> all = losses(name);
    const std::vector<float> given = rates(name);
    EXPECT_EQ(all.size(), 10u);
    for (std::size_t i = 1; i < all.size(); ++i) {
      EXPECT_EQ(all[i] == all[i - 1], given[i - 1] == 0) << name << ", step " << i;
    }
    return std::ranges::find(given, 0.0f) - given.begin();
  };
  for (const std::string strategy : {"one_device", "mirrored_cpu"}) {
    const std::string set_strategy = "strategy.plugin='" + strategy + "'";
    EXPECT_EQ(first_rest("callback " + strategy, {set_strategy}), 3) << "as soon as epoch 1 begins";
    EXPECT_EQ(first_rest("tensor " + strategy, {set_strategy, "optimizer.schedule_mode='tensor'"}),
              4)
        << "the boundary's own step keeps the old rate";
    EXPECT_EQ(first_rest("warm " + strategy,
                         {set_strategy, "optimizer.warmup_epochs=2", "optimizer.factors=[1]"}),
              0)
        << "the first step of a warm-up has the rate 0";
  }
}

TEST_F(RunScheduleTest, ProgressLinesShowARateThatChanges) {
  run_schedule("changing", {"run.steps=10"});
  EXPECT_THAT(screen_.str(), HasSubstr("  rate 0.1728  ")) << "of step 9: 0.2 * 9 / 20.83 / 0.5";
  screen_.str("");
  run_schedule("constant", {"run.steps=10", "optimizer.schedule='constant'"});
  EXPECT_THAT(screen_.str(), testing::Not(HasSubstr("rate")));
}

TEST_F(RunScheduleTest, AScheduleThatEndsWithTheRunIsNotResumedInALongerOne) {
  const std::vector<std::string> cosine = {"run.steps=8", "optimizer.schedule='cosine'"};
  run_schedule("bound", cosine);
  EXPECT_THAT(error_of_resume<ConfigError>("bound", {"run.steps=16"}),
              testing::AllOf(HasSubstr("\n  run.steps: 8 then, 16 now"),
                             HasSubstr("the learning rates depend on how long the run is, as "
                                       "[optimizer] schedule_steps is 0")));
  EXPECT_THAT(error_of_resume<ConfigError>("bound", {"run.epochs=7"}), "no error")
      << "it is run.steps that counts";

  run_schedule("whole",
               {"run.steps=16", "optimizer.schedule='cosine'", "optimizer.schedule_steps=40"});
  run_schedule("free",
               {"run.steps=8", "optimizer.schedule='cosine'", "optimizer.schedule_steps=40"});
  resume("free", {"run.steps=16"});
  EXPECT_EQ(rates("free"), rates("whole"));
}

TEST_F(RunScheduleTest, AScheduleThatCannotWorkIsAConfigurationErrorWithItsPlace) {
  EXPECT_THAT(error_of<ConfigError>(kDigits, {"optimizer.schedule='step'"}),
              testing::AllOf(HasSubstr("--set#1:1:20: error: this schedule needs images_per_epoch"),
                             HasSubstr("optimizer.schedule='step'")));
  const std::string both =
      error_of<ConfigError>(kDigits, {"optimizer.schedule='step'", "optimizer.factors=[0.5]"});
  EXPECT_THAT(both, HasSubstr("--set#1:1:20: error: this schedule needs"));
  EXPECT_THAT(both, HasSubstr("--set#2:1:19: error: there are 1 factors and 3 boundaries"));
}

TEST_F(RunScheduleTest, AnOptimizerThatTheModelDoesNotKnowIsAConfigurationErrorWithItsPlace) {
  for (const std::string model : {"linear", "trivial"}) {
    std::string toml = kDigits;
    toml.erase(toml.find("grid = [14, 14]\n"), 16);
    toml.replace(toml.find("linear"), 6, model);
    EXPECT_THAT(error_of<ConfigError>(toml, {"optimizer.weight_decay=0.5"}),
                testing::AllOf(HasSubstr("run.toml:29:10: error: model " + model +
                                         ": knows SGD with momentum and no decay only; "
                                         "[optimizer] asks for weight_decay = 0.5"),
                               HasSubstr("\n  plugin = \"" + model + "\"\n")));
    EXPECT_THAT(
        error_of<ConfigError>(toml, {"optimizer.weight_decay=0.5", "optimizer.kind='lars'"}),
        HasSubstr("asks for kind = \"lars\" and weight_decay = 0.5"));
  }
}

TEST_F(RunTest, TheTopFiveAreInStepsEvaluationsAndOnTheScreen) {
  run_toml(std::string(kDigits) + kHeldOut);
  std::int64_t correct = 0, correct_top5 = 0;
  for (const Json& step : steps()) {
    EXPECT_GE(step["correct_top5"], step["correct"]);
    EXPECT_LE(step["correct_top5"], step["images"]);
    EXPECT_EQ(step["penalty"], 0) << "of a model without weight decay";
    EXPECT_EQ(step["learning_rate"], 0.2);
    correct += step["correct"].get<std::int64_t>();
    correct_top5 += step["correct_top5"].get<std::int64_t>();
  }
  EXPECT_GT(correct_top5, correct);
  const Json measured = result();
  EXPECT_EQ(measured["last_epoch"]["accuracy"], double(correct) / (12 * 32));
  EXPECT_EQ(measured["last_epoch"]["accuracy_top_5"], double(correct_top5) / (12 * 32));
  EXPECT_FALSE(measured["last_epoch"].contains("cross_entropy"));
  const Json& held_out = measured["evaluations"].back();
  EXPECT_GT(held_out["accuracy_top_5"], held_out["accuracy"]);
  std::ostringstream said;
  said << " done: held-out accuracy " << std::fixed << std::setprecision(1)
       << 100 * double(held_out["accuracy"]) << " %, top 5 "
       << 100 * double(held_out["accuracy_top_5"]) << " %, loss ";
  EXPECT_THAT(screen_.str(), HasSubstr(said.str()));
}

/// Does something once these words are written.
class ActsAtWords final : public std::stringbuf {
 public:
  ActsAtWords(std::string words, std::function<void()> action)
      : words_(std::move(words)), action_(std::move(action)) {}

 protected:
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    const std::streamsize written = std::stringbuf::xsputn(text, size);
    if (str().find(words_) == std::string::npos) return written;
    if (const auto action = std::exchange(action_, {})) action();
    return written;
  }

 private:
  std::string words_;
  std::function<void()> action_;
};

TEST_F(RunTest, AnEvaluationThatWasCutShortIsDoneAgainByTheContinuation) {
  const auto set = three_epochs() + std::vector<std::string>{"run.epochs=2", "run.log_steps=1"};
  run_toml(std::string(kDigits) + kHeldOut, set, "whole");
  ASSERT_EQ(result("whole")["evaluations"].size(), 2u);
  // The last of its epoch: its evaluation is next.
  ActsAtWords words("step 25", [this] { stop_.request_stop(); });
  screen_.std::ios::rdbuf(&words);
  EXPECT_EQ(run_toml(std::string(kDigits) + kHeldOut, set, "parts").exit_code,
            ExitCode::kInterrupted);
  screen_.std::ios::rdbuf(screen_.rdbuf());
  ASSERT_EQ(steps("parts").size(), 25u);
  ASSERT_EQ(result("parts")["evaluations"].size(), 0u);
  stop_ = std::stop_source();
  resume("parts");
  EXPECT_EQ(losses("parts"), losses("whole"));
  ASSERT_EQ(result("parts")["evaluations"].size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(result("parts")["evaluations"][i]["loss"], result("whole")["evaluations"][i]["loss"]);
  }
}

TEST_F(RunTest, OnlyTheSameTrainingIsResumed) {
  run_toml(kDigits, {"run.steps=3", "checkpoint={}"});
  const std::vector<std::pair<std::string, std::string>> edits = {
      {"run.seed=8", "run.seed: 3 then, 8 now"},
      {"run.weights='w.safetensors'", "run.weights: "},
      {"optimizer.learning_rate=0.5", "optimizer.learning_rate: 0.2 then, 0.5 now"},
      {"optimizer.momentum=0.5", "optimizer.momentum: 0.9 then, 0.5 now"},
      {"input.batch_size=16", "input.batch_size: 32 then, 16 now"},
      {"input.drop_remainder=false", "input.drop_remainder: true then, false now"},
      {"input.on_bad_sample='skip'", "input.on_bad_sample: \"fail\" then, \"skip\" now"},
      {"input.shard_count=2", "input.shard_count: 1 then, 2 now"},
      {"source.shuffle_buffer=7", "source.shuffle_buffer: 500 then, 7 now"},
      {"source.compression='none'", "source.compression: \"gzip\" then, \"none\" now"},
      {kAugmented, "transform[0].flip_probability: 0.0 then, 0.5 now"},
      {"model.grid=[7,7]", "model.grid: [14, 14] then, [7, 7] now"},
      {"model={plugin='trivial'}", "model.plugin: \"linear\" then, \"trivial\" now"}};
  const std::string resolved = contents(dir_ / "run" / "resolved.toml");
  for (const auto& [edit, message] : edits) {
    EXPECT_THAT(error_of_resume<ConfigError>("run", {edit}),
                testing::AllOf(HasSubstr("cannot be resumed with another configuration"),
                               HasSubstr("\n  " + message), HasSubstr("--resume-anyway")))
        << edit;
  }
  EXPECT_EQ(steps("run").size(), 3u) << "nothing was touched";
  EXPECT_EQ(contents(dir_ / "run" / "resolved.toml"), resolved);
}

TEST_F(RunTest, AnotherTrainingIsResumedIfThatIsAskedFor) {
  run_toml(kDigits, {"run.steps=3", "checkpoint={}"});
  resume("run", {"run.steps=12", "optimizer.learning_rate=0.5"}, true);
  EXPECT_EQ(steps("run").size(), 12u);
  EXPECT_THAT(result()["warnings"].dump(), HasSubstr("optimizer.learning_rate: 0.2 then, 0.5 now"));
  EXPECT_NO_THROW(resume("run")) << "with its configuration as it is now";
}

TEST_F(RunTest, ADirectoryThatCannotBeResumedSaysWhy) {
  run_toml(kDigits, {"run.steps=3"}, "without");
  EXPECT_THAT(error_of_resume<IoError>("without"),
              testing::AllOf(HasSubstr("there is no checkpoint in its folder"),
                             HasSubstr("a table [checkpoint]")));
  run_toml(kDigits, {"run.steps=3", "checkpoint={every_steps=2}"});
  const std::string lines = contents(dir_ / "run" / "steps.jsonl");
  std::ofstream(dir_ / "run" / "steps.jsonl") << "{}\n";
  EXPECT_THAT(error_of_resume<DataError>("run"), HasSubstr("has 1 lines, and 3 steps"));
  std::ofstream(dir_ / "run" / "steps.jsonl") << lines;
  std::ofstream(checkpoint("run", 3)) << "no checkpoint";
  fs::resize_file(checkpoint("run", 2), 100);
  EXPECT_THAT(error_of_resume<DataError>("run"),
              testing::AllOf(HasSubstr("no checkpoint is good:\n  "),
                             HasSubstr("step-000000003.safetensors: is no safetensors file"),
                             HasSubstr("step-000000002.safetensors: ")));
}

TEST_F(RunTest, AKilledRunsCheckpointsAreNotMixedWithThoseOfANewOne) {
  run_toml(kDigits, {"run.steps=3", "checkpoint={}"});
  fs::remove(dir_ / "run" / "result.json");
  EXPECT_THAT(error_of<ConfigError>(kDigits),
              HasSubstr("holds checkpoints of a run already; go on with it by --resume"));
}

TEST_F(RunTest, AFullDiskEndsTheRunWithItsCodeAndTheCheckpointBeforeIsGood) {
  run_toml(kDigits, {"run.steps=12"}, "whole");
  run_toml(kDigits, {"run.steps=4", "checkpoint={}"}, "parts");
  testing_support::FailingFileOps ops;
  files_ = &ops;
  // Each start writes resolved.toml first; then the lines, then the checkpoint.
  ops.fail_first("close", ENOSPC);
  try {
    resume("parts", {"run.steps=12"});
    FAIL();
  } catch (const IoError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kIo);
  }
  std::size_t fired = 0;
  for (std::size_t k = 0; k < 200; ++k) {
    ops.fail_at(k, ENOSPC, testing_support::FailingFileOps::Then::kStaysBroken);
    try {
      resume("parts", {"run.steps=12", "checkpoint.every_steps=3"});
      ASSERT_FALSE(ops.has_failed) << "operation " << k << " failed in silence: " << ops.names[k];
      break;
    } catch (const IoError& error) {
      ++fired;
      EXPECT_EQ(error.exit_code(), ExitCode::kIo) << error.what();
    }
    ASSERT_TRUE(newest_checkpoint(dir_ / "parts").checkpoint.has_value()) << "operation " << k;
  }
  EXPECT_GE(fired, 30u);
  EXPECT_EQ(losses("parts"), losses("whole"));
}

TEST_F(RunTest, WeightsOfAFileAreWhatTrainingBeginsWith) {
  run_toml(kDigits, {"run.steps=6", "optimizer.learning_rate=0.01", "checkpoint={}"}, "first");
  const std::string weights = "run.weights='" + checkpoint("first", 6).string() + "'";
  run_toml(kDigits, {weights, "run.steps=2"}, "second");
  run_toml(kDigits, {"run.steps=2"}, "anew");
  EXPECT_LT(losses("second").front(), losses("anew").front());
  EXPECT_EQ(digests("second"), digests("anew")) << "the data begin anew";
  EXPECT_THAT(error_of<DataError>(kDigits, {weights, "model.grid=[7,7]"}),
              HasSubstr("weight is [588, 10], and the model's is [147, 10]"));
  EXPECT_FALSE(fs::exists(dir_ / "run")) << "nothing was begun";
  EXPECT_THAT(error_of<IoError>(kDigits, {"run.weights='absent.safetensors'"}),
              HasSubstr("absent.safetensors: cannot open"));
}

TEST_F(RunTest, ReplayedRecordsAreDecodedAgainAndAgain) {
  run_toml(kDigits, {"input.batch_size=48", "input.replay='records'", "input.replay_records=96"});
  const auto all = digests("run");
  ASSERT_EQ(all.size(), 12u);
  EXPECT_NE(all[0], all[1]);
  for (std::size_t i = 2; i < all.size(); ++i) EXPECT_EQ(all[i], all[i - 2]) << "step " << i;
  EXPECT_GT(result()["input"]["images"], 0) << "they are decoded";
  run_toml(kDigits, {"input.batch_size=48", "run.steps=2"}, "real");
  EXPECT_EQ(digests("real"), std::vector<std::string>(all.begin(), all.begin() + 2))
      << "the first of the real records";
}

TEST_F(RunTest, ReplayedBatchesAreNotReadAgain) {
  for (const std::string replicas : {"1", "2"}) {
    const std::string name = "batches " + replicas;
    run_toml(kDigits,
             {"input.replay='batches'", "input.replay_steps=3", "run.steps=300",
              "run.warmup_steps=100", "strategy={plugin='mirrored_cpu',replicas=" + replicas + "}"},
             name);
    const auto all = digests(name);
    ASSERT_EQ(all.size(), 300u);
    for (std::size_t i = 3; i < all.size(); ++i) EXPECT_EQ(all[i], all[i - 3]) << "step " << i;
    EXPECT_NE(all[0], all[1]);
    EXPECT_NE(all[0], all[2]);
    EXPECT_EQ(result(name)["input"]["images"], 0) << "nothing is decoded any more";
  }
}

TEST_F(RunTest, AReplayedStepIsTheFirstOneForEver) {
  run_toml(kDigits, {"run.steps=2"}, "real");
  run_toml(kDigits, {"input.replay='device'", "strategy={plugin='mirrored_cpu',replicas=4}"});
  for (const std::string& digest : digests("run")) EXPECT_EQ(digest, digests("real").front());
}

TEST_F(RunTest, AReplayWithoutAnEndIsAConfigurationError) {
  EXPECT_THAT(error_of<ConfigError>(kDigits, {"input.replay='batches'", "run.steps=0"}),
              HasSubstr("never ends: say how long with [run] steps"));
}

TEST_F(RunTest, TheTimelineHasTheTracedStepsAndLinksTheirBatches) {
  run_toml(kDigits, {"run.trace_steps=5"});
  const Json trace = Json::parse(contents(dir_ / "run" / "trace.json"));
  std::map<std::string, int> spans;
  std::set<std::int64_t> flow_begins, flow_ends;
  for (const Json& event : trace["traceEvents"]) {
    if (event["ph"] == "X") ++spans[event["name"]];
    if (event["ph"] == "s") flow_begins.insert(event["id"].get<std::int64_t>());
    if (event["ph"] == "f") flow_ends.insert(event["id"].get<std::int64_t>());
  }
  EXPECT_EQ(spans["input wait"], 5) << trace.dump().substr(0, 2000);
  EXPECT_EQ(spans["submit"], 5);
  EXPECT_GE(spans["step"], 4) << "the device may be a step behind";
  EXPECT_GT(spans["fetch"], 0);
  EXPECT_GT(spans["transform/imagenet_turbojpeg"] + spans["read"], 0);
  EXPECT_EQ(flow_begins, flow_ends);
  EXPECT_GE(flow_begins.size(), 5u);

  run_toml(kDigits, {}, "untraced");
  EXPECT_FALSE(fs::exists(dir_ / "untraced" / "trace.json"));
}

TEST_F(RunTest, AProfilerIsToldOfEveryStage) {
  testing_support::SpanRecorder recorder;
  static_cast<void>(run_toml(kDigits, {"checkpoint={}"}));
  EXPECT_THAT(recorder.names(),
              testing::UnorderedElementsAre("read", "transform/imagenet_turbojpeg", "fetch",
                                            "input wait", "submit", "device wait", "checkpoint"));
}

/// A disk that is full once the timeline is to be written.
class NoRoomForATimeline final : public testing_support::FailingFileOps {
 public:
  int open(const fs::path& path, Open how) override {
    if (path.filename().string().starts_with("trace.json")) fail_at(0, ENOSPC, Then::kRecovers);
    return FailingFileOps::open(path, how);
  }
};

TEST_F(RunTest, ResultsAreThereBeforeTheTimelineIsWritten) {
  NoRoomForATimeline ops;
  files_ = &ops;
  EXPECT_THAT(error_of<IoError>(kDigits, {"run.trace_steps=5"}), HasSubstr("trace.json"));
  EXPECT_EQ(result()["status"], "complete");
}

TEST_F(RunTest, ABatchThatTheDevicesCannotShareIsAConfigurationError) {
  EXPECT_THAT(
      error_of<ConfigError>(kDigits, {"strategy={plugin='mirrored_cpu',replicas=3}"}),
      HasSubstr("a step's 32 samples cannot be divided evenly among 3 devices: 2 would be"));
  EXPECT_THAT(error_of<ConfigError>(kDigits, {"input.private_threads=true"}),
              HasSubstr("computes the number of workers, and workers is 2: leave it at 0"));
}

TEST_F(RunTest, TheResolvedConfigurationRunsAgainAsItStands) {
  static_cast<void>(run_toml(kDigits, {"optimizer.momentum=0.5"}, "first"));
  static_cast<void>(run_file(dir_ / "first" / "resolved.toml", {}, "second"));
  EXPECT_EQ(losses("second"), losses("first"));
  EXPECT_EQ(contents(dir_ / "second" / "resolved.toml"),
            contents(dir_ / "first" / "resolved.toml"));
}

TEST_F(RunTest, AnotherSeedGivesAnotherRun) {
  static_cast<void>(run_toml(kDigits, {}, "a"));
  static_cast<void>(run_toml(kDigits, {"run.seed=4"}, "b"));
  EXPECT_NE(losses("a"), losses("b"));
}

TEST_F(RunTest, BeingStoppedWritesResultsAndExitsAsResumable) {
  stop_.request_stop();
  const RunOutcome outcome = run_toml(kDigits);
  EXPECT_EQ(outcome.exit_code, ExitCode::kInterrupted);
  EXPECT_EQ(result()["status"], "interrupted");
}

TEST_F(RunTest, ADamagedRecordFailsTheRunAndTheResultSaysWhy) {
  const std::string message =
      error_of<DataError>(kDigits, {"source.files=[\"" + std::string(SLACKLINE_TEST_SOURCE_DIR) +
                                        "/tests/golden/inputs/tiny_17x33.jpg\"]",
                                    "source.compression=\"none\""});
  EXPECT_THAT(message, HasSubstr("tiny_17x33.jpg: record at byte 0: "));
  EXPECT_EQ(result()["status"], "failed");
  EXPECT_EQ(result()["error"], message);
}

/// A shard of photographs whose tenth kilobyte has a flipped bit, under the run's folder.
fs::path damaged_shard(const fs::path& folder) {
  const fs::path file = folder / "damaged";
  fs::copy_file(fs::path(SLACKLINE_TEST_SOURCE_DIR) / "tests/data/photos/train-00000-of-00004",
                file);
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekg(10'240);
  const auto damaged = static_cast<char>(bytes.get() ^ 1);
  bytes.seekp(10'240);
  bytes.put(damaged);
  return file;
}

TEST_F(RunTest, ASkippedRecordIsNamedOnTheScreenAndInTheResult) {
  const fs::path shard = damaged_shard(dir_);
  const std::vector<std::string> set = {"source.files=[\"" + shard.string() + "\"]",
                                        "source.compression=\"none\"",
                                        "input.num_classes=18",
                                        "run.warmup_steps=0",
                                        "run.steps=3",
                                        "source.shuffle_buffer=0",
                                        "input.on_bad_sample=\"skip\""};
  static_cast<void>(run_toml(kDigits, set));
  const Json bad = result()["bad_samples"];
  EXPECT_EQ(bad["policy"], "skip");
  ASSERT_EQ(bad["count"], 1);
  EXPECT_EQ(bad["samples"][0]["file"], shard.string());
  EXPECT_EQ(bad["samples"][0]["key"], "data");
  EXPECT_THAT(std::string(bad["samples"][0]["reason"]), HasSubstr("checksum does not match"));
  EXPECT_THAT(screen_.str(), HasSubstr("bad samples 1 (skip)"));
  EXPECT_THAT(screen_.str(), HasSubstr(std::string(bad["samples"][0]["reason"])));
  EXPECT_EQ(steps()[0]["images"], 31) << "its batch is smaller by one";
  EXPECT_EQ(steps()[1]["images"], 32);
}

TEST_F(RunTest, ASubstitutedRecordLeavesEveryBatchItsSize) {
  const fs::path shard = damaged_shard(dir_);
  static_cast<void>(
      run_toml(kDigits, {"source.files=[\"" + shard.string() + "\"]", "source.compression=\"none\"",
                         "input.num_classes=18", "run.steps=3", "source.shuffle_buffer=0",
                         "input.on_bad_sample=\"substitute\""}));
  EXPECT_EQ(result()["bad_samples"]["count"], 1);
  for (const Json& step : steps()) EXPECT_EQ(step["images"], 32);
}

TEST_F(RunTest, TooFewRecordsForOneBatchAreAnErrorNotAnEmptyRun) {
  EXPECT_THAT(error_of<DataError>(kDigits, {"input.batch_size=100000"}),
              HasSubstr("the training data gave no batch"));
}

TEST_F(RunTest, ResultsAreNeverOverwritten) {
  static_cast<void>(run_toml(kDigits));
  EXPECT_THAT(error_of<ConfigError>(kDigits), HasSubstr("holds the results of a run already"));
}

TEST_F(RunTest, ADirectoryInWhichARunIsAtWorkIsNotEntered) {
  std::string begun, resumed;
  ActsAtWords words("step 5", [&] {
    begun = error_of<ConfigError>(kDigits);
    resumed = error_of_resume<ConfigError>("run");
  });
  screen_.std::ios::rdbuf(&words);
  run_toml(kDigits, {"checkpoint.every_steps=2"});
  screen_.std::ios::rdbuf(screen_.rdbuf());
  const std::string reason = (dir_ / "run").string() + ": a run is at work there";
  EXPECT_THAT(begun, HasSubstr(reason));
  EXPECT_THAT(resumed, HasSubstr(reason));
  EXPECT_EQ(steps().size(), 12u);
  EXPECT_NO_THROW(resume("run")) << "once it has ended";
}

TEST_F(RunTest, AFileSystemWithoutLocksIsWarnedOf) {
  testing_support::FailingFileOps ops;
  files_ = &ops;
  ops.fail_first("lock", ENOLCK);
  run_toml(kDigits);
  EXPECT_THAT(result()["warnings"].dump(), HasSubstr("nothing keeps another run out"));
  ops.fail_first("lock", EIO);
  EXPECT_THAT(error_of<IoError>(kDigits), HasSubstr(".lock: lock was made to fail"));
}

/// Somebody else makes the first directory for results just before.
class FasterElsewhere final : public testing_support::FailingFileOps {
 public:
  bool make_directory(const fs::path& directory) override {
    if (directory.has_parent_path() && !std::exchange(was_faster_, true)) {
      fs::create_directory(directory);
    }
    return FailingFileOps::make_directory(directory);
  }

 private:
  bool was_faster_ = false;
};

TEST_F(RunTest, RunsThatBeginInTheSameSecondHaveADirectoryEach) {
  const fs::path before = fs::current_path();
  fs::current_path(dir_);
  const fs::path file = dir_ / "twins.toml";
  std::ofstream(file) << kDigits;
  const Config config = Config::load({file, {}}, registry());
  FasterElsewhere ops;
  const RunControl control{.out = screen_, .stop = {}, .dir = {}, .files = ops};
  const std::chrono::system_clock::time_point now{};
  fs::create_directory("runs");
  const fs::path second = make_run_dir(config, control, now);
  const fs::path third = make_run_dir(config, control, now);
  fs::current_path(before);
  EXPECT_EQ(second, "runs/twins-1970-01-01T00:00:00Z-2");
  EXPECT_EQ(third, "runs/twins-1970-01-01T00:00:00Z-3");
}

TEST_F(RunTest, AListOfTransformsThatCannotWorkIsAConfigurationError) {
  std::string augment_first = kDigits;
  augment_first.insert(augment_first.find("[[transform]]"),
                       "[[transform]]\nplugin = \"augment_opencv\"\n");
  const std::string message = error_of<ConfigError>(augment_first);
  EXPECT_THAT(message, HasSubstr("augment_opencv changes samples in place, so it cannot be first"));
  EXPECT_THAT(message, HasSubstr("imagenet_turbojpeg decodes records, so it must be first"));
}

TEST_F(RunTest, AModelThatCannotWorkOnTheImagesIsAConfigurationErrorWithItsPlace) {
  const std::string message = error_of<ConfigError>(kDigits, {"model.grid=[29, 14]"});
  EXPECT_THAT(message, HasSubstr("--set#1:1:"));
  EXPECT_THAT(message, HasSubstr("29"));
}

TEST_F(RunTest, AugmentationIsAStageOfItsOwn) {
  std::string augmented = kDigits;
  augmented.insert(augmented.find("[prefetcher]"),
                   "[[transform]]\nplugin = \"augment_opencv\"\nerasing_probability = 1.0\n");
  static_cast<void>(run_toml(augmented, {}, "augmented"));
  static_cast<void>(run_toml(kDigits, {}, "plain"));
  EXPECT_TRUE(result("augmented")["input"]["worker_time"].contains("transform/augment_opencv"));
  EXPECT_NE(losses("augmented"), losses("plain"));
}

}  // namespace
}  // namespace slackline
