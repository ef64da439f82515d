// The page that `slackline report` writes: its numbers, its charts, and that it is sound markup
// whatever the files say.

#include <slackline/error.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "parsed_page.h"
#include "report/chart.h"
#include "report/page.h"
#include "report/run_files.h"
#include "temporary_folder.h"

namespace slackline::app {
namespace {

namespace fs = std::filesystem;
using testing_support::ParsedPage;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

/// Directories of runs, made by hand.
class ReportTest : public testing::Test {
 protected:
  static Json good_result() {
    return Json::parse(R"({
      "format": 1, "slackline": "0.1.0", "status": "complete", "configuration": "small",
      "started_at": "2026-01-31T23:59:59Z", "verdict": "input-bound: for 75 % of the time",
      "warmup_steps": 1, "peak_memory_bytes": 41943040, "time_to_first_batch_s": 0.0216,
      "throughput": {"measured_steps": 3, "images_per_s": 8663.6, "headspace_images_per_s": 98897,
        "step_ms": {"median": 0.4104, "p10": 0.0455, "p90": 10.92, "p99": 17.38},
        "input_wait_s": 0.6, "submit_s": 0.06, "device_wait_s": 0.14,
        "input_bound_percent": 75.04, "cpu_ms_per_image": 0.187},
      "input": {"cpu_ms_per_image": 0.2, "worker_time": {
        "read": {"s": 0.25, "ms_per_image": 0.01},
        "transform/decode": {"s": 0.75, "ms_per_image": 0.03}}},
      "last_epoch": {"loss": 1.563, "accuracy": 0.551},
      "evaluations": [{"accuracy": 0.1}, {"accuracy": 0.634}],
      "data": {"samples": 128, "order": "0a", "pixels": "0b"},
      "bad_samples": {"policy": "skip", "count": 1,
        "samples": [{"epoch": 0, "reason": "train-7: record at byte 21: damaged"}]},
      "warnings": ["the disk is slow"],
      "plugins": {"model/linear": {"version": "1.2.3", "sha256": "0123456789abcdef0123",
        "reports": {"cells": {"value": 64, "unit": "cells"}}}},
      "machine": {"host": "vm", "kernel": "Linux 6", "cpu": "EPYC", "cpus_online": 4,
        "cpus_usable": 2, "memory_bytes": 8589934592}})");
  }
  static constexpr const char* kSteps =
      R"({"step":0,"input_wait_ms":90,"submit_ms":5,"device_wait_ms":5,"images":32}
{"step":1,"input_wait_ms":6,"submit_ms":1,"device_wait_ms":1,"images":32}
{"step":2,"input_wait_ms":1,"submit_ms":1,"device_wait_ms":2,"images":32}
{"step":3,"input_wait_ms":14,"submit_ms":1,"device_wait_ms":1,"images":32}
)";
  static constexpr const char* kTrace = R"({"traceEvents":[
    {"ph":"X","pid":1,"tid":2,"name":"fetch","ts":1,"dur":9,"args":{"batch":0}},
    {"ph":"C","pid":1,"tid":2,"name":"host buffer: buffer","ts":1000,"args":{"value":1}},
    {"ph":"C","pid":1,"tid":2,"name":"host buffer: buffer","ts":2000,"args":{"value":4}}]})";

  /// A directory with everything that a run leaves.
  fs::path make_run(const std::string& name, const Json& result = good_result()) {
    write(name + "/result.json", result.dump());
    write(name + "/steps.jsonl", kSteps);
    write(name + "/resolved.toml", "[run]\nseed = 1\n[prefetcher]\nplugin = \"plain\"\n");
    write(name + "/trace.json", kTrace);
    return folder_.path() / name;
  }
  void write(const std::string& name, const std::string& contents) {
    folder_.write(name, contents);
  }

  static ParsedPage page(const std::vector<fs::path>& dirs,
                         const std::optional<Document>& comparison = std::nullopt) {
    std::vector<RunFiles> runs;
    for (const fs::path& dir : dirs) runs.push_back(read_run(dir));
    return ParsedPage(report_page(runs, comparison));
  }

  /// What reading the directory "run" fails with, its parent left out; or that it does not.
  std::string error(ExitCode code, const std::string& dir = "run") {
    try {
      read_run(folder_.path() / dir);
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), code);
      return testing_support::replaced(error.what(), folder_.path().string() + "/", "");
    }
    return "no error";
  }

  testing_support::TemporaryFolder folder_;
};

