#pragma once

#include <slackline/export.h>
#include <slackline/model.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace slackline {

/// Where the time of one step went. The laps of one Stopwatch: they leave no gap.
struct StepTimes {
  std::chrono::nanoseconds input_wait{};   ///< until the batch was there
  std::chrono::nanoseconds submit{};       ///< host work: enqueueing the step, and bookkeeping
  std::chrono::nanoseconds device_wait{};  ///< until the device was not too far behind, and before
                                           ///< that until other ranks had their input, too
  std::chrono::nanoseconds rank_wait{};    ///< the part of device_wait for other ranks' input
  std::chrono::nanoseconds longest_input_wait{};  ///< of any rank, as long as this one waited, too

  [[nodiscard]] std::chrono::nanoseconds total() const { return input_wait + submit + device_wait; }
};

/// One trained step.
struct StepRecord {
  std::uint64_t step = 0;   ///< from 0
  std::uint32_t epoch = 0;  ///< from 0
  StepTimes times;
  float learning_rate = 0;
  StepSums sums;
  BatchDigest digest;  ///< of the samples it trained on
};

/// What StepSums come to for one sample; all 0 if there was none.
struct SampleMeans {
  double loss = 0;            ///< cross_entropy + penalty: what is minimised
  double cross_entropy = 0;   ///< in nats
  double penalty = 0;         ///< WeightDecay::kL2Loss's part
  double accuracy = 0;        ///< 0..1
  double accuracy_top_5 = 0;  ///< 0..1
};
[[nodiscard]] SLACKLINE_API SampleMeans means_of(const StepSums& sums);

/// A distribution. Percentiles interpolate linearly between the two nearest values.
struct Distribution {
  double median = 0, p10 = 0, p90 = 0, p99 = 0;
};
SLACKLINE_API Distribution distribution_of(std::vector<double> values);

/// Throughput and stall of the measured steps.
struct Throughput {
  std::uint64_t steps = 0;
  std::uint64_t samples = 0;
  double wall_s = 0;  ///< sum of all laps
  double input_wait_s = 0;
  double submit_s = 0;
  double device_wait_s = 0;
  double rank_wait_s = 0;             ///< the part of device_wait_s for other ranks' input
  double longest_input_wait_s = 0;    ///< in each step that of the rank which waited longest
  double images_per_s = 0;            ///< samples / wall_s
  double headspace_images_per_s = 0;  ///< samples / (wall_s - longest_input_wait_s)
  double input_bound_percent = 0;     ///< longest_input_wait_s of wall_s
  Distribution step_ms;
  Distribution step_images_per_s;  ///< of each step: p10 is a slow one
};
/// Statistics of `steps`, which have left out the warm-up already. `samples` is what they trained.
SLACKLINE_API Throughput throughput_of(std::span<const StepTimes> steps,
                                       std::span<const std::int32_t> samples);

/// The time stamps and rates of the TimeHistory callback of tensorflow/models' Keras benchmarks.
///
/// A stamp is taken at the begin of batch 0 if the interval clock is armed, and at the end of each
/// batch whose index within its epoch is a positive multiple of `log_steps`. The interval of the
/// first stamp of an epoch spans log_steps + 1 batches but is credited log_steps, as there.
class SLACKLINE_API TimeHistory {
 public:
  TimeHistory(std::int64_t batch_size, std::int64_t log_steps)
      : batch_size_(batch_size), log_steps_(log_steps) {}

  void batch_begin(std::int64_t batch_in_epoch, double time_s);
  void batch_end(std::int64_t batch_in_epoch, double time_s);

  struct Stamp {
    std::int64_t batch = 0;
    double time_s = 0;
  };
  [[nodiscard]] const std::vector<Stamp>& stamps() const { return stamps_; }

  /// batch_size · log_steps · (n - 1) / (t[n-1] - t[0]); nothing with fewer than two stamps.
  [[nodiscard]] std::optional<double> average_examples_per_s() const;
  /// The same without the first interval: batch_size · log_steps · (n - 2) / (t[n-1] - t[1]).
  [[nodiscard]] std::optional<double> examples_per_s() const;

 private:
  [[nodiscard]] std::optional<double> rate_from(std::size_t first) const;

  std::int64_t batch_size_, log_steps_;
  bool armed_ = true;
  std::vector<Stamp> stamps_;
};

}  // namespace slackline
