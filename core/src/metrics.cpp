#include <slackline/metrics.h>

#include <algorithm>
#include <cassert>
#include <cmath>

namespace slackline {
namespace {

double seconds(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) * 1e-9; }

double percentile(const std::vector<double>& sorted, double fraction) {
  const double place = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
}

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

}  // namespace

Distribution distribution_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {.median = percentile(values, 0.5),
          .p10 = percentile(values, 0.1),
          .p90 = percentile(values, 0.9),
          .p99 = percentile(values, 0.99)};
}

Throughput throughput_of(std::span<const StepTimes> steps, std::span<const std::int32_t> samples) {
  assert(steps.size() == samples.size());
  Throughput out;
  out.steps = steps.size();
  std::vector<double> step_ms, step_rates;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const double step_s = seconds(steps[i].total());
    out.samples += static_cast<std::uint64_t>(samples[i]);
    out.wall_s += step_s;
    out.input_wait_s += seconds(steps[i].input_wait);
    out.submit_s += seconds(steps[i].submit);
    out.device_wait_s += seconds(steps[i].device_wait);
    out.rank_wait_s += seconds(steps[i].rank_wait);
    out.longest_input_wait_s += seconds(steps[i].longest_input_wait);
    step_ms.push_back(step_s * 1e3);
    step_rates.push_back(ratio(samples[i], step_s));
  }
  const auto trained = static_cast<double>(out.samples);
  out.images_per_s = ratio(trained, out.wall_s);
  out.headspace_images_per_s = ratio(trained, out.wall_s - out.longest_input_wait_s);
  out.input_bound_percent = 100 * ratio(out.longest_input_wait_s, out.wall_s);
  out.step_ms = distribution_of(std::move(step_ms));
  out.step_images_per_s = distribution_of(std::move(step_rates));
  return out;
}

SampleMeans means_of(const StepSums& sums) {
  if (sums.samples <= 0) return {};
  const auto samples = static_cast<double>(sums.samples);
  return {.loss = (sums.loss + sums.penalty) / samples,
          .cross_entropy = sums.loss / samples,
          .penalty = sums.penalty / samples,
          .accuracy = static_cast<double>(sums.correct) / samples,
          .accuracy_top_5 = static_cast<double>(sums.correct_top5) / samples};
}

void TimeHistory::batch_begin(std::int64_t batch_in_epoch, double time_s) {
  if (!armed_) return;
  armed_ = false;
  if (batch_in_epoch == 0) stamps_.push_back({batch_in_epoch, time_s});
}

void TimeHistory::batch_end(std::int64_t batch_in_epoch, double time_s) {
  if (batch_in_epoch % log_steps_ != 0) return;
  armed_ = true;
  if (batch_in_epoch != 0) stamps_.push_back({batch_in_epoch, time_s});
}

std::optional<double> TimeHistory::average_examples_per_s() const { return rate_from(0); }
std::optional<double> TimeHistory::examples_per_s() const { return rate_from(1); }

std::optional<double> TimeHistory::rate_from(std::size_t first) const {
  if (stamps_.size() < first + 2) return std::nullopt;
  const double time_s = stamps_.back().time_s - stamps_[first].time_s;
  const auto intervals = static_cast<double>(stamps_.size() - 1 - first);
  return static_cast<double>(batch_size_ * log_steps_) * intervals / time_s;
}

}  // namespace slackline
