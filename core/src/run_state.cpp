#include "run_state.h"

#include <slackline/config_diff.h>
#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "hex.h"
#include "learning_rate.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr const char* kStateFile = "state.json";

std::string read_file(const fs::path& file, const char* what) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw IoError(text(file.string(), ": cannot read ", what), errno);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Whether another value of the key would change the learning rates.
bool is_length_of_schedule(std::string_view key, const Config& config) {
  return depends_on_run_length(config.optimizer) &&
         (key == "run.steps" || (key == "run.epochs" && config.run.steps == 0));
}

/// Keys that may differ between a run and its continuation, which is configured by `config`.
bool may_change(std::string_view key, const Config& config) {
  static constexpr std::array<std::string_view, 3> kKeys = {"input.workers", "input.batches_ahead",
                                                            "input.private_threads"};
  static constexpr std::array<std::string_view, 3> kTables = {"prefetcher.", "strategy.",
                                                              "metrics."};
  if (is_length_of_schedule(key, config)) return false;
  if (key.starts_with("run.")) return key != "run.seed";
  return std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end() ||
         std::any_of(kTables.begin(), kTables.end(),
                     [&](std::string_view table) { return key.starts_with(table); });
}

}  // namespace

void write_state(FileOps& files, const fs::path& dir, const TrainingState& state) {
  const Json json = {
      {"format", kFormat},
      {"steps", state.steps},
      {"epoch", state.epoch},
      {"position", {{"epoch", state.position.epoch}, {"records", state.position.records}}},
      {"data",
       {{"samples", state.digest.order.length()},
        {"order", hex(state.digest.order.value())},
        {"pixels", hex(state.digest.pixels.value())}}}};
  write_atomically(files, dir / kStateFile, json.dump(2) + "\n");
}

TrainingState read_state(const fs::path& dir) {
  const fs::path file = dir / kStateFile;
  if (!fs::exists(file)) {
    throw IoError(text(dir.string(), ": cannot be resumed: it has no ", kStateFile,
                       ", which a run writes when it ends in order"),
                  ENOENT);
  }
  const std::string contents = read_file(file, "the state of the run");
  try {
    const Json json = Json::parse(contents);
    if (json.at("format") != kFormat) {
      throw DataError(text(file.string(), ": format ", json.at("format").dump(),
                           ", and this version reads ", kFormat));
    }
    const Json& data = json.at("data");
    const auto samples = data.at("samples").get<std::uint64_t>();
    const auto digest = [&](const char* name) {
      return SequenceDigest(from_hex(data.at(name).get<std::string>()), samples);
    };
    return {.steps = json.at("steps").get<std::uint64_t>(),
            .epoch = json.at("epoch").get<std::uint32_t>(),
            .position = {.epoch = json.at("position").at("epoch").get<std::uint32_t>(),
                         .records = json.at("position").at("records").get<std::uint64_t>()},
            .digest = {.order = digest("order"), .pixels = digest("pixels")}};
  } catch (const Json::exception& error) {
    throw DataError(text(file.string(), ": not a run's state: ", error.what()));
  } catch (const std::invalid_argument& error) {
    throw DataError(text(file.string(), ": not a run's state: ", error.what()));
  }
}

void check_same_training(const Config& config, const fs::path& dir) {
  const fs::path file = dir / "resolved.toml";
  const std::string before = read_file(file, "the configuration of the run to resume");
  std::string message;
  bool changes_rates = false;
  for (const ConfigDifference& difference : config_diff(before, config.to_toml(false))) {
    if (may_change(difference.key, config)) continue;
    message += text("\n  ", difference.key, ": ", difference.a.value_or("not set"), " then, ",
                    difference.b.value_or("not set"), " now");
    changes_rates |= is_length_of_schedule(difference.key, config);
  }
  if (changes_rates) {
    message +=
        "\n(the learning rates depend on how long the run is, as [optimizer] schedule_steps is 0)";
  }
  if (message.empty()) return;
  throw ConfigError("resume",
                    text(dir.string(), ": cannot be resumed with another configuration:", message));
}

void cut_step_lines(FileOps& files, const fs::path& dir, std::uint64_t steps) {
  const fs::path file = dir / "steps.jsonl";
  const std::string contents = read_file(file, "the steps of the run to resume");
  std::size_t end = 0;
  for (std::uint64_t i = 0; i < steps; ++i) {
    end = contents.find('\n', end);
    if (end == std::string::npos) {
      throw DataError(text(file.string(), ": has ", i, " lines, and ", steps,
                           " steps were trained: it is not whole"));
    }
    ++end;
  }
  if (end != contents.size()) {
    write_atomically(files, file, std::string_view(contents).substr(0, end));
  }
}

}  // namespace slackline
