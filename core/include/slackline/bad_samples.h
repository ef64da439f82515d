#pragma once

#include <slackline/export.h>
#include <slackline/run_options.h>

#include <cstdint>
#include <string>
#include <vector>

namespace slackline {

/// A record that could not become a sample, and what was done about it.
struct BadSample {
  std::uint32_t epoch = 0;
  std::string file;          ///< empty if the source could not say
  std::uint64_t offset = 0;  ///< of its frame in `file`, in bytes
  std::string key;           ///< part of the record at fault; empty if no single one is
  std::string reason;        ///< file, place and what is wrong, in one line
};

/// The account of bad samples of a run, in the order of the data.
///
/// Threads    one caller at a time.
class SLACKLINE_API BadSampleAccount {
 public:
  /// `limit` is the largest number allowed, 0 for any.
  BadSampleAccount(BadSamplePolicy policy, std::int64_t limit) : policy_(policy), limit_(limit) {}

  [[nodiscard]] BadSamplePolicy policy() const noexcept { return policy_; }
  [[nodiscard]] const std::vector<BadSample>& all() const noexcept { return samples_; }

  /// Adds one. Throws DataError if the policy is kFail or there are now more than the limit.
  void add(BadSample sample);

 private:
  BadSamplePolicy policy_;
  std::int64_t limit_;
  std::vector<BadSample> samples_;
};

/// "fail", "skip", "substitute".
SLACKLINE_API const char* name_of(BadSamplePolicy policy) noexcept;

}  // namespace slackline
