#include "chart.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace slackline::app {
namespace {

// User units of the viewBox. On a telephone one is about 0.75 px, so text is 16 units high there
// and 12 elsewhere (the style sheet says so); all distances leave room for the larger.
constexpr double kWidth = 480, kHeight = 300;
constexpr double kLeft = 56, kRight = 456, kTop = 36, kBottom = 248;
constexpr double kTextHeight = 16;
constexpr double kCharacterWidth = 0.58 * kTextHeight;  // of common sans-serif fonts, on average

/// A coordinate: a tenth of a unit is finer than any screen.
std::string unit(double value) { return fixed_text(value, 1); }

std::string series_class(const char* kind, std::size_t series) {
  return std::string(kind) + " s" + std::to_string(series % kPaletteSize);
}

/// A tick's value in few characters: "50", "0.1", "20k", "1.5M".
std::string tick_text(double value) {
  const auto shortened = [](double number) {
    std::array<char, 32> out{};
    const auto end =
        std::to_chars(out.data(), out.data() + out.size(), number, std::chars_format::general, 3);
    return std::string(out.data(), end.ptr);
  };
  const double size = std::abs(value);
  if (size >= 1e12) return shortened(value);
  if (size >= 1e9) return shortened(value / 1e9) + "G";
  if (size >= 1e6) return shortened(value / 1e6) + "M";
  if (size >= 1e4) return shortened(value / 1e3) + "k";
  if (size >= 1e3) return std::to_string(std::llround(value));
  return shortened(value);
}

/// Where values go on the chart.
class Scale {
 public:
  /// `begin` and `end` are where the axis begins and ends, in user units.
  Scale(const Axis& axis, double min, double max, double begin, double end)
      : is_log_(axis.is_log), begin_(begin), end_(end), ticks_(axis.ticks) {
    if (!ticks_.empty()) {
      min = ticks_.front();
      max = ticks_.back();
    } else if (min > max) {  // nothing that could be shown
      min = 1;
      max = 10;
    } else if (is_log_) {
      min /= 1.1;
      max *= 1.1;
    } else {
      max += 0.05 * (max - std::min(min, 0.0));
      min = std::min(min, 0.0);
      if (max <= min) max = min + 1;
    }
    from_ = at(min);
    to_ = at(max);
    if (ticks_.empty()) ticks_ = is_log_ ? log_ticks(min, max) : linear_ticks(min, max, 5);
  }

  double operator()(double value) const {
    return begin_ + (at(value) - from_) / (to_ - from_) * (end_ - begin_);
  }
  [[nodiscard]] const std::vector<double>& ticks() const { return ticks_; }

 private:
  [[nodiscard]] double at(double value) const { return is_log_ ? std::log10(value) : value; }

  bool is_log_;
  double begin_, end_;
  double from_ = 0, to_ = 1;
  std::vector<double> ticks_;
};

/// The smallest range that holds all values which the axis can show.
struct Range {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();

  void add(const Axis& axis, double value) {
    if (!std::isfinite(value) || (axis.is_log && value <= 0)) return;
    min = std::min(min, value);
    max = std::max(max, value);
  }
};

void open_svg(Markup& out, const std::string& id, const std::string& title,
              const std::string& description, double height) {
  out.open("svg", {{"viewBox", "0 0 " + unit(kWidth) + " " + unit(height)},
                   {"role", "img"},
                   {"aria-labelledby", id + "-title " + id + "-desc"}});
  out.leaf("title", title, {{"id", id + "-title"}});
  out.leaf("desc", description, {{"id", id + "-desc"}});
}

void draw_line(Markup& out, double x1, double y1, double x2, double y2, const char* kind) {
  out.empty(
      "line",
      {{"x1", unit(x1)}, {"y1", unit(y1)}, {"x2", unit(x2)}, {"y2", unit(y2)}, {"class", kind}});
}

void draw_text(Markup& out, double x, double y, const char* anchor, std::string_view text,
               const std::string& kind) {
  out.leaf("text", text,
           {{"x", unit(x)}, {"y", unit(y)}, {"text-anchor", anchor}, {"class", kind}});
}

/// Ticks along the bottom, at y. Leaves out a label that would touch the one before.
void draw_x_axis(Markup& out, const Scale& x, double top, double y) {
  draw_line(out, kLeft, y, kRight, y, "axis");
  double taken_until = 0;
  for (const double tick : x.ticks()) {
    draw_line(out, x(tick), top, x(tick), y, "grid");
    const std::string label = tick_text(tick);
    const double half = 0.5 * kCharacterWidth * static_cast<double>(label.size());
    if (x(tick) - half < taken_until) continue;
    draw_text(out, x(tick), y + 18, "middle", label, "tick");
    taken_until = x(tick) + half + 0.5 * kCharacterWidth;
  }
}

}  // namespace

