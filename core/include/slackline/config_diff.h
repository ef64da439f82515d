#pragma once

#include <slackline/export.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slackline {

/// A key whose value is not the same in two configurations.
struct ConfigDifference {
  std::string key;                  ///< its whole path: "prefetcher.delay", "transform[0].mode"
  std::optional<std::string> a, b;  ///< the value as TOML; nothing where the key is not there

  bool operator==(const ConfigDifference&) const = default;
};

/// What differs between two configurations as text, usually two runs' resolved.toml: sorted by key,
/// empty if nothing does. Values are compared, not spellings: comments, order and layout do not
/// count, and 0x10 is 16; but 1 and 1.0 differ, being of different types. A list of values is one
/// value; a list of tables is compared table by table, by place.
///
/// Throws DataError if a text is no TOML; the names are for its message: "a/resolved.toml:3:7: …".
[[nodiscard]] SLACKLINE_API std::vector<ConfigDifference> config_diff(
    std::string_view a_toml, std::string_view b_toml,
    const std::string& a_name = "first configuration",
    const std::string& b_name = "second configuration");

}  // namespace slackline
