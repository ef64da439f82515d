#pragma once

// What a run needs to go on where it was stopped: state.json in its directory.

#include <slackline/config.h>
#include <slackline/file_ops.h>

#include <filesystem>

#include "training.h"

namespace slackline {

void write_state(FileOps& files, const std::filesystem::path& dir, const TrainingState& state);

/// Throws IoError if there is none, which is so if the run was killed, and DataError, naming the
/// file, if it makes no sense.
[[nodiscard]] TrainingState read_state(const std::filesystem::path& dir);

/// Throws ConfigError, naming the keys, if `config` would not go on with the same data and the same
/// training as the run in `dir`. How it is fed and measured may change: workers, prefetcher,
/// strategy, number of steps and epochs unless the learning rates depend on it.
void check_same_training(const Config& config, const std::filesystem::path& dir);

/// Leaves the first `steps` lines of the run's steps.jsonl. DataError if there are fewer.
void cut_step_lines(FileOps& files, const std::filesystem::path& dir, std::uint64_t steps);

}  // namespace slackline