TEST_F(ReportTest, TheFiguresAreThoseOfTheResult) {
  const ParsedPage report = page({make_run("run")});
  EXPECT_THAT(report.row("Throughput, images/s"), ElementsAre("8,664"));
  EXPECT_THAT(report.row("Step, median, ms"), ElementsAre("0.410"));
  EXPECT_THAT(report.row("Step, p99, ms"), ElementsAre("17.4"));
  EXPECT_THAT(report.row("Input-bound, % of time"), ElementsAre("75.0"));
  EXPECT_THAT(report.row("CPU time, ms an image"), ElementsAre("0.187"));
  EXPECT_THAT(report.row("Peak memory, MiB"), ElementsAre("40.0"));
  EXPECT_THAT(report.row("Time to the first batch, s"), ElementsAre("0.0216"));
  EXPECT_THAT(report.row("Steps measured"), ElementsAre("3"));
  EXPECT_THAT(report.row("Held-out accuracy, last evaluation, %"), ElementsAre("63.4"));
  EXPECT_THAT(report.row("CPU time of the process, s"), ElementsAre("—")) << "not in this file";
  EXPECT_THAT(
      report.text_of_all(),
      AllOf(HasSubstr("input-bound: for 75 % of the time"), HasSubstr("the disk is slow"),
            HasSubstr("epoch 1: train-7: record at byte 21: damaged"),
            HasSubstr("vm, EPYC, 2 of 4 CPUs usable, 8.00 GiB memory"), HasSubstr("seed = 1")));
  EXPECT_THAT(report.row("model/linear"), ElementsAre("1.2.3", "0123456789ab", "cells 64 cells"));
}

TEST_F(ReportTest, TimeIsSplitIntoSharesOfTheWhole) {
  const ParsedPage report = page({make_run("run")});
  // 0.6 s of 0.8 s, over 3 steps.
  EXPECT_THAT(report.row("input wait"), ElementsAre("75.0 % 200 ms"));
  EXPECT_THAT(report.row("device wait"), ElementsAre("17.5 % 46.7 ms"));
  EXPECT_THAT(report.row("transform/decode"), ElementsAre("75.0 % 0.0300 ms"));
  const auto bars = report.with("rect", "bar");
  double read = 0, decode = 0;
  for (const auto& bar : bars) {
    if (bar.text.starts_with("read: ")) read = std::stod(bar.attributes.at("width"));
    if (bar.text.starts_with("decode: ")) decode = std::stod(bar.attributes.at("width"));
  }
  EXPECT_NEAR(decode, 3 * read, 0.2);
}

TEST_F(ReportTest, WarmUpIsLeftOutOfStepTimes) {
  const ParsedPage report = page({make_run("run")});
  // Without the first step of 100 ms: 4, 8 and 16 ms.
  EXPECT_THAT(report.texts("desc"),
              Contains(HasSubstr("half within 8.00 ms, 90 % in 14.4 ms, 99 % in 15.8 ms")));
  EXPECT_THAT(report.texts("desc"), Contains(HasSubstr("run A, small: 4 steps.")));
  EXPECT_THAT(report.texts("text"), Contains("warm-up ends"));
}

TEST_F(ReportTest, TheQueueIsDrawnFromTheTrace) {
  const ParsedPage report = page({make_run("run")});
  EXPECT_THAT(report.texts("h3"), Contains("Run A: depth of the queues over time"));
  EXPECT_THAT(report.texts("figcaption"), Contains("1: host buffer."));
}

TEST_F(ReportTest, ATraceOfAnotherProgramIsReadToo) {
  make_run("run");
  write("run/trace.json", R"([
    {"ph":"M","pid":7,"tid":3,"name":"thread_name","args":{"name":"loader"}},
    {"ph":"C","pid":7,"tid":3,"name":"depth","ts":10,"args":{"full":1,"empty":2}}])");
  const RunFiles run = read_run(folder_.path() / "run");
  ASSERT_THAT(*run.counters, SizeIs(2));
  EXPECT_EQ(run.counters->at(0).name, "depth");
  EXPECT_EQ(run.counters->at(0).track, "loader empty");
  EXPECT_DOUBLE_EQ(run.counters->at(0).samples.at(0).time_s, 1e-5);
}

