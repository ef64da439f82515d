#include "config_check.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "did_you_mean.h"
#include "quantities.h"

namespace slackline {
namespace {

using Type = ConfigNode::Type;

bool has(const slackline_option& option, unsigned flag) { return (option.flags & flag) != 0; }

/// What the type is called in "must be …", and an example of it.
std::string expected_text(const slackline_option& option) {
  switch (option.type) {
    case SLACKLINE_BOOL:
      return "true or false";
    case SLACKLINE_INT:
      return "an integer";
    case SLACKLINE_FLOAT:
      return "a number";
    case SLACKLINE_STRING:
      return "a string";
    case SLACKLINE_PATH:
      return "a file name in quotes";
    case SLACKLINE_SIZE:
      return "a size like \"64MiB\" or a number of bytes";
    case SLACKLINE_DURATION:
      return "a duration like \"11ms\"";
    default:
      return "of a type that this program does not know";
  }
}

std::string number_text(double value) {
  std::array<char, 64> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return {digits.data(), end};
}

std::string shown(const ConfigNode& node) {
  switch (node.type) {
    case Type::kString:
      return toml_quoted(node.string);
    case Type::kInteger:
      return std::to_string(node.integer);
    case Type::kFloat:
      return number_text(node.floating);
    case Type::kBoolean:
      return node.boolean ? "true" : "false";
    default:
      return node.type_text();
  }
}

/// A bound of an integer as users write it.
std::string bound_text(const slackline_option& option, std::int64_t bound) {
  if (option.type == SLACKLINE_DURATION) return duration_text(bound);
  if (option.type == SLACKLINE_SIZE) return size_text(bound);
  return std::to_string(bound);
}

/// What an integer may be, with its unit: "1 to 1024 shards", "at least 0ns".
std::string range_text(const slackline_option& option) {
  std::string out =
      option.int_max == std::numeric_limits<std::int64_t>::max()
          ? "at least " + bound_text(option, option.int_min)
          : bound_text(option, option.int_min) + " to " + bound_text(option, option.int_max);
  return *option.unit == '\0' ? out : text(out, " ", option.unit);
}

/// One value of an option, whatever its type.
struct Item {
  std::int64_t integer = 0;
  double floating = 0;
  std::string string{};
  std::string toml{};
};

class ValueReader {
 public:
  ValueReader(const slackline_option& option, std::vector<ConfigProblem>& problems)
      : option_(option), problems_(problems) {}

  std::optional<Item> read(const ConfigNode& node) {
    switch (option_.type) {
      case SLACKLINE_BOOL:
        if (node.type != Type::kBoolean) return wrong_type(node);
        return Item{.integer = node.boolean ? 1 : 0, .toml = shown(node)};
      case SLACKLINE_INT:
        if (node.type != Type::kInteger) return wrong_type(node);
        return in_range(node, node.integer);
      case SLACKLINE_FLOAT:
        return number(node);
      case SLACKLINE_SIZE:
      case SLACKLINE_DURATION:
        return quantity(node);
      case SLACKLINE_STRING:
        if (node.type != Type::kString) return wrong_type(node);
        return word(node);
      case SLACKLINE_PATH:
        if (node.type != Type::kString) return wrong_type(node);
        return path(node);
      default:
        return wrong_type(node);
    }
  }

  std::nullopt_t wrong_type(const ConfigNode& node) {
    return refuse(node, text("'", option_.name, "' is ", node.type_text(), ", but must be ",
                             has(option_, SLACKLINE_LIST) && node.type != Type::kArray
                                 ? "an array, each item "
                                 : "",
                             expected_text(option_)));
  }

  std::nullopt_t refuse(const ConfigNode& node, std::string message, std::string help = {}) {
    problems_.push_back({node.place, std::move(message), std::move(help)});
    return std::nullopt;
  }

 private:
  std::optional<Item> in_range(const ConfigNode& node, std::int64_t value) {
    if (has(option_, SLACKLINE_HAS_RANGE) && (value < option_.int_min || value > option_.int_max)) {
      return refuse(node, text("'", option_.name, "' = ", shown(node),
                               " is out of range: ", range_text(option_)));
    }
    return Item{.integer = value, .toml = shown(node)};
  }

  std::optional<Item> number(const ConfigNode& node) {
    if (node.type != Type::kInteger && node.type != Type::kFloat) return wrong_type(node);
    const double value =
        node.type == Type::kInteger ? static_cast<double>(node.integer) : node.floating;
    const bool in_range =
        !has(option_, SLACKLINE_HAS_RANGE) || (value >= option_.min && value <= option_.max);
    if (!in_range || !std::isfinite(value)) {
      return refuse(node,
                    text("'", option_.name, "' = ", shown(node), " is out of range: ",
                         has(option_, SLACKLINE_HAS_RANGE)
                             ? text(number_text(option_.min), " to ", number_text(option_.max))
                             : "any finite number"));
    }
    std::string toml = number_text(value);
    if (toml.find_first_of(".e") == std::string::npos) toml += ".0";
    return Item{.floating = value, .toml = std::move(toml)};
  }

  std::optional<Item> quantity(const ConfigNode& node) {
    if (node.type == Type::kInteger && option_.type == SLACKLINE_SIZE) {
      return in_range(node, node.integer);
    }
    if (node.type != Type::kString) return wrong_type(node);
    const auto value =
        option_.type == SLACKLINE_SIZE ? parse_size(node.string) : parse_duration(node.string);
    if (!value.has_value()) {
      return refuse(
          node, text("'", option_.name, "' = ", shown(node), " is not ", expected_text(option_)),
          option_.type == SLACKLINE_SIZE ? "units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
                                         : "units are ns, us, ms, s, min");
    }
    return in_range(node, *value);
  }

