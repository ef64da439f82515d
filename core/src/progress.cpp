#include "progress.h"

#include <slackline/error.h>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

namespace slackline {
namespace {

double seconds(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) * 1e-9; }

}  // namespace

std::string human_time(double all_seconds) {
  std::ostringstream out;
  const auto whole = static_cast<std::int64_t>(std::llround(all_seconds));
  if (all_seconds < 10) {
    out << std::fixed << std::setprecision(1) << all_seconds << " s";
  } else if (whole < 60) {
    out << whole << " s";
  } else if (whole < 3600) {
    out << whole / 60 << " min " << whole % 60 << " s";
  } else {
    out << whole / 3600 << " h " << whole % 3600 / 60 << " min";
  }
  return out.str();
}

std::string with_commas(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

void Progress::step(std::uint64_t steps_done, std::optional<std::uint64_t> steps_in_all,
                    std::uint32_t epoch, const StepTimes& times, const StepSums& sums,
                    std::optional<float> learning_rate) {
  times_.input_wait += times.input_wait;
  times_.submit += times.submit;
  times_.device_wait += times.device_wait;
  sums_ += sums;
  ++steps_;

  const Clock::time_point now = Clock::now();
  const bool due = is_terminal_ ? now - shown_ >= std::chrono::milliseconds(200)
                                : steps_done % static_cast<std::uint64_t>(log_steps_) == 0;
  if (!due) return;
  shown_ = now;

  const double wall_s = std::max(seconds(times_.total()), 1e-9);
  std::ostringstream out;
  out << "epoch " << epoch + 1 << "  step " << with_commas(steps_done);
  if (steps_in_all.has_value()) out << "/" << with_commas(*steps_in_all);
  if (sums_.samples > 0) {
    const SampleMeans means = means_of(sums_);
    out << "  loss " << std::fixed << std::setprecision(4) << means.loss;
    if (means.penalty != 0) out << " (cross-entropy " << means.cross_entropy << ")";
  }
  if (learning_rate.has_value()) {
    out << "  rate " << std::defaultfloat << std::setprecision(4) << *learning_rate;
  }
  out << "  "
      << with_commas(
             static_cast<std::uint64_t>(std::llround(static_cast<double>(sums_.samples) / wall_s)))
      << " images/s  input wait " << std::fixed << std::setprecision(0)
      << 100 * seconds(times_.input_wait) / wall_s << " %";
  if (steps_in_all.has_value() && *steps_in_all >= steps_done) {
    const double step_s = wall_s / static_cast<double>(steps_);
    out << "  " << human_time(step_s * static_cast<double>(*steps_in_all - steps_done)) << " left";
  }
  if (is_terminal_) {
    out_ << "\r" << out.str() << "\033[K" << std::flush;
    line_open_ = true;
  } else {
    out_ << out.str() << "\n" << std::flush;
  }
  times_ = {};
  sums_ = {};
  steps_ = 0;
}

void Progress::line(const std::string& text) {
  if (line_open_) out_ << "\r\033[K";
  line_open_ = false;
  out_ << text << "\n" << std::flush;
}

}  // namespace slackline