TEST_F(ReportTest, RunsStandSideBySideUnderWhatDiffers) {
  const fs::path a = make_run("a");
  Json other = good_result();
  other["throughput"]["images_per_s"] = 12000;
  other["data"]["pixels"] = "0c";
  const fs::path b = make_run("b", other);
  write("b/resolved.toml", "[run]\nseed = 1\n[prefetcher]\nplugin = \"delay\"\ndelay = \"11ms\"\n");
  const fs::path c = make_run("c", other);
  const ParsedPage report = page({a, b, c});
  EXPECT_THAT(report.row("prefetcher.plugin"), ElementsAre("\"plain\"", "\"delay\"", "\"plain\""));
  EXPECT_THAT(report.row("prefetcher.delay"), ElementsAre("not set", "\"11ms\"", "not set"));
  EXPECT_THAT(report.row("run.seed"), ElementsAre("no row run.seed")) << "does not differ";
  EXPECT_THAT(report.row("Throughput, images/s"), ElementsAre("8,664", "12,000", "12,000"));
  EXPECT_THAT(report.text_of_all(),
              HasSubstr("the same samples in the same order, but not the same pixels"));
  // Never told by colour alone: each line has its letter.
  for (const char* letter : {"A", "B", "C"}) {
    EXPECT_THAT(report.texts("text"), Contains(letter));
  }
}

TEST_F(ReportTest, EightRunsAreAllDrawn) {
  std::vector<fs::path> dirs;
  for (std::size_t i = 0; i < kPaletteSize; ++i) dirs.push_back(make_run(std::to_string(i)));
  const ParsedPage report = page(dirs);
  EXPECT_THAT(report.row("Throughput, images/s"), SizeIs(8));
  EXPECT_THAT(report.with("path", "line s7"), SizeIs(testing::Ge(2u)));
  EXPECT_THAT(report.text_of_all(), HasSubstr("the same, key by key"));
}

TEST_F(ReportTest, WhateverFilesSayIsTextAndNoMarkup) {
  const std::string evil = "</title><script>alert('&')</script>\"\x01";
  Json result = good_result();
  result["verdict"] = evil;
  result["configuration"] = evil;
  result["warnings"] = {evil};
  result["bad_samples"]["samples"][0]["reason"] = evil;
  result["plugins"] = {{evil, {{"version", evil}, {"reports", {{evil, {{"value", 1}}}}}}}};
  result["input"]["worker_time"] = {{evil, {{"s", 1}, {"ms_per_image", 1}}}};
  result["machine"]["cpu"] = evil;
  const fs::path a = make_run("<b>\"&'\xff", result);
  const fs::path b = make_run("b");
  write("b/resolved.toml", "\"<script>\" = \"<script>\"\n");
  write("b/trace.json", R"([{"ph":"C","name":"<script>: <script>","ts":1,"args":{"value":1}}])");
  const ParsedPage report = page({a, b});
  EXPECT_THAT(report.texts("script"), IsEmpty());
  EXPECT_THAT(report.texts("b"), testing::Each(testing::MatchesRegex("[A-H]")));
  EXPECT_THAT(report.texts("p"), Contains("</title><script>alert('&')</script>\"\xef\xbf\xbd"))
      << "shown as it is";
}

TEST_F(ReportTest, ThePageNeedsNothingElse) {
  const ParsedPage report = page({make_run("a"), make_run("b")});
  for (const ParsedPage::Element& element : report.elements()) {
    for (const char* outside : {"script", "link", "img", "iframe", "object"}) {
      EXPECT_NE(element.tag, outside);
    }
    for (const char* name : {"src", "href", "xlink:href"}) {
      EXPECT_EQ(element.attributes.count(name), 0u) << element.tag;
    }
  }
  std::vector<RunFiles> runs = {read_run(folder_.path() / "a")};
  EXPECT_THAT(report_page(runs),
              AllOf(Not(HasSubstr("http")), Not(HasSubstr("url(")), Not(HasSubstr("@import"))));
}

TEST_F(ReportTest, ThePageCanBeReadWithoutSeeingIt) {
  const ParsedPage report = page({make_run("a"), make_run("b")});
  std::map<std::string, int> ids;
  for (const auto& element : report.elements()) {
    if (element.attributes.count("id") == 1) ++ids[element.attributes.at("id")];
  }
  for (const auto& element : report.elements()) {
    if (element.tag == "html") {
      EXPECT_EQ(element.attributes.at("lang"), "en");
    }
    if (element.tag == "th") {
      EXPECT_EQ(element.attributes.count("scope"), 1u) << element.text;
    }
    if (element.tag != "svg" || element.attributes.count("aria-hidden") == 1) continue;
    const std::string label = element.attributes.at("aria-labelledby");
    const std::size_t space = label.find(' ');
    EXPECT_EQ(ids[label.substr(0, space)], 1) << label;
    EXPECT_EQ(ids[label.substr(space + 1)], 1) << label;
  }
}

