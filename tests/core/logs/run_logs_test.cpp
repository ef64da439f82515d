// What runs write into the logs that [metrics] asks for.

#include <slackline/config.h>
#include <slackline/error.h>
#include <slackline/run.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <stop_token>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "event_reader.h"
#include "logs/benchmark_log.h"
#include "logs/event_file.h"
#include "logs/tensorboard_log.h"
#include "openmp.h"
#include "results.h"
#include "temporary_folder.h"
#include "test_host.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_support::read_events;
using testing_support::ReadEvent;

// 12 steps of 32 digits, of which 2 are warm-up; 1,000 held-out ones.
constexpr const char* kDigits = R"toml(
[run]
seed = 3
steps = 12
warmup_steps = 2
log_steps = 5
[input]
batch_size = 32
image_size = [28, 28]
num_classes = 10
workers = 1
[optimizer]
learning_rate = 0.25
[checkpoint]
[source]
plugin = "tfrecord"
files = ["DATA/digits/train-*"]
compression = "gzip"
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
[eval]
[eval.source]
files = ["DATA/digits/validation-*"]
[[eval.transform]]
plugin = "imagenet_turbojpeg"
mode = "train"
area = [1.0, 1.0]
aspect_ratio = [1.0, 1.0]
flip_probability = 0.0
)toml";

/// 1,000 records: 31 batches of 32, and one of 8.
const std::string kHeldOutToTrainOn = "source.files=['" + std::string(SLACKLINE_TEST_SOURCE_DIR) +
                                      "/tests/data/digits/validation-*']";

class RunLogsTest : public testing::Test {
 protected:
  Config config(const std::vector<std::string>& set = {}) {
    const std::string data = std::string(SLACKLINE_TEST_SOURCE_DIR) + "/tests/data";
    const fs::path file =
        folder_.write("digits.toml", testing_support::replaced(kDigits, "DATA", data));
    return Config::load({file, set}, testing_support::test_registry());
  }

  /// Results go to dir_/run; benchmark logs, where asked for, to dir_/bench.
  RunOutcome run_with(std::vector<std::string> set, bool resume = false) {
    RunControl control{.out = screen_,
                       .is_terminal = false,
                       .stop = stop_.get_token(),
                       .dir = dir_ / "run",
                       .resume = resume};
    return run(config(set), control);
  }

  std::string benchmark() const {
    return "metrics.benchmark_log_dir='" + (dir_ / "bench").string() + "'";
  }

  static std::string contents(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static std::vector<std::string> lines(const fs::path& path) {
    std::vector<std::string> out;
    std::istringstream text(contents(path));
    for (std::string line; std::getline(text, line);) out.push_back(line);
    return out;
  }
  Json result() { return Json::parse(contents(dir_ / "run" / "result.json")); }

  /// metric.log, as the metrics of each name.
  std::map<std::string, std::vector<Json>> metrics() {
    std::map<std::string, std::vector<Json>> out;
    for (const std::string& line : lines(dir_ / "bench" / "metric.log")) {
      Json metric = Json::parse(line);
      out[metric["name"]].push_back(metric);
    }
    return out;
  }
  Json benchmark_run() { return Json::parse(contents(dir_ / "bench" / "benchmark_run.log")); }
  std::string benchmark_status() {
    return Json::parse(contents(dir_ / "bench" / "benchmark_run_status.log"))["status"];
  }

  /// steps.jsonl of the steps [begin, end), added up.
  struct Steps {
    double images = 0, loss = 0, correct = 0, input_wait_ms = 0, submit_ms = 0, device_wait_ms = 0;
    double ms() const { return input_wait_ms + submit_ms + device_wait_ms; }
  };
  Steps steps(std::size_t begin, std::size_t end) {
    const auto all = lines(dir_ / "run" / "steps.jsonl");
    Steps out;
    for (std::size_t i = begin; i < end; ++i) {
      const Json step = Json::parse(all.at(i));
      out.images += double(step["images"]);
      out.loss += double(step["loss"]) * double(step["images"]);
      out.correct += double(step["correct"]);
      out.input_wait_ms += double(step["input_wait_ms"]);
      out.submit_ms += double(step["submit_ms"]);
      out.device_wait_ms += double(step["device_wait_ms"]);
    }
    return out;
  }

  /// The event files, oldest first.
  static std::vector<fs::path> event_files(const fs::path& dir) {
    std::vector<fs::path> out(fs::directory_iterator(dir), {});
    std::sort(out.begin(), out.end());
    return out;
  }
  /// The points of the file that have this tag.
  static std::map<std::int64_t, float> points(const fs::path& file, const std::string& tag) {
    std::map<std::int64_t, float> out;
    for (const ReadEvent& event : read_events(file)) {
      const auto found = event.scalars.find(tag);
      if (found != event.scalars.end()) out[event.step] = found->second;
    }
    return out;
  }

  std::vector<Json> mlperf_events() {
    std::vector<Json> out;
    for (const std::string& line : lines(dir_ / "run" / "mlperf.log")) {
      EXPECT_THAT(line, testing::StartsWith(":::MLLOG {"));
      out.push_back(Json::parse(line.substr(9)));
    }
    return out;
  }
  /// "key", "key=value" and "key@epoch" of each line.
  std::vector<std::string> mlperf_keys() {
    std::vector<std::string> out;
    for (const Json& event : mlperf_events()) {
      std::string text = event["key"];
      if (!event["value"].is_null()) text += "=" + event["value"].dump();
      const Json& metadata = event["metadata"];
      if (metadata.contains("epoch_num")) text += "@" + metadata["epoch_num"].dump();
      if (metadata.contains("status")) text += " " + metadata["status"].get<std::string>();
      out.push_back(text);
    }
    return out;
  }

  testing_support::TemporaryFolder folder_;
  const fs::path dir_ = folder_.path();
  std::ostringstream screen_;
  std::stop_source stop_;
};

TEST_F(RunLogsTest, WithoutTheTableNoFileIsThere) {
  run_with({});
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir_ / "run")) {
    names.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre(".lock", "resolved.toml", "steps.jsonl",
                                                   "result.json", "checkpoints"));
}