  std::optional<Item> word(const ConfigNode& node) {
    const std::vector<std::string> choices(option_.choices, option_.choices + option_.choice_count);
    if (!choices.empty() &&
        std::find(choices.begin(), choices.end(), node.string) == choices.end()) {
      std::string list;
      for (const std::string& choice : choices)
        list += (list.empty() ? "" : ", ") + toml_quoted(choice);
      const std::string meant = did_you_mean(node.string, choices);
      return refuse(node, text("'", option_.name, "' = ", shown(node), " is not one of ", list),
                    meant.empty() ? "" : text("did you mean ", toml_quoted(meant), "?"));
    }
    return Item{.string = node.string, .toml = shown(node)};
  }

  std::optional<Item> path(const ConfigNode& node) {
    std::filesystem::path file = node.string;
    if (!node.string.empty() && node.place.text != nullptr) {
      file = (node.place.text->directory / file).lexically_normal();
    }
    return Item{.string = file.string(), .toml = toml_quoted(file.string())};
  }

  const slackline_option& option_;
  std::vector<ConfigProblem>& problems_;
};

/// The items of an option; nullopt, with problems added, if one of them is wrong.
std::optional<std::vector<Item>> read_items(const slackline_option& option, const ConfigNode& node,
                                            std::vector<ConfigProblem>& problems) {
  ValueReader reader(option, problems);
  if (!has(option, SLACKLINE_LIST)) {
    auto item = reader.read(node);
    if (!item.has_value()) return std::nullopt;
    return std::vector<Item>{std::move(*item)};
  }
  if (node.type != Type::kArray) return reader.wrong_type(node);
  const std::size_t count = node.items.size();
  if (count < option.items_min || (option.items_max != 0 && count > option.items_max)) {
    const std::string wanted =
        option.items_min == option.items_max ? std::to_string(option.items_min)
        : option.items_max == 0              ? text("at least ", option.items_min)
                                             : text(option.items_min, " to ", option.items_max);
    return reader.refuse(node,
                         text("'", option.name, "' has ", count, " items, but must have ", wanted));
  }
  std::vector<Item> items;
  for (const ConfigNode& each : node.items) {
    auto item = reader.read(each);
    if (item.has_value()) items.push_back(std::move(*item));
  }
  if (items.size() != count) return std::nullopt;
  return items;
}

void store(OptionValues& values, std::size_t i, const slackline_option& option,
           const std::vector<Item>& items) {
  std::vector<std::int64_t> ints;
  std::vector<double> floats;
  std::vector<std::string> strings;
  for (const Item& item : items) {
    ints.push_back(item.integer);
    floats.push_back(item.floating);
    strings.push_back(item.string);
  }
  if (option.type == SLACKLINE_FLOAT) {
    values.set_floats(i, std::move(floats));
  } else if (option.type == SLACKLINE_STRING || option.type == SLACKLINE_PATH) {
    values.set_strings(i, std::move(strings));
  } else {
    values.set_ints(i, std::move(ints));
  }
}

std::string toml_of(const slackline_option& option, const std::vector<Item>& items) {
  if (!has(option, SLACKLINE_LIST)) return items.front().toml;
  std::string out = "[";
  for (std::size_t i = 0; i < items.size(); ++i) out += (i == 0 ? "" : ", ") + items[i].toml;
  return out + "]";
}

/// What to say of a key that the table does not have.
std::string help_for_unknown(const std::string& key, const TableSchema& schema,
                             const std::function<std::vector<TableSchema>()>& other_tables) {
  const std::string meant = did_you_mean(key, schema.names());
  if (!meant.empty()) return text("did you mean '", meant, "'?");
  for (const TableSchema& other : other_tables()) {
    if (other.has(key)) return text("'", key, "' belongs to ", other.title);
  }
  return {};
}

}  // namespace

std::vector<std::string> TableSchema::names() const {
  std::vector<std::string> out = other_keys;
  for (std::size_t i = 0; i < count; ++i) out.emplace_back(options[i].name);
  return out;
}

bool TableSchema::has(std::string_view key) const {
  return std::any_of(options, options + count,
                     [&](const slackline_option& option) { return option.name == key; });
}

CheckedTable check_table(const ConfigNode& table, const TableSchema& schema,
                         const std::function<std::vector<TableSchema>()>& other_tables,
                         std::vector<ConfigProblem>& problems) {
  const auto known = schema.names();
  for (const auto& [key, member] : table.members) {
    if (member.is_for_other_plugin || std::find(known.begin(), known.end(), key) != known.end()) {
      continue;
    }
    problems.push_back({member.key, text(schema.title, " has no option '", key, "'"),
                        help_for_unknown(key, schema, other_tables)});
  }

  CheckedTable out{OptionValues(schema.count), {}};
  for (std::size_t i = 0; i < schema.count; ++i) {
    const slackline_option& option = schema.options[i];
    const ConfigNode* node = table.find(option.name);
    if (node != nullptr) {
      const auto items = read_items(option, *node, problems);
      if (!items.has_value()) continue;
      store(out.values, i, option, *items);
      out.keys.push_back({option.name, toml_of(option, *items), node->place});
    } else if (has(option, SLACKLINE_REQUIRED)) {
      problems.push_back({table.place,
                          text(schema.title, " needs the option '", option.name, "': ", option.doc),
                          *option.example_toml != '\0'
                              ? text("for instance ", option.name, " = ", option.example_toml)
                              : ""});
    } else {
      out.keys.push_back({option.name, option.default_toml, {}});
    }
  }
  return out;
}

}  // namespace slackline
