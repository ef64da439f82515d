#include "quantities.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>
#include <utility>

namespace slackline {
namespace {

using Unit = std::pair<std::string_view, double>;

constexpr std::array<Unit, 5> kDurations = {
    {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}}};

constexpr std::array<Unit, 9> kSizes = {{{"B", 1},
                                         {"kB", 1e3},
                                         {"MB", 1e6},
                                         {"GB", 1e9},
                                         {"TB", 1e12},
                                         {"KiB", 1024},
                                         {"MiB", 1024.0 * 1024},
                                         {"GiB", 1024.0 * 1024 * 1024},
                                         {"TiB", 1024.0 * 1024 * 1024 * 1024}}};

template <std::size_t N>
std::optional<std::int64_t> parse(std::string_view text, const std::array<Unit, N>& units) {
  double number = 0;
  const auto [end, failed] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (failed != std::errc() || !std::isfinite(number) || std::signbit(number)) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  for (const auto& [name, factor] : units) {
    if (text != name) continue;
    const double value = number * factor;
    // 2^53: beyond it not every integer is a double.
    if (value > 0x1p53 || std::abs(value - std::round(value)) > 1e-6) return std::nullopt;
    return static_cast<std::int64_t>(std::llround(value));
  }
  return std::nullopt;
}

/// Units in rising order, of which the last that divides `value` is used.
template <std::size_t N>
std::string print(std::int64_t value, const std::array<Unit, N>& units) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < N; ++i) {
    if (value != 0 && value % static_cast<std::int64_t>(units[i].second) == 0) best = i;
  }
  return std::to_string(value / static_cast<std::int64_t>(units[best].second)) +
         std::string(units[best].first);
}

}  // namespace

std::optional<std::int64_t> parse_duration(std::string_view text) {
  return parse(text, kDurations);
}

std::optional<std::int64_t> parse_size(std::string_view text) { return parse(text, kSizes); }

std::string duration_text(std::int64_t nanoseconds) { return print(nanoseconds, kDurations); }

std::string size_text(std::int64_t bytes) { return print(bytes, kSizes); }

}  // namespace slackline