TEST_F(RunLogsTest, TheBenchmarkRunHasUpstreamsFields) {
  setenv("TF_B_OF_TEST", "two", 1);
  setenv("TF_A_OF_TEST", "one=1", 1);
  setenv("TX_OF_TEST", "three", 1);
  run_with({benchmark(), "metrics.test_id='nightly'"});
  const Json run = benchmark_run();
  std::vector<std::string> keys;
  for (const auto& [key, value] : run.items()) keys.push_back(key);
  EXPECT_THAT(keys, testing::UnorderedElementsAre("model_name", "dataset", "machine_config",
                                                  "test_id", "run_date", "tensorflow_version",
                                                  "tensorflow_environment_variables",
                                                  "run_parameters", "test_environment"));
  EXPECT_EQ(run["model_name"], "linear");
  EXPECT_EQ(run["dataset"], (Json{{"name", "tfrecord"}}));
  EXPECT_EQ(run["test_id"], "nightly");
  EXPECT_EQ(run["test_environment"], "local");
  EXPECT_THAT(std::string(run["tensorflow_version"]["version"]), testing::StartsWith("slackline "));
  EXPECT_GE(int(run["machine_config"]["cpu_info"]["num_cores"]), 1);
  EXPECT_GT(double(run["machine_config"]["memory_available"]), 0);
  EXPECT_TRUE(run["machine_config"]["gpu_info"]["count"].is_number_integer());

  std::vector<std::string> variables;
  for (const Json& variable : run["tensorflow_environment_variables"]) {
    variables.push_back(std::string(variable["name"]) + ":" + std::string(variable["value"]));
  }
  EXPECT_THAT(variables, testing::IsSupersetOf({"TF_A_OF_TEST:one=1", "TF_B_OF_TEST:two"}));
  EXPECT_THAT(variables, testing::Each(testing::StartsWith("TF_")));
  EXPECT_TRUE(std::is_sorted(variables.begin(), variables.end()));

  std::map<std::string, Json> parameters;
  for (const Json& parameter : run["run_parameters"]) parameters[parameter["name"]] = parameter;
  const auto without_name = [&](const std::string& key) {
    Json out = parameters.at(key);
    out.erase("name");
    return out;
  };
  EXPECT_EQ(without_name("input.batch_size"), (Json{{"long_value", 32}}));
  EXPECT_EQ(without_name("optimizer.learning_rate"), (Json{{"float_value", 0.25}}));
  EXPECT_EQ(without_name("input.drop_remainder"), (Json{{"bool_value", "True"}}));
  EXPECT_EQ(without_name("metrics.mlperf"), (Json{{"bool_value", "False"}}));
  EXPECT_EQ(without_name("model.plugin"), (Json{{"string_value", "linear"}}));
  EXPECT_EQ(without_name("input.image_size"), (Json{{"string_value", "[28, 28]"}}));
}

