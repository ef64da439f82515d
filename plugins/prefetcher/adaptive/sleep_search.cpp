#include "sleep_search.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace slackline {
namespace {

/// Steps after a change that still show the sleep before it: one that was under way, and with a
/// step in flight the next one.
constexpr int kSettling = 2;

/// Steps before a trial may be judged: fewer say nothing about their own spread.
constexpr double kFewest = 6;
/// Standard errors by which a trial must differ. It is judged after every step, which gives chance
/// many occasions, so the usual 2 would be too few.
constexpr double kSigmas = 3;
/// Of a step: smaller differences are none.
constexpr double kTolerance = 0.001;
/// Of a step: what could gain less is not tried.
constexpr double kWorthwhile = 0.0025;
/// Of a step: what could gain so much is kept where nothing speaks against it.
constexpr double kLarge = 0.01;

/// A batch that lay ready for less than this share of a step, or for less than it may take to wake
/// whoever waits for it, came just in time or late.
constexpr double kJustInTime = 0.002;
constexpr double kWakeUp = 100e3;  ///< ns

constexpr int kLongest = 256;     ///< steps of a trial
constexpr int kRestFactor = 4;    ///< of a trial's length: two trials are a third of a round
constexpr double kRecent = 16;    ///< steps of a rest that are looked at together
constexpr double kChanged = 0.1;  ///< of a step: a change that makes all begin again
/// Standard errors of it. More than for a trial: it is looked for all the time, and to begin again
/// costs a few steps without a sleep.
constexpr double kChangedSigmas = 5;

/// A step that takes longer than this many is an evaluation or a checkpoint. More than two of them
/// in a row are steps.
constexpr double kPause = 4;
constexpr int kMostPauses = 2;

double between(double a, double b) { return (a + b) / 2; }

}  // namespace

void MeasuredSteps::add(double period, double idle) noexcept {
  ++count_;
  const double off = period - mean_;
  mean_ += off / count_;
  squares_ += off * (period - mean_);
  if (idle < std::max(kJustInTime * period, kWakeUp)) ++late_;
  idles_[next_idle_] = idle;
  next_idle_ = (next_idle_ + 1) % kIdles;
  idle_count_ = std::min(idle_count_ + 1, kIdles);
}

void MeasuredSteps::append(const MeasuredSteps& other) noexcept {
  if (other.count_ == 0) return;
  const double count = count_ + other.count_;
  const double off = other.mean_ - mean_;
  squares_ += other.squares_ + off * off * count_ * other.count_ / count;
  mean_ += off * other.count_ / count;
  count_ = count;
  late_ += other.late_;
  for (std::size_t i = 0; i < other.idle_count_; ++i) {
    const std::size_t from = (other.next_idle_ + kIdles - other.idle_count_ + i) % kIdles;
    idles_[next_idle_] = other.idles_[from];
    next_idle_ = (next_idle_ + 1) % kIdles;
    idle_count_ = std::min(idle_count_ + 1, kIdles);
  }
}

void MeasuredSteps::fade() noexcept {
  count_ /= 2;
  squares_ /= 2;
  late_ /= 2;
}

double MeasuredSteps::variance_of_period() const noexcept {
  return count_ > 1 ? squares_ / (count_ - 1) / count_ : 0;
}

double MeasuredSteps::late_share() const noexcept { return count_ > 0 ? late_ / count_ : 0; }

double MeasuredSteps::idle_quantile(double quantile) const noexcept {
  if (idle_count_ == 0) return 0;
  std::array<double, kIdles> sorted = idles_;
  const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(idle_count_);
  const auto at =
      sorted.begin() + static_cast<std::ptrdiff_t>(quantile * static_cast<double>(idle_count_ - 1));
  std::nth_element(sorted.begin(), at, end);
  return *at;
}

std::chrono::nanoseconds SleepSearch::sleep() const noexcept {
  const double sleep = phase_ == Phase::kTrial ? trial_.sleep : kept_.sleep;
  return std::chrono::nanoseconds(std::llround(sleep));
}

void SleepSearch::step(std::chrono::nanoseconds period, std::chrono::nanoseconds idle) noexcept {
  const auto period_ns = static_cast<double>(period.count());
  const auto idle_ns = static_cast<double>(idle.count());
  if (is_pause(period_ns)) return;
  if (settling_ > 0) {
    --settling_;
    return;
  }
  switch (phase_) {
    case Phase::kStart:
      kept_.steps.add(period_ns, idle_ns);
      if (kept_.steps.count() >= kFirstLength) end_start();
      break;
    case Phase::kTrial:
      trial_.steps.add(period_ns, idle_ns);
      judge_trial();
      break;
    case Phase::kRest:
      recent_.add(period_ns, idle_ns);
      rest_step();
      break;
  }
}

