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

}  // namespace slackline