TEST_F(RunLogsTest, NamesOfModelAndDatasetMayBeGiven) {
  run_with({benchmark(), "metrics.model_name='softmax'", "metrics.dataset_name='digits'",
            "metrics.test_environment='laptop'"});
  EXPECT_EQ(benchmark_run()["model_name"], "softmax");
  EXPECT_EQ(benchmark_run()["dataset"]["name"], "digits");
  EXPECT_EQ(benchmark_run()["test_environment"], "laptop");
  EXPECT_TRUE(benchmark_run()["test_id"].is_null());
}

TEST_F(RunLogsTest, RatesAreOfTheStepsBehindTheWarmUpWithoutTheTimeOfEvaluations) {
  run_with({benchmark(), kHeldOutToTrainOn, "run.epochs=2",
            "run.steps=40"});  // evaluated after 31 of them
  ASSERT_EQ(result()["evaluations"].size(), 2u);
  const auto all = metrics();
  const auto rate = [](const Steps& steps) { return 1e3 * steps.images / steps.ms(); };
  const std::vector<Json> current = all.at("current_examples_per_sec");
  const std::vector<Json> average = all.at("average_examples_per_sec");
  ASSERT_EQ(current.size(), 8u);
  ASSERT_EQ(average.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) {
    const std::size_t end = 5 * (i + 1);
    EXPECT_EQ(current[i]["global_step"], end);
    const double current_rate = rate(steps(std::max<std::size_t>(2, end - 5), end));
    const double average_rate = rate(steps(2, end));
    EXPECT_NEAR(double(current[i]["value"]), current_rate, 1e-6 * current_rate);
    EXPECT_NEAR(double(average[i]["value"]), average_rate, 1e-6 * average_rate);
  }
}

TEST_F(RunLogsTest, EveryMetricHasUpstreamsFieldsAndATimeOfDay) {
  run_with({benchmark()});
  const auto all = lines(dir_ / "bench" / "metric.log");
  ASSERT_FALSE(all.empty());
  std::string before;
  for (const std::string& line : all) {
    const Json metric = Json::parse(line);
    EXPECT_EQ(metric.size(), 6u) << line;
    EXPECT_TRUE(metric.at("value").is_number_float()) << line;
    EXPECT_TRUE(metric.at("unit").is_null() || metric.at("unit").is_string()) << line;
    EXPECT_EQ(metric.at("extras"), Json::array());
    const std::string time = metric.at("timestamp");
    EXPECT_THAT(time, testing::MatchesRegex("[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+\\."
                                            "[0-9][0-9][0-9][0-9][0-9][0-9]Z"));
    EXPECT_GE(time, before) << "labels are in order";
    before = time;
  }
}

TEST_F(RunLogsTest, TheReportAtTheEndIsThatOfTheResult) {
  run_with({benchmark()});
  const auto all = metrics();
  const auto last = [&](const std::string& name) {
    EXPECT_EQ(all.at(name).back()["global_step"], 12) << name;
    return double(all.at(name).back()["value"]);
  };
  const Json measured = result();
  const Json evaluation = measured["evaluations"].back();
  EXPECT_EQ(last("accuracy_top_1"), double(evaluation["accuracy"]));
  EXPECT_EQ(last("eval_loss"), double(evaluation["loss"]));
  EXPECT_GT(last("accuracy_top_5"), last("accuracy_top_1"));
  EXPECT_EQ(last("loss"), double(measured["last_epoch"]["loss"]));
  EXPECT_EQ(last("top_1_train_accuracy"), double(measured["last_epoch"]["accuracy"]));
  EXPECT_EQ(last("avg_exp_per_second"), double(measured["upstream"]["avg_exp_per_second"]));
  EXPECT_EQ(last("exp_per_second"), double(measured["upstream"]["exp_per_second"]));
  EXPECT_NEAR(last("wall_time"), double(measured["wall_time_s"]), 1.0);
  EXPECT_LE(last("wall_time"), double(measured["wall_time_s"]));
  EXPECT_EQ(benchmark_status(), "success");
}

