#include "run_files.h"

#include <slackline/error.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>

namespace slackline::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Nothing if the file does not exist.
std::optional<std::string> contents_if_there(const fs::path& file) {
  std::error_code failed;
  const fs::file_status status = fs::status(file, failed);
  if (status.type() == fs::file_type::not_found) return std::nullopt;
  // A directory can be opened like a file, but not read.
  if (fs::is_directory(status)) throw IoError(text(file.string(), ": cannot read"), EISDIR);
  std::ifstream in(file, std::ios::binary);
  if (!in) throw IoError(text(file.string(), ": cannot open"), errno);
  std::string contents{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) throw IoError(text(file.string(), ": cannot read"), EIO);
  return contents;
}

/// What nlohmann's message says after "at line 1, column 7: ".
std::string reason_of(const Json::exception& error) {
  const std::string what = error.what();
  const std::size_t bracket = what.find("] ");
  return bracket == std::string::npos ? what : what.substr(bracket + 2);
}

Json parsed(const std::string& contents, const std::string& place) {
  try {
    return Json::parse(contents);
  } catch (const Json::exception& error) {
    throw DataError(text(place, ": is not JSON, or damaged: ", reason_of(error)));
  }
}

void check_format(const Document& document, int known) {
  const std::optional<double> format = document.number("/format");
  if (format == known) return;
  throw DataError(text(document.file.string(), ": its format is ",
                       format ? text(*format) : "not given", ", this program reads format ",
                       known));
}

std::vector<Step> steps_of(const std::string& contents, const fs::path& file) {
  std::vector<Step> steps;
  std::size_t line_number = 0;
  for (std::size_t at = 0; at < contents.size();) {
    const std::size_t end = std::min(contents.find('\n', at), contents.size());
    const std::string place = text(file.string(), ":", ++line_number);
    const Document line{place, parsed(contents.substr(at, end - at), place)};
    const auto value = [&](const std::string& key) {
      const std::optional<double> number = line.number("/" + key);
      if (!number.has_value()) throw DataError(text(place, ": a step must have '", key, "'"));
      return *number;
    };
    steps.push_back(
        {value("input_wait_ms"), value("submit_ms"), value("device_wait_ms"), value("images")});
    at = end + 1;
  }
  return steps;
}

/// The counter events ("ph": "C") of a trace in Chrome's format. Source of the format: "Trace Event
/// Format", Google, 2016:
/// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKc\ hNAySU. A trace is an
/// array of events, or an object that has one as "traceEvents".
std::vector<Counter> counters_of(const std::string& contents, const fs::path& file) {
  // A trace is mostly spans: they are dropped while it is read, so that it fits into memory.
  const auto keep = [](int, Json::parse_event_t event, Json& value) {
    if (event != Json::parse_event_t::object_end || !value.contains("ph")) return true;
    return value["ph"] == "C" || value["ph"] == "M";
  };
  Document trace{file, {}};
  try {
    trace.json = Json::parse(contents, keep);
    if (trace.json.is_object()) {
      Json events = trace.json.at("traceEvents");
      trace.json = std::move(events);
    }
    std::map<std::pair<Json, Json>, std::string> threads;
    std::map<std::pair<std::string, std::string>, Counter> counters;
    for (const Json& event : trace.json) {
      if (event.value("name", "") == "thread_name") {
        threads[{event.value("pid", Json()), event.value("tid", Json())}] =
            event.at("args").at("name").get<std::string>();
      }
    }
    for (const Json& event : trace.json) {
      if (event.value("ph", "") != "C") continue;
      // Our traces name a counter "track: quantity"; others leave the track to the thread.
      const std::string full_name = event.at("name").get<std::string>();
      const std::size_t colon = full_name.rfind(": ");
      const bool is_ours = colon != std::string::npos;
      const auto thread = threads.find({event.value("pid", Json()), event.value("tid", Json())});
      const std::string of_thread = thread == threads.end() ? "" : thread->second;
      const std::string name = is_ours ? full_name.substr(colon + 2) : full_name;
      for (const auto& [key, value] : event.at("args").items()) {
        std::string track = is_ours ? full_name.substr(0, colon) : of_thread;
        if (event.at("args").size() > 1 || track.empty()) track += (track.empty() ? "" : " ") + key;
        Counter& counter = counters[{name, track}];
        counter.name = name;
        counter.track = track;
        // Trace times are in microseconds.
        counter.samples.push_back({event.at("ts").get<double>() * 1e-6, value.get<double>()});
      }
    }
    std::vector<Counter> out;
    out.reserve(counters.size());
    for (auto& [key, counter] : counters) out.push_back(std::move(counter));
    for (Counter& counter : out) {
      std::ranges::stable_sort(counter.samples, {}, &Counter::Sample::time_s);
    }
    return out;
  } catch (const Json::exception& error) {
    throw DataError(
        text(file.string(), ": is not a trace in Chrome's format, or damaged: ", reason_of(error)));
  }
}

}  // namespace

const Json& Document::at(const std::string& pointer, nlohmann::json::value_t type) const {
  static const Json kNothing;
  const Json::json_pointer place(pointer);
  if (!json.contains(place) || json[place].is_null()) return kNothing;
  const Json& value = json[place];
  if (value.type() != type) {
    throw DataError(text(file.string(), ": ", pointer, " is ", value.type_name(), ", must be ",
                         Json(type).type_name()));
  }
  return value;
}

std::optional<double> Document::number(const std::string& pointer) const {
  const Json::json_pointer place(pointer);
  if (!json.contains(place) || json[place].is_null()) return std::nullopt;
  if (!json[place].is_number()) {
    throw DataError(
        text(file.string(), ": ", pointer, " is ", json[place].type_name(), ", must be a number"));
  }
  return json[place].get<double>();
}

std::optional<std::string> Document::string(const std::string& pointer) const {
  const Json& value = at(pointer, Json::value_t::string);
  if (value.is_null()) return std::nullopt;
  return value.get<std::string>();
}

Document read_comparison(const fs::path& file) {
  const std::optional<std::string> contents = contents_if_there(file);
  if (!contents.has_value()) throw IoError(text(file.string(), ": cannot open"), ENOENT);
  Document comparison{file, parsed(*contents, file.string())};
  check_format(comparison, kComparisonFormat);
  if (comparison.at("/comparisons", Json::value_t::array).is_null()) {
    throw DataError(
        text(file.string(), ": has no 'comparisons', as what slackline compare --json writes has"));
  }
  return comparison;
}

RunFiles read_run(const fs::path& dir) {
  std::error_code failed;
  if (!fs::is_directory(fs::status(dir, failed))) {
    throw IoError(text(dir.string(), ": cannot open as the directory of a run"),
                  failed ? failed.value() : ENOTDIR);
  }
  const fs::path result = dir / "result.json";
  const std::optional<std::string> result_contents = contents_if_there(result);
  if (!result_contents.has_value()) {
    throw IoError(
        text(result.string(), ": cannot open; a run that has ended leaves it in its directory"),
        ENOENT);
  }
  RunFiles run{.dir = dir, .result = {result, parsed(*result_contents, result.string())}};
  check_format(run.result, kResultFormat);
  if (const auto contents = contents_if_there(dir / "steps.jsonl")) {
    run.steps = steps_of(*contents, dir / "steps.jsonl");
  }
  run.resolved_toml = contents_if_there(dir / "resolved.toml");
  if (const auto contents = contents_if_there(dir / "trace.json")) {
    run.counters = counters_of(*contents, dir / "trace.json");
  }
  return run;
}

}  // namespace slackline::app
