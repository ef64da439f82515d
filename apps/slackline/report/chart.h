#pragma once

// Charts as SVG, drawn from the data: they need no script, scale with the page, and take their
// colours from the page's style sheet (classes s0..s7), so that they are right in light and dark.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "markup.h"

namespace slackline::app {

/// Colours in the palette. No series is told by its colour alone: lines have a letter and a dash
/// pattern too, segments of bars have their names.
inline constexpr std::size_t kPaletteSize = 8;

/// `value` with three significant digits, more if it is 1000 or above: "0.0123", "12.3", "8,664".
std::string number_text(double value);

/// `value` with this many digits after the point: "1.070".
std::string fixed_text(double value, int after_point);

/// Round numbers (1, 2 or 5 times a power of ten apart) within min..max, about `count` of them.
std::vector<double> linear_ticks(double min, double max, int count);

/// Powers of ten within min..max, with 2 and 5 times them where there are few; thinned out where
/// there are many. `min` must be positive.
std::vector<double> log_ticks(double min, double max);

struct Point {
  double x = 0, y = 0;
};

/// What many values that fall on one place of a chart came to.
struct Spread {
  double x = 0, low = 0, high = 0;
};

struct Line {
  std::size_t series = 0;  ///< decides colour and dash pattern
  std::string letter;      ///< drawn beside the line; empty for none
  std::string name;        ///< shown under the pointer
  std::vector<Point> points = {};
  std::vector<Spread> band = {};  ///< drawn behind the line; may be empty
  bool is_stairs = false;         ///< each value holds until the next
  double letter_at = 1;           ///< where along the points the letter stands, 0..1
};

/// A place on the chart that is worth a name: a dot, with its text under the pointer.
struct Dot {
  std::size_t series = 0;
  Point at;
  std::string text;
};

/// A vertical line with a word.
struct Mark {
  double x = 0;
  std::string text;
};

/// One axis. The range is that of the data, from 0 where it is linear and all data are positive.
struct Axis {
  std::string title;
  bool is_log = false;
  std::vector<double> ticks = {};  ///< if not empty: these, and the range that they span
};

struct LineChart {
  std::string id;           ///< unique in the page
  std::string title;        ///< for those who do not see it: what it is
  std::string description;  ///< and what it shows
  Axis x, y;
  std::vector<Line> lines = {};
  std::vector<Dot> dots = {};
  std::vector<Mark> marks = {};
};
void draw(Markup& out, const LineChart& chart);

/// A part of a bar.
struct Segment {
  std::size_t series = 0;
  std::string name;   ///< written inside where there is room
  double share = 0;   ///< of the bar, 0..1
  std::string value;  ///< shown under the pointer
};
struct Bar {
  std::string letter;
  std::vector<Segment> segments;
};
/// Bars of one length, each cut into shares.
struct BarChart {
  std::string id, title, description;
  std::vector<Bar> bars = {};
};
void draw(Markup& out, const BarChart& chart);

}  // namespace slackline::app