bool SleepSearch::is_pause(double period) noexcept {
  if (kept_.steps.count() == 0 || period < kPause * kept_.steps.period() ||
      pauses_in_a_row_ == kMostPauses) {
    pauses_in_a_row_ = 0;
    return false;
  }
  ++pauses_in_a_row_;
  ++counts_.pauses;
  return true;
}

void SleepSearch::end_start() noexcept {
  const double sleep = std::min(kept_.steps.idle_quantile(0.5) / 2, max_sleep_);
  if (matters(sleep)) {
    try_sleep(sleep, true);
  } else {
    begin_round();
  }
}

void SleepSearch::judge_trial() noexcept {
  if (trial_.steps.count() < kFewest) return;
  const double period = kept_.steps.period();
  const double longer_by = trial_.steps.period() - period;
  const double error =
      std::sqrt(kept_.steps.variance_of_period() + trial_.steps.variance_of_period());
  const double margin = std::max(kTolerance * period, kSigmas * error);
  const Verdict verdict = longer_by > margin    ? Verdict::kWorse
                          : longer_by < -margin ? Verdict::kBetter
                                                : Verdict::kUnclear;
  if (verdict == Verdict::kUnclear && trial_.steps.count() < length_) return;

  if (verdict == Verdict::kBetter || (verdict == Verdict::kUnclear && keep_unless_worse_)) {
    kept_ = trial_;
    ++counts_.changes;
  } else {
    settling_ = kSettling;
    if (verdict == Verdict::kWorse && trial_.sleep < kept_.sleep) floor_ = trial_.sleep;
    if (verdict == Verdict::kUnclear && trial_.sleep < kept_.sleep) tried_shorter_ = true;
    if (verdict == Verdict::kWorse && trial_.sleep > kept_.sleep) ceiling_ = trial_.sleep;
  }
  next_trial();
}

void SleepSearch::rest_step() noexcept {
  --rest_left_;
  if (recent_.count() < kRecent) return;
  const double period = kept_.steps.period();
  const double error = std::sqrt(kept_.steps.variance_of_period() + recent_.variance_of_period());
  if (std::abs(recent_.period() - period) > std::max(kChanged * period, kChangedSigmas * error)) {
    restart();
    return;
  }
  const bool came_late = matters_much(gain_of_shorter(recent_));
  kept_.steps.append(recent_);
  recent_ = {};
  if (rest_left_ <= 0 || came_late) begin_round();
}

void SleepSearch::begin_round() noexcept {
  tried_longer_ = tried_shorter_ = false;
  next_trial();
}

void SleepSearch::next_trial() noexcept {
  const double gain = gain_of_shorter(kept_.steps);
  if (!tried_shorter_ && matters(gain)) {
    try_sleep(shorter(), matters_much(gain));
  } else if (!std::exchange(tried_longer_, true) && matters(longer() - kept_.sleep)) {
    try_sleep(longer(), false);
  } else if (floor_ == 0 && !std::exchange(tried_shorter_, true) &&
             matters(kept_.sleep - shorter())) {
    try_sleep(shorter(), false);
  } else {
    begin_rest();
  }
}

void SleepSearch::try_sleep(double sleep, bool keep_unless_worse) noexcept {
  ++counts_.trials;
  trial_ = {.sleep = sleep, .steps = {}};
  keep_unless_worse_ = keep_unless_worse;
  phase_ = Phase::kTrial;
  settling_ = kSettling;
}

void SleepSearch::begin_rest() noexcept {
  phase_ = Phase::kRest;
  rest_left_ = kRestFactor * length_;
  length_ = std::min(2 * length_, kLongest);
  kept_.steps.fade();
  recent_ = {};
}

void SleepSearch::restart() noexcept {
  ++counts_.restarts;
  kept_ = {};
  phase_ = Phase::kStart;
  settling_ = kSettling;
  floor_ = 0;
  ceiling_ = max_sleep_;
  length_ = kFirstLength;
}

/// The most by which a step could get shorter: those that were late, by what the sleep is.
double SleepSearch::gain_of_shorter(const MeasuredSteps& steps) const noexcept {
  return steps.late_share() * (kept_.sleep - shorter());
}

bool SleepSearch::matters(double time) const noexcept {
  return time > kWorthwhile * kept_.steps.period();
}

bool SleepSearch::matters_much(double time) const noexcept {
  return time > kLarge * kept_.steps.period();
}

double SleepSearch::shorter() const noexcept { return between(floor_, kept_.sleep); }

/// Half way to where one batch in ten would come late.
double SleepSearch::longer() const noexcept {
  const double edge = kept_.sleep + kept_.steps.idle_quantile(0.1);
  return between(kept_.sleep, std::min(edge, ceiling_));
}

}  // namespace slackline
