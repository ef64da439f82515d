#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace slackline {

// A quantity is a decimal number, at most one space, and a unit.

/// "11ms", "1.5s", "200us", "7ns", "2min" in nanoseconds; nullopt if it is no duration or too long.
std::optional<std::int64_t> parse_duration(std::string_view text);

/// "64MiB", "10kB", "1.5GB", "100B" in bytes; nullopt if it is no size or no whole number of bytes.
std::optional<std::int64_t> parse_size(std::string_view text);

/// The same quantities as text, in the largest unit that leaves a whole number: "1500us", "64MiB".
std::string duration_text(std::int64_t nanoseconds);
std::string size_text(std::int64_t bytes);

}  // namespace slackline