TEST_F(RunLogsTest, MetricsOfASecondRunStandBehindThoseOfTheFirst) {
  run_with({benchmark()});
  const auto first = lines(dir_ / "bench" / "metric.log");
  fs::remove_all(dir_ / "run");
  run_with({benchmark()});
  const auto both = lines(dir_ / "bench" / "metric.log");
  ASSERT_EQ(both.size(), 2 * first.size());
  EXPECT_TRUE(std::equal(first.begin(), first.end(), both.begin()));
}

TEST_F(RunLogsTest, WhatIsNoNumberIsLeftOutWithOneWarning) {
  const Config digits = config();
  const TimeOfDay time(TimeOfDay::Time{});
  std::vector<std::string> warnings;
  BenchmarkLog log(dir_ / "bench", system_file_ops(), time,
                   [&](const std::string& message) { warnings.push_back(message); });
  log.started({.config = digits});
  EXPECT_EQ(benchmark_status(), "running");
  const StepSums sums{.loss = std::numeric_limits<double>::quiet_NaN(), .correct = 4, .samples = 8};
  log.evaluated({.epochs_trained = 1, .sums = sums});
  log.evaluated({.epochs_trained = 2, .sums = sums});
  EXPECT_EQ(metrics().count("eval_loss"), 0u);
  EXPECT_EQ(metrics().at("accuracy_top_1").size(), 2u);
  EXPECT_THAT(warnings, ElementsAre("eval_loss is nan at step 0, no number: metric.log leaves it "
                                    "out"));
}

TEST_F(RunLogsTest, AStoppedRunIsNoSuccess) {
  stop_.request_stop();
  const RunOutcome outcome = run_with({benchmark(), "metrics.mlperf=true"});
  EXPECT_EQ(outcome.exit_code, ExitCode::kInterrupted);
  EXPECT_EQ(result()["status"], "interrupted");
  EXPECT_EQ(benchmark_status(), "failure");
  EXPECT_EQ(metrics().count("wall_time"), 0u);
  EXPECT_EQ(mlperf_keys().back(), "run_stop aborted");
}

TEST_F(RunLogsTest, ALogThatCannotBeWrittenFailsTheRunAndTheResultSaysSo) {
  folder_.write("file", "no directory");
  folder_.write("bench/metric.log", "");
  folder_.write("run/mlperf.log", "");
  const auto full = [&](const fs::path& file) {  // opens, and has no room
    fs::remove(file);
    fs::create_symlink("/dev/full", file);
  };
  full(dir_ / "bench" / "metric.log");
  full(dir_ / "run" / "mlperf.log");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"metrics.benchmark_log_dir='" + (dir_ / "file" / "x").string() + "'",
       "file/x: cannot create: Not a directory"},
      {benchmark(), "bench/metric.log: cannot write: No space left on device"},
      {"metrics={tensorboard=true, tensorboard_dir='" + (dir_ / "file" / "x").string() + "'}",
       "file/x: cannot create: Not a directory"},
      {"metrics.mlperf=true", "run/mlperf.log: cannot write: No space left on device"}};
  for (const auto& [set, message] : cases) {
    fs::remove(dir_ / "run" / "result.json");
    try {
      run_with({set});
      ADD_FAILURE() << "no error: " << set;
    } catch (const IoError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
      EXPECT_EQ(error.exit_code(), ExitCode::kIo);
    }
    EXPECT_EQ(result()["status"], "failed") << set;
    EXPECT_THAT(std::string(result()["error"]), HasSubstr(message));
  }
  EXPECT_EQ(benchmark_status(), "failure");
}

TEST_F(RunLogsTest, ARunThatFailsTellsAllLogs) {
  // Nothing is in an epoch but a batch that is too small.
  EXPECT_THROW(run_with({benchmark(), "metrics.mlperf=true", "metrics.tensorboard=true",
                         "input.batch_size=8192"}),
               DataError);
  EXPECT_EQ(benchmark_status(), "failure");
  EXPECT_EQ(metrics().count("wall_time"), 0u);
  EXPECT_EQ(mlperf_keys().back(), "run_stop aborted");
  EXPECT_EQ(read_events(event_files(dir_ / "run" / "tensorboard").at(0)).size(), 2u) << "no point";
}

