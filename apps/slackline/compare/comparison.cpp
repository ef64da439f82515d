#include "comparison.h"

#include <slackline/error.h>
#include <slackline/metrics.h>
#include <slackline/random.h>

#include <algorithm>
#include <cassert>
#include <cmath>

namespace slackline::app {
namespace {

double median_of(const std::vector<double>& values) { return distribution_of(values).median; }

/// The median of as many values as there are, drawn from `sorted` with replacement. `times` is room
/// for one counter a value.
double resampled_median(const std::vector<double>& sorted, std::vector<int>& times, Philox& words) {
  const int count = static_cast<int>(sorted.size());
  std::fill(times.begin(), times.end(), 0);
  for (int i = 0; i < count; ++i) {
    ++times[uniform_below(words, static_cast<std::uint32_t>(count))];
  }
  // Values count/2 and (count-1)/2 of the resample, counted from 0, without sorting it.
  std::size_t lower = 0;
  int before_or_at = times[0];
  while (before_or_at <= (count - 1) / 2) before_or_at += times[++lower];
  std::size_t upper = lower;
  while (before_or_at <= count / 2) before_or_at += times[++upper];
  return (sorted[lower] + sorted[upper]) / 2;
}

/// From each value to the next; 0 where all are equal.
double lag1_autocorrelation(const std::vector<double>& values) {
  const double middle = median_of(values);
  double square = 0, product = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    square += (values[i] - middle) * (values[i] - middle);
    if (i > 0) product += (values[i - 1] - middle) * (values[i] - middle);
  }
  return square > 0 ? product / square : 0;
}

/// The median of the log ratios with its interval.
Gain gain_of(const std::vector<double>& log_ratios, const Rule& rule) {
  auto [middle, low, high] = median_interval(log_ratios, rule);

  // The bootstrap takes blocks for independent. If each resembles the one before it, they tell less
  // than it believes: the standard error of a first-order autoregressive series is larger by this
  // factor. The bound keeps a chance value near 1 from making it endless.
  const double autocorrelation = lag1_autocorrelation(log_ratios);
  const double r = std::clamp(autocorrelation, 0.0, 0.8);
  const double widening = std::sqrt((1 + r) / (1 - r));
  low = middle + (low - middle) * widening;
  high = middle + (high - middle) * widening;
  return {std::exp(middle), std::exp(low), std::exp(high), autocorrelation};
}

Verdict verdict_of(const Gain& gain, double noise, double minimum_effect) {
  const double least = 1 + std::max(minimum_effect, noise);
  if (gain.low > 1 && gain.median > least) return Verdict::kFaster;
  if (gain.high < 1 && gain.median < 1 / least) return Verdict::kSlower;
  const double same = 1 + minimum_effect;
  if (gain.low >= 1 / same && gain.high <= same) return Verdict::kSame;
  return Verdict::kUnclear;
}

}  // namespace

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kFaster:
      return "FASTER";
    case Verdict::kSlower:
      return "SLOWER";
    case Verdict::kSame:
      return "SAME";
    case Verdict::kUnclear:
      break;
  }
  return "UNCLEAR";
}

bool passes(Verdict verdict, FailOn fail_on) {
  switch (fail_on) {
    case FailOn::kSlower:
      return verdict != Verdict::kSlower;
    case FailOn::kUnclear:
      return verdict != Verdict::kSlower && verdict != Verdict::kUnclear;
    case FailOn::kDifferent:
      break;
  }
  return verdict == Verdict::kSame;
}

std::string rule_text(double minimum_effect) {
  const double percent = 100 * minimum_effect;
  return text(
      "FASTER   the 95 % interval of the gain lies above 1, and the gain exceeds both ", percent,
      " % and\n         the noise: the end of the 95 % interval of A against A that is farther "
      "from 1\nSLOWER   the same below 1\nSAME     the interval lies within 1/",
      1 + minimum_effect, " to ", 1 + minimum_effect, "\nUNCLEAR  everything else");
}

MedianInterval median_interval(std::vector<double> values, const Rule& rule) {
  std::sort(values.begin(), values.end());
  std::vector<int> times(values.size());
  std::vector<double> medians(static_cast<std::size_t>(rule.resamples));
  Philox words({static_cast<std::uint32_t>(rule.seed), static_cast<std::uint32_t>(rule.seed >> 32)},
               {});
  for (double& median : medians) median = resampled_median(values, times, words);

  const auto tail = static_cast<std::ptrdiff_t>(0.025 * (rule.resamples - 1));
  MedianInterval out{.median = median_of(values), .low = 0, .high = 0};
  std::nth_element(medians.begin(), medians.begin() + tail, medians.end());
  out.low = medians[static_cast<std::size_t>(tail)];
  std::nth_element(medians.begin(), medians.end() - 1 - tail, medians.end());
  out.high = *(medians.end() - 1 - tail);
  return out;
}

Comparison compare(std::span<const PairedBlock> blocks, Better better, const Rule& rule) {
  assert(blocks.size() >= 2);
  const double sign = better == Better::kHigher ? 1 : -1;
  std::vector<double> b_over_a, a_over_a;
  Comparison out;
  for (const PairedBlock& block : blocks) {
    // Geometric means: a disturbance costs a factor, whichever of the two runs it meets.
    b_over_a.push_back(sign * 0.5 * std::log(block.b[0] * block.b[1] / (block.a[0] * block.a[1])));
    a_over_a.push_back(sign * std::log(block.a[1] / block.a[0]));
    out.block_gains.push_back(std::exp(b_over_a.back()));
  }
  out.gain = gain_of(b_over_a, rule);
  out.a_against_a = gain_of(a_over_a, rule);
  out.noise = std::max(out.a_against_a.high, 1 / out.a_against_a.low) - 1;
  out.verdict = verdict_of(out.gain, out.noise, rule.minimum_effect);
  return out;
}

}  // namespace slackline::app
