#include <slackline/config_diff.h>
#include <slackline/error.h>
#include <slackline/options.h>

#include <algorithm>
#include <map>
#include <sstream>

#include <toml++/toml.h>

#include "config_document.h"

namespace slackline {
namespace {

using FlatConfig = std::map<std::string, std::string>;  ///< values as TOML, by path

bool is_bare(std::string_view key) {
  const auto is_bare_character = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  };
  return !key.empty() && std::all_of(key.begin(), key.end(), is_bare_character);
}

bool holds_containers(const toml::array& array) {
  return std::any_of(array.begin(), array.end(), [](const toml::node& item) {
    return item.is_table() || (item.is_array() && holds_containers(*item.as_array()));
  });
}

/// In one line, in one spelling for each value.
std::string value_text(const toml::node& node) {
  if (const toml::array* const array = node.as_array()) {
    std::string out;
    for (const toml::node& item : *array) out += (out.empty() ? "" : ", ") + value_text(item);
    return "[" + out + "]";
  }
  if (const auto* const string = node.as_string()) return toml_quoted(string->get());
  if (const auto* const number = node.as_floating_point()) {
    return option_detail::Traits<double>::literal(number->get());  // the shortest that reads back
  }
  std::ostringstream out;
  out << toml::toml_formatter(node, toml::format_flags::none);
  return out.str();
}

void flatten(const toml::node& node, const std::string& path, FlatConfig& out) {
  const toml::table* const table = node.as_table();
  const toml::array* const array = node.as_array();
  if (table != nullptr && (!table->empty() || path.empty())) {
    for (const auto& [key, value] : *table) {
      const std::string name = is_bare(key.str()) ? std::string(key.str()) : toml_quoted(key.str());
      flatten(value, path.empty() ? name : text(path, ".", name), out);
    }
  } else if (array != nullptr && holds_containers(*array)) {
    for (std::size_t i = 0; i < array->size(); ++i) {
      flatten(*array->get(i), text(path, "[", i, "]"), out);
    }
  } else {
    out[path] = table != nullptr ? "{}" : value_text(node);
  }
}

FlatConfig flat(std::string_view toml, const std::string& name) {
  FlatConfig out;
  try {
    flatten(toml::parse(toml, name), "", out);
  } catch (const toml::parse_error& error) {
    const toml::source_position at = error.source().begin;
    throw DataError(text(name, ":", at.line, ":", at.column, ": ", error.description()));
  }
  return out;
}

std::optional<std::string> value_of(const FlatConfig& config, const std::string& key) {
  const auto found = config.find(key);
  return found == config.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

std::vector<ConfigDifference> config_diff(std::string_view a_toml, std::string_view b_toml,
                                          const std::string& a_name, const std::string& b_name) {
  const FlatConfig a = flat(a_toml, a_name);
  const FlatConfig b = flat(b_toml, b_name);
  FlatConfig keys = a;
  keys.insert(b.begin(), b.end());
  std::vector<ConfigDifference> out;
  for (const auto& [key, value] : keys) {
    ConfigDifference difference{key, value_of(a, key), value_of(b, key)};
    if (difference.a != difference.b) out.push_back(std::move(difference));
  }
  return out;
}

}  // namespace slackline
