#pragma once

#include <slackline/batch.h>
#include <slackline/digest.h>
#include <slackline/export.h>
#include <slackline/file_ops.h>
#include <slackline/model.h>
#include <slackline/safetensors.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace slackline {

// A checkpoint is one safetensors file: the model's tensors, and in its metadata what else a run
// needs to go on. docs/checkpoints.md has the format and what is guaranteed.

/// How far a run has come: with the tensors, enough to go on from there.
struct TrainingState {
  std::uint64_t steps = 0;          ///< trained
  std::uint32_t epoch = 0;          ///< of the last of them
  std::int64_t batch_in_epoch = 0;  ///< steps of that epoch
  DataPosition position;            ///< of the data behind it
  /// The same for each rank's shard, if the run has several; `position` is then this rank's.
  std::vector<DataPosition> rank_positions;
  BatchDigest digest;                            ///< of all samples so far
  StepSums epoch_sums;                           ///< of the steps of that epoch
  std::optional<std::uint64_t> steps_per_epoch;  ///< where one has ended
};

/// What a checkpoint says beside the tensors.
struct CheckpointInfo {
  TrainingState training;
  std::int64_t seed = 0;
  std::string configuration;  ///< its name
  std::string toml;           ///< all of it, as in resolved.toml
  std::string version;        ///< of the slackline that wrote it
  std::string written_at;     ///< UTC, ISO 8601
};

/// A checkpoint that has been read through: format, layout and checksum are good.
///
/// Threads    one caller at a time.
class SLACKLINE_API Checkpoint {
 public:
  /// Throws IoError if it cannot be read, and DataError, naming file and reason, if any byte of it
  /// is not as it was written.
  explicit Checkpoint(const std::filesystem::path& file);

  [[nodiscard]] const CheckpointInfo& info() const { return info_; }
  [[nodiscard]] const SafetensorsFile& file() const { return file_; }

  /// Throws DataError that names all tensors that `store` or this lacks, or that have other shapes.
  void check_tensors(const TensorStore& store) const;
  /// Writes parameters, statistics and slots into `store`, to the bit as they were saved. The same
  /// error, and then nothing was written.
  void restore(TensorStore& store) const;

 private:
  SafetensorsFile file_;
  CheckpointInfo info_;
};

/// The checkpoints of a run: `checkpoints/step-000000123.safetensors` in its directory.
///
/// Threads    one caller.
/// Errors     IoError. Whatever it is, the checkpoints that were acknowledged, by a save() that
///            returned, are still there, but for those that `keep` allows to go.
class SLACKLINE_API CheckpointFolder {
 public:
  /// Makes the folder, and removes what a killed run left half written. `lines` is the run's
  /// steps.jsonl: a checkpoint that counts its lines is never there without them.
  CheckpointFolder(FileOps& files, const std::filesystem::path& run_dir, std::int32_t keep,
                   LineFile& lines);

  /// Writes one, and then removes all but the newest `keep`. When it returns, the checkpoint
  /// survives a loss of power. With no step in flight.
  void save(const CheckpointInfo& info, TensorStore& store);

 private:
  FileOps& files_;
  const std::filesystem::path folder_;
  const std::size_t keep_;
  LineFile& lines_;
  std::vector<std::filesystem::path> saved_;  ///< oldest first
  std::vector<float> values_;                 ///< of one tensor at a time
};

/// A file that is no good, and why.
struct DamagedCheckpoint {
  std::filesystem::path file;
  std::string reason;
};

struct FoundCheckpoint {
  std::optional<Checkpoint> checkpoint;    ///< nothing if there is no good one
  std::vector<DamagedCheckpoint> damaged;  ///< that would have been newer, newest first
};

/// The files of a run's checkpoints, newest first; none if it has no folder of them.
[[nodiscard]] SLACKLINE_API std::vector<std::filesystem::path> checkpoint_files(
    const std::filesystem::path& run_dir);

/// Throws IoError if the folder cannot be listed.
[[nodiscard]] SLACKLINE_API FoundCheckpoint newest_checkpoint(const std::filesystem::path& run_dir);

/// Sets parameters and statistics by name from any safetensors file that has them, for instance
/// torchvision's; with a checksum, that is checked. DataError that names all tensors that are
/// missing, have other shapes, or belong to no tensor of `store` and are of no known kind
/// (`*.num_batches_tracked`, `slackline.*`); then nothing was written. IoError.
SLACKLINE_API void load_weights(const std::filesystem::path& file, TensorStore& store);

/// The same, without writing.
SLACKLINE_API void check_weights(const std::filesystem::path& file, const TensorStore& store);

}  // namespace slackline