TEST_F(RunLogsTest, TensorBoardsCurvesAreThoseOfTheSteps) {
  run_with({"metrics.tensorboard=true"});
  const auto files = event_files(dir_ / "run" / "tensorboard");
  ASSERT_EQ(files.size(), 1u);
  EXPECT_THAT(files[0].filename().string(), testing::StartsWith("events.out.tfevents."));
  const auto events = read_events(files[0]);
  EXPECT_EQ(events.front().file_version, "brain.Event:2");
  const double now = double(result()["upstream"]["step_timestamp_log"][0][1]);
  for (const ReadEvent& event : events) {
    EXPECT_NEAR(event.wall_time, now, 600) << "seconds since 1970";
  }
  // The last point is of the rest.
  const std::map<std::int64_t, Steps> expected = {
      {5, steps(0, 5)}, {10, steps(5, 10)}, {12, steps(10, 12)}};
  const auto curve = [&](const std::string& tag) {
    const auto found = points(files[0], tag);
    EXPECT_EQ(found.size(), 3u) << tag;
    return found;
  };
  for (const auto& [step, sums] : expected) {
    const auto near = [&, at = step](const std::string& tag, double value) {
      EXPECT_NEAR(curve(tag).at(at), value, 1e-5 * std::abs(value)) << tag << " at step " << at;
    };
    near("loss", sums.loss / sums.images);
    near("accuracy", sums.correct / sums.images);
    near("learning_rate", 0.25);
    near("images_per_s", 1e3 * sums.images / sums.ms());
    near("input_wait_percent", 100 * sums.input_wait_ms / sums.ms());
    near("submit_percent", 100 * sums.submit_ms / sums.ms());
    near("device_wait_percent", 100 * sums.device_wait_ms / sums.ms());
  }
  const Json evaluation = result()["evaluations"].back();
  EXPECT_THAT(points(files[0], "validation/loss"),
              ElementsAre(testing::Pair(12, float(evaluation["loss"]))));
  EXPECT_THAT(points(files[0], "validation/accuracy"),
              ElementsAre(testing::Pair(12, float(evaluation["accuracy"]))));
  EXPECT_EQ(points(files[0], "validation/accuracy_top_5").size(), 1u);
  EXPECT_TRUE(points(files[0], "cross_entropy").empty()) << "it is the loss";
}

TEST_F(RunLogsTest, TensorBoardHasItsOwnDistanceAndDirectory) {
  run_with({"metrics={tensorboard=true, tensorboard_steps=3, tensorboard_dir='" +
            (dir_ / "deep" / "curves").string() + "'}"});
  const auto files = event_files(dir_ / "deep" / "curves");
  ASSERT_EQ(files.size(), 1u);
  EXPECT_THAT(points(files[0], "loss"),
              ElementsAre(testing::Key(3), testing::Key(6), testing::Key(9), testing::Key(12)));
  EXPECT_FALSE(fs::exists(dir_ / "run" / "tensorboard"));
}

TEST_F(RunLogsTest, TheCrossEntropyIsACurveOfItsOwnWhereThereIsAPenalty) {
  const Config digits = config();
  const TimeOfDay time(TimeOfDay::Time{});
  TensorboardLog log({.dir = dir_ / "curves", .steps_a_point = 1}, system_file_ops(), time);
  log.started({.config = digits});
  const StepSums sums{.loss = 16, .correct = 4, .samples = 8, .penalty = 4};
  StepRecord record;
  record.sums = sums;
  log.step(record);
  log.evaluated({.epochs_trained = 1, .sums = sums});
  const fs::path file = event_files(dir_ / "curves").at(0);
  EXPECT_THAT(points(file, "loss"), ElementsAre(testing::Pair(1, 2.5f)));
  EXPECT_THAT(points(file, "cross_entropy"), ElementsAre(testing::Pair(1, 2.0f)));
  EXPECT_THAT(points(file, "validation/loss"), ElementsAre(testing::Pair(1, 2.5f)));
  EXPECT_THAT(points(file, "validation/cross_entropy"), ElementsAre(testing::Pair(1, 2.0f)));
}