std::string fixed_text(double value, int after_point) {
  std::array<char, 400> out{};  // the largest double has 309 digits before the point
  const auto end = std::to_chars(out.data(), out.data() + out.size(), value,
                                 std::chars_format::fixed, after_point);
  return {out.data(), end.ptr};
}

std::string number_text(double value) {
  if (!std::isfinite(value)) return "—";
  const double size = std::abs(value);
  // A number that rounds up to the next power of ten needs a digit less after the point.
  const int before_point =
      size > 0 ? static_cast<int>(std::floor(std::log10(size * (1 + 5e-4)))) + 1 : 1;
  const int after_point = std::clamp(3 - before_point, 0, 9);
  std::string out = fixed_text(value, after_point);
  const std::size_t point = std::min(out.find('.'), out.size());
  const std::size_t first = out.starts_with('-') ? 1 : 0;
  for (std::size_t at = point; at > first + 3; at -= 3) out.insert(at - 3, ",");
  return out;
}

std::vector<double> linear_ticks(double min, double max, int count) {
  const double rough = (max - min) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double digit = rough / power;
  const double step = power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
  std::vector<double> ticks;
  // Products, not sums: errors must not add up.
  for (double i = std::ceil(min / step - 1e-9); i * step <= max + 1e-9 * step; ++i) {
    ticks.push_back(i * step + 0.0);  // so that there is no -0
  }
  return ticks;
}

std::vector<double> log_ticks(double min, double max) {
  const int first = static_cast<int>(std::floor(std::log10(min)));
  const int last = static_cast<int>(std::ceil(std::log10(max)));
  const bool is_short = std::log10(max / min) < 2.5;
  const int every = std::max(1, (last - first) / 5);
  std::vector<double> ticks;
  for (int power = first; power <= last; power += is_short ? 1 : every) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      if (digit > 1 && !is_short) continue;
      const double tick = digit * std::pow(10.0, power);
      if (tick >= min * (1 - 1e-9) && tick <= max * (1 + 1e-9)) ticks.push_back(tick);
    }
  }
  return ticks;
}

