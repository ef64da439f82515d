#pragma once

// The steps of a run of one or several processes: all of them take each step, or none does.

#include <slackline/batch.h>
#include <slackline/clock.h>
#include <slackline/ranks.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <vector>

#include "input_chain.h"

namespace slackline {

/// What every rank knows about a step that all take.
struct CommonStep {
  std::uint32_t epoch = 0;
  std::int32_t samples = 0;        ///< over all ranks
  BatchDigest digest;              ///< of all of them, in rank order
  std::vector<DataPosition> ends;  ///< where the data of each rank go on behind it
  bool save = false;               ///< rank 0 wants a checkpoint behind it
};

enum class NextStep : std::uint8_t {
  kStep,
  kEnd,     ///< of the data
  kStopped  ///< a rank was asked to stop
};

/// When the ranks' shards are not equally long, and when an epoch ends.
struct EndRules {
  bool drop_remainder = true;
  bool batches_span_epochs = false;
};

/// Agrees with the other ranks, before every step, on whether there is one. Of ranks whose shards
/// are not equally long
///
///   with drop_remainder         an epoch ends for all when the first one has no full step more;
///                               what the others still have of it is left out, and counted
///   without it                  those that have no more take part without samples until all end
///   with batches_span_epochs    no rank waits for another's epoch: an epoch of the run begins with
///                               the first step of which any rank has a batch of it
///
/// Alone, the steps are the chain's.
///
/// Threads    one caller at a time.
/// Errors     the chain's; those of Ranks.
class CommonSteps {
 public:
  /// `ranks` is null for a process that is alone. `begins` is where the data of each rank begin.
  /// `clock` measures the waits.
  CommonSteps(InputChain& chain, std::int32_t device_count, Ranks* ranks, EndRules rules,
              std::vector<DataPosition> begins, const Clock& clock);
  ~CommonSteps();
  CommonSteps(const CommonSteps&) = delete;
  CommonSteps& operator=(const CommonSteps&) = delete;

  /// Waits for the next step of all ranks. `step` may be without batches, if others have some. The
  /// chain is cancelled by whoever requests the stop.
  [[nodiscard]] NextStep next(StepBatches& step, CommonStep& common, const std::stop_token& stop,
                              bool wants_save);

  /// In next(), for other ranks.
  [[nodiscard]] std::chrono::nanoseconds waited() const { return waited_; }
  /// In next(), each time of the rank that waited longest for its own input: all wait for that one.
  [[nodiscard]] std::chrono::nanoseconds longest_input_wait() const { return longest_input_wait_; }
  /// Samples of this rank that were left out, as another had no more.
  [[nodiscard]] std::uint64_t left_out() const { return left_out_; }

 private:
  struct Offer;

  [[nodiscard]] std::chrono::nanoseconds fetch();
  void gather(const Offer& mine);
  [[nodiscard]] std::uint32_t epoch_of_step() const;
  [[nodiscard]] bool takes_part(const Offer& offer, std::uint32_t epoch) const;
  void leave_out();
  void describe(CommonStep& common);

  InputChain& chain_;
  const std::int32_t device_count_;
  Ranks* const ranks_;
  const EndRules rules_;
  const Clock& clock_;
  StepBatches held_;  ///< fetched, and not yet taken by all
  bool has_ended_ = false;
  std::uint32_t epoch_ = 0;  ///< of the step before
  std::vector<DataPosition> ends_;
  std::vector<Offer> offers_;  ///< of all ranks
  std::chrono::nanoseconds waited_{};
  std::chrono::nanoseconds longest_input_wait_{};
  std::uint64_t left_out_ = 0;
};

}  // namespace slackline
