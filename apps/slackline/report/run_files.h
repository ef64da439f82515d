#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace slackline::app {

/// A JSON document together with the file that it is from, which errors name.
///
/// Threads    any: it is only read.
/// Errors     DataError, naming file and place, if a value is there but of another type.
class Document {
 public:
  /// `pointer`s are JSON pointers: "/throughput/images_per_s". Nothing if the value is not there
  /// or null.
  [[nodiscard]] std::optional<double> number(const std::string& pointer) const;
  [[nodiscard]] std::optional<std::string> string(const std::string& pointer) const;
  /// Members of an object, or elements of an array: null if it is not there.
  [[nodiscard]] const nlohmann::ordered_json& at(const std::string& pointer,
                                                 nlohmann::json::value_t type) const;

  std::filesystem::path file;
  nlohmann::ordered_json json;
};

/// Reads what `slackline compare --json` wrote. IoError if it cannot be opened, DataError if it is
/// no JSON, damaged, or of an unknown format.
Document read_comparison(const std::filesystem::path& file);

/// One line of steps.jsonl.
struct Step {
  double input_wait_ms = 0, submit_ms = 0, device_wait_ms = 0;
  double images = 0;

  [[nodiscard]] double total_ms() const { return input_wait_ms + submit_ms + device_wait_ms; }
};

/// A quantity over the time of the run, from trace.json: it has a value until the next one.
struct Counter {
  struct Sample {
    double time_s = 0;
    double value = 0;
  };
  std::string name;   ///< of the quantity: "buffer"
  std::string track;  ///< whose it is: "device 0"
  std::vector<Sample> samples;
};

/// What a run left in its directory. Only result.json must be there.
struct RunFiles {
  std::filesystem::path dir;
  Document result;
  std::optional<std::vector<Step>> steps = {};        ///< nothing: no steps.jsonl
  std::optional<std::string> resolved_toml = {};      ///< nothing: no resolved.toml
  std::optional<std::vector<Counter>> counters = {};  ///< nothing: no trace.json
};

/// The formats of result.json and of a comparison that this program reads.
inline constexpr int kResultFormat = 1, kComparisonFormat = 1;

/// Reads the directory of a run.
///
/// Errors     IoError if there is no such directory, no result.json in it, or a file that is there
///            cannot be read; DataError, naming file and line or byte, for damaged contents or an
///            unknown format.
RunFiles read_run(const std::filesystem::path& dir);

}  // namespace slackline::app
