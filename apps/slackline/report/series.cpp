#include "series.h"

#include <algorithm>
#include <cmath>

namespace slackline::app {

Curve throughput_curve(std::span<const Step> steps) {
  Curve curve;
  const std::size_t columns = std::min(steps.size(), kThroughputPoints);
  for (std::size_t column = 0; column < columns; ++column) {
    const std::size_t first = column * steps.size() / columns;
    const std::size_t end = (column + 1) * steps.size() / columns;
    double images = 0, time_s = 0;
    Spread spread;
    for (const Step& step : steps.subspan(first, end - first)) {
      const double step_s = step.total_ms() * 1e-3;
      if (step_s <= 0) continue;
      const double rate = step.images / step_s;
      spread.low = time_s > 0 ? std::min(spread.low, rate) : rate;
      spread.high = std::max(spread.high, rate);
      images += step.images;
      time_s += step_s;
      ++curve.values;
    }
    if (time_s <= 0) continue;
    spread.x = static_cast<double>(first + end - 1) / 2;
    curve.points.push_back({spread.x, images / time_s});
    curve.band.push_back(spread);
    curve.per_point = std::max(curve.per_point, end - first);
  }
  if (curve.per_point == 1) curve.band.clear();
  return curve;
}

Curve distribution_curve(std::vector<double> values) {
  std::ranges::sort(values);
  Curve curve{.values = values.size()};
  if (values.empty()) return curve;
  const std::size_t points = std::min(values.size(), 2 * kColumns);
  for (std::size_t point = 0; point < points; ++point) {
    const std::size_t i = points == 1 ? 0 : point * (values.size() - 1) / (points - 1);
    const double percent = 100 * static_cast<double>(i + 1) / static_cast<double>(values.size());
    curve.points.push_back({values[i], percent});
  }
  curve.per_point = (values.size() + points - 1) / points;
  return curve;
}

Curve counter_curve(std::span<const Counter::Sample> samples) {
  Curve curve{.values = samples.size()};
  if (samples.size() <= 2 * kColumns) {
    for (const auto& [time_s, value] : samples) curve.points.push_back({time_s, value});
    return curve;
  }
  const double begin = samples.front().time_s;
  const double width = (samples.back().time_s - begin) / static_cast<double>(kColumns);
  double value = samples.front().value;  // the one that holds where a column begins
  std::size_t next = 0;
  for (std::size_t column = 0; column < kColumns; ++column) {
    const bool is_last = column + 1 == kColumns;
    const double from = begin + width * static_cast<double>(column);
    const double to = is_last ? samples.back().time_s : from + width;
    Spread spread{(from + to) / 2, value, value};
    double area = 0, at = from;
    const std::size_t first = next;
    for (; next < samples.size() && (is_last || samples[next].time_s < to); ++next) {
      area += value * (samples[next].time_s - at);
      at = samples[next].time_s;
      value = samples[next].value;
      spread.low = std::min(spread.low, value);
      spread.high = std::max(spread.high, value);
    }
    area += value * (to - at);
    curve.points.push_back({spread.x, to > from ? area / (to - from) : value});
    curve.band.push_back(spread);
    curve.per_point = std::max(curve.per_point, next - first);
  }
  return curve;
}

}  // namespace slackline::app