TEST_F(RunLogsTest, AResumedRunGoesOnInANewEventFile) {
  run_with({"metrics.tensorboard=true", "run.steps=7"});
  run_with({"metrics.tensorboard=true", "run.steps=12"}, true);
  const auto files = event_files(dir_ / "run" / "tensorboard");
  ASSERT_EQ(files.size(), 2u);
  EXPECT_THAT(points(files[0], "loss"), ElementsAre(testing::Key(5), testing::Key(7)));
  EXPECT_THAT(points(files[1], "loss"), ElementsAre(testing::Key(10), testing::Key(12)));
  for (const auto& [file, step] : {std::pair(files[0], 1), std::pair(files[1], 8)}) {
    const ReadEvent start = read_events(file).at(1);
    EXPECT_TRUE(start.is_session_start);
    EXPECT_EQ(start.step, step) << "the first that the file tells of";
  }
}

TEST_F(RunLogsTest, ALogMayBeTurnedOnWhenARunIsResumed) {
  run_with({"run.steps=7"});
  run_with({"metrics.mlperf=true", benchmark(), "run.steps=12"}, true);
  EXPECT_EQ(metrics().at("wall_time").back()["global_step"], 12);
  EXPECT_EQ(mlperf_keys().back(), "run_stop success");
}

TEST_F(RunLogsTest, MlperfLinesTellTheWholeRun) {
  run_with({"metrics.mlperf=true", "run.steps=0", "run.epochs=2", "input.drop_remainder=false",
            kHeldOutToTrainOn});
  const Json evaluations = result()["evaluations"];
  const auto accuracy = [&](int i) { return evaluations[i]["accuracy"].dump(); };
  EXPECT_THAT(
      mlperf_keys(),
      ElementsAre("init_start", "seed=3", "global_batch_size=32", "opt_name=\"sgd\"",
                  "opt_base_learning_rate=0.25", "init_stop", "run_start",  //
                  "epoch_start@1", "train_samples=1000", "epoch_stop@1",    //
                  "eval_start@1", "eval_samples=1000", "eval_accuracy=" + accuracy(0) + "@1",
                  "eval_stop@1",                    //
                  "epoch_start@2", "epoch_stop@2",  //
                  "eval_start@2", "eval_accuracy=" + accuracy(1) + "@2", "eval_stop@2",
                  "trained_samples=2000", "run_stop success"));
}

TEST_F(RunLogsTest, MlperfLinesNameTheOptimizerAndTheRateOfThisBatchSize) {
  SLACKLINE_SKIP_OPENMP();
  run_with({"metrics.mlperf=true", "optimizer.kind='lars'", "optimizer.learning_rate=0.5",
            "optimizer.learning_rate_batch=16", "model={plugin='resnet_cpu',depth=20}",
            "run.steps=1", kHeldOutToTrainOn});
  EXPECT_THAT(mlperf_keys(),
              testing::IsSupersetOf({"opt_name=\"lars\"", "opt_base_learning_rate=1.0"}));
}

TEST_F(RunLogsTest, MlperfLinesHaveTheFieldsOfMllogInOrderOfTime) {
  run_with({"metrics.mlperf=true"});
  std::int64_t before = 0;
  for (const Json& event : mlperf_events()) {
    EXPECT_EQ(event.size(), 6u) << event;
    EXPECT_EQ(event.at("namespace"), "");
    EXPECT_TRUE(event.at("metadata").at("file").is_string());
    EXPECT_GT(int(event.at("metadata").at("lineno")), 0);
    const std::string key = event.at("key");
    EXPECT_EQ(event.at("event_type"), key.ends_with("_start")  ? "INTERVAL_START"
                                      : key.ends_with("_stop") ? "INTERVAL_END"
                                                               : "POINT_IN_TIME");
    EXPECT_GE(std::int64_t(event.at("time_ms")), before);
    before = event.at("time_ms");
  }
  EXPECT_NEAR(double(before) / 1e3, double(result()["upstream"]["step_timestamp_log"][0][1]), 600);
}

TEST_F(RunLogsTest, AnEpochThatIsCutShortEndsBeforeItsEvaluation) {
  run_with({"metrics.mlperf=true"});
  const auto keys = mlperf_keys();
  ASSERT_EQ(keys.size(), 15u);
  EXPECT_THAT(std::vector<std::string>(keys.begin() + 7, keys.end()),
              ElementsAre("epoch_start@1", "epoch_stop@1", "eval_start@1", "eval_samples=1000",
                          testing::StartsWith("eval_accuracy="), "eval_stop@1",
                          "trained_samples=384", "run_stop success"));
}

