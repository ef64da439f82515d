#pragma once

// How a run goes on from a checkpoint of its directory.

#include <slackline/checkpoint.h>
#include <slackline/config.h>
#include <slackline/run.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "assembly.h"

namespace slackline {

/// Takes the newest good checkpoint in control.dir: gives its tensors to the strategy, cuts
/// steps.jsonl to the steps that it counts, and returns the rest of it. Damaged checkpoints that
/// would have been newer are set aside as `*.damaged`, with a warning for each.
///
/// Throws IoError if there is no checkpoint; DataError if none is good, if its tensors are not
/// those of the model, or if steps.jsonl has fewer lines; ConfigError, naming the keys, if `config`
/// would not go on with the same data and the same training, unless control.resume_anyway. How it
/// is fed, measured and logged may change: workers, prefetcher, strategy, checkpoints, and the
/// number of steps and epochs unless the learning rates depend on it. On any of these errors
/// nothing in the directory was touched. The number of ranks must stay, as each goes on with its
/// shard.
[[nodiscard]] TrainingState resume(const Config& config, const RunControl& control, Assembly& parts,
                                   TensorStore& store);

/// "\n  key: value then, value now" for each key that may not change but did.
[[nodiscard]] std::string training_differences(const std::string& toml_then, const Config& now);

}  // namespace slackline
