#pragma once

#include <slackline/config.h>
#include <slackline/error.h>
#include <slackline/file_ops.h>
#include <slackline/metrics.h>
#include <slackline/ranks.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <ostream>
#include <stop_token>
#include <vector>

namespace slackline {

/// What surrounds a run.
struct RunControl {
  std::ostream& out;           ///< progress and the verdict
  bool is_terminal = false;    ///< a progress line that overwrites itself, or plain lines
  std::stop_token stop;        ///< when requested, the run ends after the step it is in
  std::filesystem::path dir;   ///< instead of [run] dir, if not empty
  bool resume = false;         ///< go on with the run in `dir`
  bool resume_anyway = false;  ///< also if the configuration now is that of another training
  FileOps& files = system_file_ops();
};

/// Loss and accuracy over a whole held-out set.
struct SLACKLINE_API Evaluation {
  std::uint32_t epochs_trained = 0;
  StepSums sums;
  double wall_s = 0;

  [[nodiscard]] double loss() const;            ///< as SampleMeans
  [[nodiscard]] double accuracy() const;        ///< 0..1
  [[nodiscard]] double accuracy_top_5() const;  ///< 0..1
};

/// What a run came to. The whole of it is in the run directory's result.json.
struct RunOutcome {
  ExitCode exit_code = ExitCode::kOk;
  std::int32_t rank = 0;      ///< of this process
  std::filesystem::path dir;  ///< of this rank's results
  std::uint64_t steps = 0;    ///< trained in all, those of a resumed run included
  Throughput throughput;      ///< without the warm-up
  std::vector<Evaluation> evaluations;
  bool is_resumable = false;  ///< there is a checkpoint of its last step
};

/// Makes every object that run() would make, connects nothing and trains nothing. Throws one
/// ConfigError that lists everything that is wrong.
SLACKLINE_API void check(const Config& config);

/// Which process of a run of this configuration this one is, and how many it wants. If it is none
/// of them, run() refuses it.
[[nodiscard]] SLACKLINE_API RankPlan planned_ranks(const Config& config);

/// Trains as the configuration says and writes resolved.toml, steps.jsonl, result.json and, with a
/// table [checkpoint], checkpoints into the run directory. An error in mid-run is written there
/// too, and thrown.
///
/// Of several processes, rank 0 prints, saves and writes the results of all into the directory;
/// each other one writes its own steps.jsonl and result.json into `rank-N` in it. Whatever fails at
/// one rank ends all.
///
/// With control.resume it goes on from the newest good checkpoint in control.dir: the same samples
/// in the same order, and the same losses to the bit, as if there had been no interruption.
SLACKLINE_API RunOutcome run(const Config& config, RunControl& control);

}  // namespace slackline