TEST_F(ReportTest, WhatIsMissingIsSaidToBe) {
  make_run("a");
  const fs::path b = make_run("b");
  for (const char* name : {"steps.jsonl", "resolved.toml", "trace.json"}) fs::remove(b / name);
  Json result = good_result();
  result.erase("data");
  write("b/result.json", result.dump());
  const ParsedPage report = page({folder_.path() / "a", b});
  const std::vector<std::string> sentences = report.texts("p");
  for (const char* sentence : {"Run B has no steps in steps.jsonl", "Run B has no resolved.toml",
                               "Run B has no trace.json", "Run B has no digest of the data"}) {
    EXPECT_THAT(sentences, Contains(StartsWith(sentence)));
  }
  const ParsedPage neither = page({b, b});
  EXPECT_THAT(neither.texts("p"), Contains(StartsWith("Runs A and B have no trace.json")));
  EXPECT_THAT(neither.with("path", "line"), SizeIs(2)) << "of the legend; nothing is drawn";
}

TEST_F(ReportTest, ARunWithinItsWarmUpHasNoFiguresInsteadOfZeros) {
  Json result = good_result();
  result["warmup_steps"] = 10;
  result["status"] = "failed";
  result["error"] = "train-7: cannot read";
  for (auto& [key, value] : result["throughput"].items()) {
    if (value.is_number()) value = 0;
  }
  const ParsedPage report = page({make_run("run", result)});
  EXPECT_THAT(report.row("Throughput, images/s"), ElementsAre("—"));
  EXPECT_THAT(report.row("Steps measured"), ElementsAre("0"));
  EXPECT_THAT(
      report.texts("p"),
      AllOf(Contains(StartsWith("No step times: every run ended within its warm-up")),
            Contains(StartsWith("Nothing was measured")),
            Contains(AllOf(StartsWith("Status: failed"), EndsWith("train-7: cannot read")))));
}

TEST_F(ReportTest, AComparisonIsShownWithItsVerdictAndItsNoise) {
  write("c.json", R"({"format": 1, "blocks": 12, "rule": {"text": "The rule."},
    "configurations": [{"label": "A", "file": "a.toml"}, {"label": "B", "file": "b<.toml"}],
    "comparisons": [{"configuration": "B", "verdict": "FASTER", "metrics": [
      {"metric": "images_per_s", "median_a": 1000, "median_b": 1070, "verdict": "FASTER",
       "gain": {"median": 1.0704, "low": 1.05, "high": 1.09},
       "a_against_a": {"median": 1, "low": 0.99, "high": 1.012}}]}],
    "warnings": ["the machine drifted"]})");
  const ParsedPage report = page({make_run("run")}, read_comparison(folder_.path() / "c.json"));
  EXPECT_THAT(report.texts("h3"), Contains("B against A: FASTER"));
  EXPECT_THAT(report.row("images_per_s"),
              ElementsAre("1,000", "1,070", "1.070 (1.050 to 1.090)", "0.990 to 1.012", "FASTER"));
  EXPECT_THAT(report.texts("p"),
              AllOf(Contains("Warning: the machine drifted"), Contains(EndsWith("The rule.")),
                    Contains(HasSubstr("12 blocks")), Contains(HasSubstr("B is b<.toml"))));
}

TEST_F(ReportTest, AComparisonThatIsNoneIsRefused) {
  write("c.json", R"({"format": 2})");
  write("d.json", R"({"format": 1})");
  EXPECT_THAT([&] { read_comparison(folder_.path() / "c.json"); },
              testing::ThrowsMessage<DataError>(
                  EndsWith("c.json: its format is 2, this program reads format 1")));
  EXPECT_THAT([&] { read_comparison(folder_.path() / "d.json"); },
              testing::ThrowsMessage<DataError>(HasSubstr("d.json: has no 'comparisons'")));
  EXPECT_THROW(read_comparison(folder_.path() / "e.json"), IoError);
}

TEST_F(ReportTest, ADirectoryThatIsNoRunIsRefused) {
  EXPECT_EQ(error(ExitCode::kIo),
            "run: cannot open as the directory of a run: No such file or directory");
  write("run", "a file");
  EXPECT_EQ(error(ExitCode::kIo), "run: cannot open as the directory of a run: Not a directory");
  write("empty/x", "");
  EXPECT_EQ(error(ExitCode::kIo, "empty"),
            "empty/result.json: cannot open; a run that has ended leaves it in its directory: No "
            "such file or directory");
  fs::create_directories(folder_.path() / "odd/result.json");
  EXPECT_EQ(error(ExitCode::kIo, "odd"), "odd/result.json: cannot read: Is a directory");
}

