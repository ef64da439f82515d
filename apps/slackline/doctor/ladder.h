#pragma once

// The measured runs of `slackline doctor`: one configuration, with its input replaced step by step.

#include <slackline/error.h>

#include <array>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "compare/comparison.h"
#include "diagnosis.h"
#include "source_files.h"

namespace slackline::app {

/// How much of the input is real, from none to all.
enum class RungKind { kDevice, kBatches, kRecords, kWarm, kCold };

struct RungKindInfo {
  RungKind kind;
  const char* name;    ///< in the table
  const char* key;     ///< in the JSON, and as a directory
  const char* replay;  ///< value of [input] replay
  const char* what;    ///< what of the input is real
};
inline constexpr std::array<RungKindInfo, 5> kRungs = {{
    {RungKind::kDevice, "device alone", "device", "device", "nothing: batches are on the device"},
    {RungKind::kBatches, "decoded in RAM", "batches", "batches", "prefetch and upload"},
    {RungKind::kRecords, "bytes in RAM", "records", "records", "all but reading"},
    {RungKind::kWarm, "warm disk", "warm", "off", "everything; files are in the page cache"},
    {RungKind::kCold, "cold disk", "cold", "off", "everything; files are on the disk alone"},
}};

/// What is to be measured.
struct LadderPlan {
  std::string file;
  std::vector<std::string> set;  ///< "path=TOML" of each --set
  long batch_size = 1;           ///< samples a step
  long replay_records = 1;       ///< that the configuration allows to keep in memory
  int rounds = 5;
  double seconds = 2;         ///< that the measured steps of a run should take
  std::filesystem::path dir;  ///< exists; each run gets a directory in it
};

/// One process.
struct LadderRun {
  int round = 0;  ///< from 0
  std::filesystem::path dir;
  nlohmann::ordered_json result;  ///< its result.json

  [[nodiscard]] double images_per_s() const;
  [[nodiscard]] double step_ms() const;  ///< mean of the measured steps
};

/// One rung.
struct Rung {
  RungKindInfo info;
  std::string not_measured;  ///< why; empty if it was
  long steps = 0;            ///< measured ones, in each run
  std::vector<LadderRun> runs;

  [[nodiscard]] bool is_measured() const { return not_measured.empty(); }
  /// The run whose step time is the median: one that really was, so that its parts add up. With an
  /// even number of runs the faster one of the middle. There must be one.
  [[nodiscard]] const LadderRun& middle() const;
  /// Median of the rounds' images/s with its 95 % bootstrap interval.
  [[nodiscard]] MedianInterval images_per_s() const;
};

/// All that was measured.
struct Ladder {
  std::vector<Rung> rungs;  ///< as kRungs
  /// kOk, or why the measuring ended early; then `problem` says it in words.
  ExitCode exit_code = ExitCode::kOk;
  std::string problem;
};

/// Chooses the number of steps by a short trial of each rung, then runs the rungs in turn, in every
/// other round from the last to the first; progress goes to `progress`. SIGINT and SIGTERM end it
/// (kInterrupted). Throws IoError if a process cannot be started or its results cannot be read.
/// Only in a program with one thread.
[[nodiscard]] Ladder climb(const LadderPlan& plan, const SourceFiles& files,
                           std::ostream& progress);

/// The plugins whose reports the analysis reads, by id ("source/tfrecord").
struct ReportingPlugins {
  std::string source, decoder, strategy;
};

/// What the analysis needs of the rung `full`, beside the one whose input is free: from the middle
/// run of each.
[[nodiscard]] Measured measured_of(const ReportingPlugins& plugins, const Rung& device,
                                   const Rung& full);

}  // namespace slackline::app
