#pragma once

// A table of the configuration against the options that it may have.

#include <slackline/registry.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config_document.h"

namespace slackline {

/// A key as it will be used, and where it comes from.
struct ResolvedKey {
  std::string name;
  std::string toml;  ///< the value as TOML, paths absolute
  Place place;       ///< of the value; without text for a default
};

/// A table after its check.
struct CheckedTable {
  OptionValues values{0};
  std::vector<ResolvedKey> keys;  ///< every option that has a value, in the table's order
};

/// The options that a table may have, and how to speak of it.
struct TableSchema {
  std::string title;  ///< "[run]", "source 'tfrecord'"
  const slackline_option* options = nullptr;
  std::size_t count = 0;
  std::vector<std::string> other_keys;  ///< allowed beside the options: "plugin"

  [[nodiscard]] std::vector<std::string> names() const;
  /// True for an option, false for the other keys.
  [[nodiscard]] bool has(std::string_view key) const;
};

/// Checks every key of `table`: known, of the right type, in range, nothing required missing. What
/// is wrong is added to `problems`. `other_tables` is called if there is an unknown key, to say
/// where it belongs.
CheckedTable check_table(const ConfigNode& table, const TableSchema& schema,
                         const std::function<std::vector<TableSchema>()>& other_tables,
                         std::vector<ConfigProblem>& problems);

}  // namespace slackline