TEST_F(ReportTest, AnUnknownFormatIsRefused) {
  Json result = good_result();
  result["format"] = 7;
  make_run("run", result);
  EXPECT_EQ(error(ExitCode::kBadData),
            "run/result.json: its format is 7, this program reads format 1");
  write("run/result.json", "[]");
  EXPECT_EQ(error(ExitCode::kBadData),
            "run/result.json: its format is not given, this program reads format 1");
}

TEST_F(ReportTest, DamageIsNamedWithFileAndPlace) {
  make_run("run");
  write("run/steps.jsonl", std::string(kSteps) + "{\"step\":4,\"inp");
  EXPECT_THAT(error(ExitCode::kBadData),
              StartsWith("run/steps.jsonl:5: is not JSON, or damaged: parse error at line 1"));
  write("run/steps.jsonl", "{\"submit_ms\":1}\n");
  EXPECT_EQ(error(ExitCode::kBadData), "run/steps.jsonl:1: a step must have 'input_wait_ms'");
  make_run("run");
  write("run/trace.json", "[{\"ph\":\"C\"}]");
  EXPECT_THAT(error(ExitCode::kBadData),
              StartsWith("run/trace.json: is not a trace in Chrome's format, or damaged: "));
  write("run/trace.json", "[[]]");
  EXPECT_THAT(error(ExitCode::kBadData), StartsWith("run/trace.json: is not a trace"));
  write("run/result.json", "{\"format\": 1,");
  EXPECT_THAT(error(ExitCode::kBadData),
              StartsWith("run/result.json: is not JSON, or damaged: parse error at line 1"));
}

TEST_F(ReportTest, AValueOfAnotherTypeIsNamed) {
  Json result = good_result();
  result["throughput"]["images_per_s"] = "many";
  const fs::path run = make_run("run", result);
  EXPECT_THAT([&] { page({run}); },
              testing::ThrowsMessage<DataError>(EndsWith(
                  "run/result.json: /throughput/images_per_s is string, must be a number")));
  result = good_result();
  result["warnings"] = "none";
  make_run("run", result);
  EXPECT_THAT([&] { page({run}); }, testing::ThrowsMessage<DataError>(EndsWith(
                                        "run/result.json: /warnings is string, must be array")));
}

/// The verb as a user meets it.
class ReportVerbTest : public ReportTest {
 protected:
  /// The exit code of `slackline report <arguments>`, words of a shell.
  int report(const std::string& arguments) {
    const std::string command = "cd '" + folder_.path().string() + "' && '" +
                                SLACKLINE_TEST_BINARY_DIR "/bin/slackline' report " + arguments +
                                " >out 2>err </dev/null";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream in(folder_.path() / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

TEST_F(ReportVerbTest, ThePageGoesIntoTheFirstDirectory) {
  make_run("a");
  make_run("b");
  EXPECT_EQ(report("a b"), 0) << read("err");
  EXPECT_EQ(read("out"), "report      a/report.html\n");
  EXPECT_THAT(ParsedPage(read("a/report.html")).texts("h1"), ElementsAre("Report of 2 runs"));
  EXPECT_FALSE(fs::exists(folder_.path() / "b/report.html"));
}

TEST_F(ReportVerbTest, ThePageGoesWhereItIsAskedTo) {
  make_run("a");
  EXPECT_EQ(report("a --out x.html"), 0);
  EXPECT_THAT(ParsedPage(read("x.html")).texts("h1"), ElementsAre("Report of a run"));
  EXPECT_EQ(report("a --out nowhere/x.html"), 74);
  EXPECT_THAT(read("err"), AllOf(StartsWith("slackline: nowhere/"), HasSubstr("cannot open")));
}

TEST_F(ReportVerbTest, ErrorsDecideTheExitCode) {
  make_run("a");
  EXPECT_EQ(report(""), 64);
  EXPECT_EQ(report("a a a a a a a a a"), 64) << "nine cannot be told apart";
  EXPECT_EQ(report("none"), 74);
  write("a/result.json", "{");
  EXPECT_EQ(report("a"), 65);
  EXPECT_FALSE(fs::exists(folder_.path() / "a/report.html"));
}

}  // namespace
}  // namespace slackline::app