TEST_F(RunLogsTest, MlperfDoesNotClaimToKnowHowManySamplesThereAre) {
  run_with(
      {"metrics.mlperf=true", "run.steps=0", kHeldOutToTrainOn});  // and a remainder is dropped
  EXPECT_THAT(mlperf_keys(), testing::Contains("trained_samples=992"));
  EXPECT_THAT(mlperf_keys(), testing::Not(testing::Contains(testing::StartsWith("train_samples"))));
}

TEST_F(RunLogsTest, MlperfLinesOfAResumedRunStandBehindThoseBefore) {
  run_with({"metrics.mlperf=true", "run.steps=7"});
  const auto first = lines(dir_ / "run" / "mlperf.log");
  run_with({"metrics.mlperf=true", "run.steps=12"}, true);
  const auto both = lines(dir_ / "run" / "mlperf.log");
  ASSERT_GT(both.size(), first.size());
  EXPECT_TRUE(std::equal(first.begin(), first.end(), both.begin()));
}

/// Prints all points of the directory as JSON: {tag: [[step, value], …]}.
constexpr const char* kReader = R"python(
import importlib, json, sys
from tensorboard.util import tensor_util
accumulator = importlib.import_module("tensorboard.backend.event_processing." + sys.argv[2])
events = accumulator.EventAccumulator(sys.argv[1])
events.Reload()
print(json.dumps({
    tag: [[e.step, tensor_util.make_ndarray(e.tensor_proto).item()] for e in events.Tensors(tag)]
    for tag in events.Tags()["tensors"]
    if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"}))
)python";

/// With the TensorBoard of the Python that SLACKLINE_TENSORBOARD_PYTHON names.
class TensorBoardTest : public RunLogsTest {
 protected:
  void SetUp() override {
    const char* const python = std::getenv("SLACKLINE_TENSORBOARD_PYTHON");
    if (python == nullptr) {
      GTEST_SKIP() << "SLACKLINE_TENSORBOARD_PYTHON names no Python that has TensorBoard";
    }
    python_ = python;
  }

  /// Scripts use "event_accumulator", TensorBoard's server "plugin_event_accumulator".
  Json read(const fs::path& dir, const std::string& reader) {
    const fs::path script = folder_.write("read.py", kReader);
    const fs::path out = dir_ / "points.json";
    const std::string command = "'" + python_ + "' '" + script.string() + "' '" + dir.string() +
                                "' " + reader + " > '" + out.string() + "'";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    return Json::parse(contents(out));
  }

 private:
  std::string python_;
};

TEST_F(TensorBoardTest, ReadsEveryPointOfARunAndItsContinuation) {
  run_with({"metrics.tensorboard=true", "run.steps=7"});
  run_with({"metrics.tensorboard=true", "run.steps=12"}, true);
  const fs::path dir = dir_ / "run" / "tensorboard";
  std::map<std::string, Json> expected;
  for (const fs::path& file : event_files(dir)) {
    for (const ReadEvent& event : read_events(file)) {
      for (const auto& [tag, value] : event.scalars) {
        expected[tag].push_back({event.step, double(value)});
      }
    }
  }
  EXPECT_EQ(expected.size(), 10u);
  for (const char* reader : {"event_accumulator", "plugin_event_accumulator"}) {
    EXPECT_EQ(read(dir, reader), Json(expected)) << reader;
  }
}

TEST_F(TensorBoardTest, DropsWhatAContinuationTrainsAgain) {
  const auto append = [](EventFile& file, std::int64_t step, double value) {
    file.append(scalars_event({.unix_s = 1.5, .step = step}, {{"loss", value}}));
  };
  const fs::path dir = dir_ / "curves";
  fs::create_directories(dir);
  EventFile first(system_file_ops(), dir / event_file_name(1, "box"), {.unix_s = 1, .step = 1});
  for (const std::int64_t step : {5, 10, 15}) append(first, step, 1);
  EventFile second(system_file_ops(), dir / event_file_name(2, "box"), {.unix_s = 2, .step = 8});
  append(second, 12, 2);
  EXPECT_EQ(read(dir, "plugin_event_accumulator")["loss"], (Json{{5, 1.0}, {12, 2.0}}));
}

}  // namespace
}  // namespace slackline
