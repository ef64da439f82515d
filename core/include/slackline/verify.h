#pragma once

#include <slackline/export.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace slackline {

/// What samples a step or a run trained on: digests as in steps.jsonl and result.json.
struct DataDigests {
  std::int64_t samples = 0;
  std::string order;   ///< of ids, epochs and labels; 16 hexadecimal digits
  std::string pixels;  ///< of the pixels, after all transforms

  bool operator==(const DataDigests&) const = default;
};

/// What a run directory tells about the data of the run.
struct RunData {
  struct Step {
    std::uint64_t step = 0;
    std::uint32_t epoch = 0;
    double loss = 0;  ///< NaN where it was not finite
    DataDigests data;
  };

  std::string name;         ///< the directory, as it was given
  std::vector<Step> steps;  ///< one after another, from wherever the run began
  DataDigests whole;
  std::string resolved_toml;
};

/// Reads steps.jsonl, result.json and resolved.toml. Throws IoError for a file that cannot be read
/// and DataError for a damaged one, naming file and line.
[[nodiscard]] SLACKLINE_API RunData read_run_data(const std::filesystem::path& dir);

enum class DataVerdict {
  kIdentical,
  kPrefix,     ///< identical as far as one of them goes; the other one goes on
  kDifferent,  ///< or cannot be said to be identical
};

/// Whether two runs trained on the same data, in words for people.
struct DataComparison {
  DataVerdict verdict = DataVerdict::kDifferent;
  std::string text;  ///< lines; losses and configurations too, which the verdict ignores
};

/// Compares step by step. Where steps have other sizes, as with another batch size, only the whole
/// runs can be compared. Throws DataError if a resolved.toml is damaged.
[[nodiscard]] SLACKLINE_API DataComparison compare_data(const RunData& a, const RunData& b);

}  // namespace slackline
