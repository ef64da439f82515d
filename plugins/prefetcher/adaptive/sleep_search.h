#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace slackline {

/// What was measured of steps with one sleep: how long they took, and how early batches were there.
class MeasuredSteps {
 public:
  /// Times in ns. `idle`: how long the step's batch lay ready before it was taken.
  void add(double period, double idle) noexcept;
  /// As if those of `other` had been added behind these.
  void append(const MeasuredSteps& other) noexcept;
  /// Makes these count half, so that later ones prevail.
  void fade() noexcept;

  [[nodiscard]] double count() const noexcept { return count_; }
  [[nodiscard]] double period() const noexcept { return mean_; }  ///< mean, ns
  [[nodiscard]] double variance_of_period() const noexcept;       ///< of the mean, ns^2
  [[nodiscard]] double late_share() const noexcept;  ///< of the steps whose batch just came
  /// Of the last kIdles steps, ns; 0 if there is none.
  [[nodiscard]] double idle_quantile(double quantile) const noexcept;

 private:
  static constexpr std::size_t kIdles = 32;

  double count_ = 0, mean_ = 0, squares_ = 0, late_ = 0;
  std::array<double, kIdles> idles_{};  ///< a ring
  std::size_t idle_count_ = 0, next_idle_ = 0;
};

/// Finds the sleep with which steps are shortest, by trying.
///
/// As a function of the sleep, the time of a step falls once the refill no longer meets what starts
/// a step (small uploads, launches), is then level, and rises when batches come late. Where that is
/// depends on device, model and machine, so it is measured:
///
/// 1. Without a sleep, a few steps: how long do batches lie ready?
/// 2. Half of that. It is kept unless steps became longer.
/// 3. Rounds of trials. While batches come late, so that less sleep could matter: half way to the
///    longest sleep that is known as too short, which is 0 at first. Where it could matter much it
///    is kept unless it is worse. Then, kept only if better, once half way to where batches would
///    come late, and, if no sleep is known as too short, once half way down.
/// 4. Rest; the next round's trials take twice as long, so they see smaller differences.
///
/// A trial ends as soon as it is better or worse by more than kSigmas standard errors. When steps
/// get longer or shorter during a rest, all begins again.
///
/// Threads    a value; whoever shares one locks.
class SleepSearch {
 public:
  /// `max_sleep` of 0 sets no bound.
  explicit SleepSearch(std::chrono::nanoseconds max_sleep)
      : max_sleep_(max_sleep.count() > 0 ? static_cast<double>(max_sleep.count()) : kNone) {}

  /// With a sleep of sleep(), a step took `period`, and the refill of the buffers could have begun
  /// later by `idle` without anybody waiting for it: the shortest such time of all devices.
  void step(std::chrono::nanoseconds period, std::chrono::nanoseconds idle) noexcept;

  [[nodiscard]] std::chrono::nanoseconds sleep() const noexcept;

  struct Counts {
    std::uint64_t trials = 0;
    std::uint64_t changes = 0;   ///< trials that were kept
    std::uint64_t restarts = 0;  ///< because steps got longer or shorter
    std::uint64_t pauses = 0;    ///< steps that were too long to be any, and were left out
  };
  [[nodiscard]] const Counts& counts() const noexcept { return counts_; }

  struct Candidate {
    double sleep = 0;  ///< ns
    MeasuredSteps steps;
  };
  /// The best sleep that is known, and what was measured with it.
  [[nodiscard]] const Candidate& kept() const noexcept { return kept_; }

 private:
  enum class Phase { kStart, kTrial, kRest };
  enum class Verdict { kUnclear, kBetter, kWorse };

  [[nodiscard]] bool is_pause(double period) noexcept;
  void end_start() noexcept;
  void judge_trial() noexcept;
  void rest_step() noexcept;
  void begin_round() noexcept;
  void next_trial() noexcept;
  void try_sleep(double sleep, bool keep_unless_worse) noexcept;
  void begin_rest() noexcept;
  void restart() noexcept;
  [[nodiscard]] double gain_of_shorter(const MeasuredSteps& steps) const noexcept;
  [[nodiscard]] bool matters(double time) const noexcept;
  [[nodiscard]] bool matters_much(double time) const noexcept;
  [[nodiscard]] double shorter() const noexcept;
  [[nodiscard]] double longer() const noexcept;

  static constexpr double kNone = 1e300;
  static constexpr int kStartSettling = 4;  ///< the first steps: buffers fill, caches warm
  static constexpr int kFirstLength = 16;   ///< fewer tell too little of how many are late

  const double max_sleep_;  ///< ns
  Phase phase_ = Phase::kStart;
  int settling_ = kStartSettling;
  Candidate kept_, trial_;
  bool keep_unless_worse_ = false;  ///< the trial
  MeasuredSteps recent_;            ///< of the rest, not yet in kept_
  double floor_ = 0;                ///< the longest sleep known to be too short, ns
  double ceiling_ = max_sleep_;     ///< the shortest known to be too long, ns
  bool tried_longer_ = false, tried_shorter_ = false;  ///< in this round
  int length_ = kFirstLength;                          ///< of trials, steps
  int rest_left_ = 0;                                  ///< steps
  int pauses_in_a_row_ = 0;
  Counts counts_;
};

}  // namespace slackline
