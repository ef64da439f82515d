#pragma once

// How all processes of a run begin from the same state.

#include <slackline/checkpoint.h>
#include <slackline/config.h>
#include <slackline/model.h>
#include <slackline/ranks.h>

#include <filesystem>
#include <string>

namespace slackline {

/// What all ranks must agree on: a digest of the resolved configuration and of this version.
[[nodiscard]] std::string digest_of(const Config& config);

/// Where every rank goes on from.
struct RankStart {
  std::filesystem::path dir;  ///< of the run
  TrainingState state;
};

/// Puts rank 0's directory, state and tensors in place of the others': replicas that were made, or
/// read from files, on different machines begin with the same bits. A call of all ranks.
void share_start(Ranks& ranks, RankStart& start, TensorStore& store);

/// What rank 0 tells of each rank at the end of a run.
struct RankSummary {
  double input_wait_s = 0;        ///< of its own input, over the measured steps
  double rank_wait_s = 0;         ///< for other ranks' input, likewise
  double input_cpu_s = 0;         ///< of its workers, likewise
  double measured_cpu_s = 0;      ///< of the process, likewise
  std::uint64_t images = 0;       ///< trained on, likewise
  std::uint64_t left_out = 0;     ///< samples, as other shards were shorter
  std::uint64_t bad_samples = 0;  ///< in the whole run
  std::uint64_t peak_memory_bytes = 0;
};

}  // namespace slackline