void draw(Markup& out, const LineChart& chart) {
  Range x_range, y_range;
  for (const Line& line : chart.lines) {
    for (const Point& point : line.points) {
      x_range.add(chart.x, point.x);
      y_range.add(chart.y, point.y);
    }
    for (const Spread& spread : line.band) {
      y_range.add(chart.y, spread.low);
      y_range.add(chart.y, spread.high);
    }
  }
  const Scale x(chart.x, x_range.min, x_range.max, kLeft, kRight);
  const Scale y(chart.y, y_range.min, y_range.max, kBottom, kTop);
  const auto can_show = [&](double x_value, double y_value) {
    return (!chart.x.is_log || x_value > 0) && (!chart.y.is_log || y_value > 0);
  };

  open_svg(out, chart.id, chart.title, chart.description, kHeight);
  draw_text(out, 0, 14, "start", chart.y.title, "axis-title");
  draw_text(out, (kLeft + kRight) / 2, kHeight - 6, "middle", chart.x.title, "axis-title");
  draw_x_axis(out, x, kTop, kBottom);
  for (const double tick : y.ticks()) {
    draw_line(out, kLeft, y(tick), kRight, y(tick), "grid");
    draw_text(out, kLeft - 6, y(tick) + 5, "end", tick_text(tick), "tick");
  }

  for (const Line& line : chart.lines) {
    if (line.band.empty()) continue;
    std::string there, back;
    for (const Spread& spread : line.band) {
      if (!can_show(spread.x, spread.low)) continue;
      there += (there.empty() ? "M" : "L") + unit(x(spread.x)) + " " + unit(y(spread.high));
      back.insert(0, "L" + unit(x(spread.x)) + " " + unit(y(spread.low)));
    }
    out.empty("path", {{"d", there + back + "Z"}, {"class", series_class("band", line.series)}});
  }
  for (const Mark& mark : chart.marks) {
    const bool is_right = x(mark.x) > (kLeft + kRight) / 2;
    draw_line(out, x(mark.x), kTop - 4, x(mark.x), kBottom, "mark");
    draw_text(out, x(mark.x) + (is_right ? -4 : 4), kTop - 4, is_right ? "end" : "start", mark.text,
              "tick");
  }

  struct Letter {
    double x, y;
    const Line* line;
  };
  std::vector<Letter> letters;
  for (const Line& line : chart.lines) {
    std::string path;
    std::vector<Point> drawn;
    for (const Point& point : line.points) {
      if (!can_show(point.x, point.y)) continue;
      const Point at{x(point.x), y(point.y)};
      if (drawn.empty()) {
        path = "M" + unit(at.x) + " " + unit(at.y);
      } else if (line.is_stairs) {
        path += "H" + unit(at.x) + "V" + unit(at.y);
      } else {
        path += "L" + unit(at.x) + " " + unit(at.y);
      }
      drawn.push_back(at);
    }
    if (drawn.empty()) continue;
    out.open("path", {{"d", path}, {"class", series_class("line", line.series)}});
    out.leaf("title", line.name);
    out.close();
    const double last = static_cast<double>(drawn.size() - 1);
    const Point& at = drawn[static_cast<std::size_t>(std::lround(line.letter_at * last))];
    letters.push_back({at.x + 7, at.y + 5, &line});
  }
  for (const Dot& dot : chart.dots) {
    if (!can_show(dot.at.x, dot.at.y)) continue;
    out.open("circle", {{"cx", unit(x(dot.at.x))},
                        {"cy", unit(y(dot.at.y))},
                        {"r", "4"},
                        {"class", series_class("dot", dot.series)}});
    out.leaf("title", dot.text);
    out.close();
  }
  // Letters that would lie on each other are moved down, until the axis is reached.
  std::ranges::sort(letters, {}, &Letter::y);
  for (std::size_t i = 0; i < letters.size(); ++i) {
    for (std::size_t above = 0; above < i; ++above) {
      if (std::abs(letters[i].x - letters[above].x) > kTextHeight) continue;
      letters[i].y = std::max(letters[i].y, letters[above].y + kTextHeight);
    }
    draw_text(out, letters[i].x, letters[i].y, "start", letters[i].line->letter,
              series_class("letter", letters[i].line->series));
  }
  out.close();
}

void draw(Markup& out, const BarChart& chart) {
  constexpr double kBarLeft = 28, kBarHeight = 34, kRow = 46, kBarTop = 4;
  const double bottom = kBarTop + kRow * static_cast<double>(chart.bars.size());
  open_svg(out, chart.id, chart.title, chart.description, bottom + 26);
  const double length = kRight - kBarLeft;
  for (std::size_t row = 0; row < chart.bars.size(); ++row) {
    const double top = kBarTop + kRow * static_cast<double>(row);
    double left = kBarLeft;
    draw_text(out, 0, top + kBarHeight / 2 + 5, "start", chart.bars[row].letter, "letter");
    for (const Segment& segment : chart.bars[row].segments) {
      const double width = segment.share * length;
      out.open("rect", {{"x", unit(left)},
                        {"y", unit(top)},
                        {"width", unit(std::max(width, 0.0))},
                        {"height", unit(kBarHeight)},
                        {"class", series_class("bar", segment.series)}});
      out.leaf("title", segment.name + ": " + segment.value);
      out.close();
      const double text_width = kCharacterWidth * static_cast<double>(segment.name.size());
      if (text_width + 6 < width) {
        draw_text(out, left + width / 2, top + kBarHeight / 2 + 5, "middle", segment.name,
                  series_class("on-bar", segment.series));
      }
      left += width;
    }
  }
  for (const int percent : {0, 25, 50, 75, 100}) {
    const double x = kBarLeft + length * percent / 100;
    draw_line(out, x, bottom - 8, x, bottom - 2, "axis");
    draw_text(out, x, bottom + 16, "middle", std::to_string(percent) + " %", "tick");
  }
  out.close();
}

}  // namespace slackline::app
