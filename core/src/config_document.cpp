#include "config_document.h"

#include <slackline/error.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <utility>

#include <toml++/toml.h>

namespace slackline {
namespace {

namespace fs = std::filesystem;
using Text = std::shared_ptr<const ConfigText>;

Text make_text(std::string name, fs::path directory, const std::string& contents) {
  auto out = std::make_shared<ConfigText>();
  out->name = std::move(name);
  out->directory = std::move(directory);
  std::istringstream in(contents);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    out->lines.push_back(std::move(line));
  }
  return out;
}

/// Turns toml++'s tree into ours. `shift` is added to the columns of the first line.
class Converter {
 public:
  explicit Converter(Text text, int shift = 0) : text_(std::move(text)), shift_(shift) {}

  Place place(const toml::source_region& region) const {
    Place out{.text = text_,
              .line = static_cast<int>(region.begin.line),
              .column = static_cast<int>(region.begin.column),
              .length = 1};
    if (region.end.line == region.begin.line && region.end.column > region.begin.column) {
      out.length = static_cast<int>(region.end.column - region.begin.column);
    }
    if (out.line == 1) out.column += shift_;
    return out;
  }

  ConfigNode convert(const toml::node& node) const {
    using Type = ConfigNode::Type;
    ConfigNode out;
    out.place = place(node.source());
    if (const auto* table = node.as_table()) {
      for (const auto& [key, value] : *table) {
        out.members[std::string(key.str())] = {convert(value), place(key.source()), false};
      }
    } else if (const auto* array = node.as_array()) {
      out.type = Type::kArray;
      for (const auto& item : *array) out.items.push_back(convert(item));
    } else if (const auto* string = node.as_string()) {
      out.type = Type::kString;
      out.string = string->get();
    } else if (const auto* integer = node.as_integer()) {
      out.type = Type::kInteger;
      out.integer = integer->get();
    } else if (const auto* floating = node.as_floating_point()) {
      out.type = Type::kFloat;
      out.floating = floating->get();
    } else if (const auto* boolean = node.as_boolean()) {
      out.type = Type::kBoolean;
      out.boolean = boolean->get();
    } else {
      out.type = Type::kDate;
    }
    return out;
  }

 private:
  Text text_;
  int shift_;
};

ConfigProblem syntax_problem(const toml::parse_error& error, const Text& text, int shift = 0) {
  constexpr std::string_view kTheirs = "Error while parsing ";
  std::string message(error.description());
  if (message.starts_with(kTheirs)) message.replace(0, kTheirs.size(), "cannot read this ");
  return {Converter(text, shift).place(error.source()), std::move(message), {}};
}

std::string plugin_of(const ConfigNode& table) {
  const ConfigNode* plugin = table.find("plugin");
  return plugin != nullptr ? plugin->string : "";
}

/// Lays `over` on `base`.
void merge(ConfigNode& base, ConfigNode over) {
  const std::string before = plugin_of(base);
  const std::string after = plugin_of(over);
  if (!before.empty() && !after.empty() && before != after) {
    for (auto& [key, member] : base.members) member.is_for_other_plugin = true;
  }
  base.place = over.place;
  for (auto& [key, member] : over.members) {
    const auto found = base.members.find(key);
    if (found != base.members.end() && found->second.value.type == ConfigNode::Type::kTable &&
        member.value.type == ConfigNode::Type::kTable) {
      found->second.key = member.key;
      found->second.is_for_other_plugin = false;
      merge(found->second.value, std::move(member.value));
    } else {
      base.members[key] = std::move(member);
    }
  }
}

/// Reads one file and, below it, what it extends. `chain` are the files being read.
class FileReader {
 public:
  explicit FileReader(std::vector<ConfigProblem>& problems) : problems_(problems) {}

  ConfigNode read(const fs::path& file) {
    const Text text = make_text(file.string(), fs::absolute(file).parent_path(), contents(file));
    ConfigNode node;
    node.place.text = text;
    try {
      std::string joined;
      for (const std::string& line : text->lines) joined += line + "\n";
      node = Converter(text).convert(toml::parse(joined, file.string()));
    } catch (const toml::parse_error& error) {
      problems_.push_back(syntax_problem(error, text));
      return node;
    }
    chain_.push_back(fs::weakly_canonical(file));
    node = with_parents(std::move(node), text);
    chain_.pop_back();
    return node;
  }

 private:
  static std::string contents(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw IoError(text(file.string(), ": cannot open"), errno);
    if (fs::is_directory(file)) throw IoError(text(file.string(), ": cannot read"), EISDIR);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  ConfigNode with_parents(ConfigNode node, const Text& text) {
    const auto extends = node.members.find("extends");
    if (extends == node.members.end()) return node;
    const ConfigNode asked = extends->second.value;
    node.members.erase(extends);
    ConfigNode out;
    const std::vector<ConfigNode> one = {asked};
    for (const ConfigNode& parent : asked.type == ConfigNode::Type::kArray ? asked.items : one) {
      if (parent.type != ConfigNode::Type::kString) {
        problems_.push_back({parent.place,
                             slackline::text("extends is ", parent.type_text(),
                                             ", but must be a file name or a list of them"),
                             {}});
        continue;
      }
      // Named as the user named the file that extends it, not by its absolute path.
      const fs::path file = (fs::path(text->name).parent_path() / parent.string).lexically_normal();
      if (!fs::is_regular_file(file)) {
        problems_.push_back(
            {parent.place, slackline::text("extends ", file.string(), ": no such file"), {}});
        continue;
      }
      if (std::find(chain_.begin(), chain_.end(), fs::weakly_canonical(file)) != chain_.end()) {
        std::string way;
        for (const fs::path& step : chain_) way += step.string() + " -> ";
        problems_.push_back(
            {parent.place, slackline::text("extends in a circle: ", way, file.string()), {}});
        continue;
      }
      merge(out, read(file));
    }
    merge(out, std::move(node));
    return out;
  }

  std::vector<ConfigProblem>& problems_;
  std::vector<fs::path> chain_;
};

/// One step of a path: a key, or a place in an array.
struct PathStep {
  std::string key;
  std::optional<std::size_t> index;
};

/// "transform[0].mode" or "transform.0.mode"; nullopt if it is no path.
std::optional<std::vector<PathStep>> parse_path(std::string_view path) {
  std::vector<PathStep> out;
  std::string step;
  const auto flush = [&] {
    if (step.empty()) return false;
    PathStep made{step, std::nullopt};
    if (std::all_of(step.begin(), step.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      std::size_t index = 0;
      std::from_chars(step.data(), step.data() + step.size(), index);
      made.index = index;
    }
    out.push_back(std::move(made));
    step.clear();
    return true;
  };
  for (std::size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c == '.' || c == '[') {
      const bool after_bracket = c == '.' && i > 0 && path[i - 1] == ']';
      if (!flush() && !after_bracket) return std::nullopt;
    } else if (c == ']') {
      if (!flush() || !out.back().index.has_value()) return std::nullopt;
    } else if (c != ' ') {
      step += c;
    }
  }
  if (!flush() && (path.empty() || path.back() != ']')) return std::nullopt;
  return out;
}

bool is_bare_word(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == '/';
  });
}

/// The value of a --set. A bare word that is no TOML is a string, for the shell's sake.
ConfigNode parse_value(const std::string& value, const Text& text, int column) {
  static constexpr std::string_view kKey = "x = ";
  const int shift = column - 1 - static_cast<int>(kKey.size());
  try {
    const toml::table parsed = toml::parse(std::string(kKey) + value);
    if (parsed.size() != 1) throw ConfigError("one override sets one key");
    return Converter(text, shift).convert(*parsed.get("x"));
  } catch (const toml::parse_error&) {
    if (!is_bare_word(value)) throw;
    ConfigNode out;
    out.type = ConfigNode::Type::kString;
    out.string = value;
    out.place = {text, 1, column, static_cast<int>(value.size())};
    return out;
  }
}

/// True for "prefetcher.plugin = …", and for a whole table.
bool chooses_plugin(std::string_view argument) {
  const std::size_t equals = argument.find('=');
  if (equals == std::string_view::npos) return false;
  std::string_view path = argument.substr(0, equals);
  while (path.ends_with(' ')) path.remove_suffix(1);
  return path.ends_with(".plugin") || argument.find('{', equals) != std::string_view::npos;
}

void apply_override(ConfigNode& root, const std::string& argument, int number,
                    std::vector<ConfigProblem>& problems) {
  const Text text = make_text("--set#" + std::to_string(number), fs::current_path(), argument);
  const std::size_t equals = argument.find('=');
  const std::string path = argument.substr(0, equals);
  const Place path_place{text, 1, 1, static_cast<int>(std::max<std::size_t>(path.size(), 1))};
  const auto steps = parse_path(path);
  if (equals == std::string::npos || !steps.has_value()) {
    problems.push_back({path_place, "an override reads path=TOML",
                        "for instance prefetcher.plugin='\"none\"' or run.steps=100"});
    return;
  }
  std::size_t begin = equals + 1;
  while (begin < argument.size() && argument[begin] == ' ') ++begin;
  ConfigNode value;
  try {
    value = parse_value(argument.substr(begin), text, static_cast<int>(begin) + 1);
  } catch (const toml::parse_error& error) {
    problems.push_back(syntax_problem(error, text, static_cast<int>(begin) - 4));
    problems.back().help = "a string needs its quotes past the shell: --set 'name=\"value\"'";
    return;
  } catch (const ConfigError& error) {
    problems.push_back({path_place, error.what(), {}});
    return;
  }

  ConfigNode* at = &root;
  for (std::size_t i = 0; i + 1 < steps->size(); ++i) {
    const PathStep& step = (*steps)[i];
    if (at->type == ConfigNode::Type::kArray && step.index.has_value()) {
      if (*step.index >= at->items.size()) {
        problems.push_back(
            {path_place,
             slackline::text("there is no ", path.substr(0, path.find_first_of("[.")), "[",
                             *step.index, "]: there are ", at->items.size()),
             {}});
        return;
      }
      at = &at->items[*step.index];
    } else if (at->type == ConfigNode::Type::kTable) {
      ConfigNode::Member& member = at->members[step.key];
      if (member.key.text == nullptr) {
        member.key = member.value.place = path_place;
      }
      at = &member.value;
    }
  }
  const PathStep& last = steps->back();
  if (at->type == ConfigNode::Type::kArray && last.index.has_value() &&
      *last.index < at->items.size()) {
    at->items[*last.index] = std::move(value);
    return;
  }
  if (at->type != ConfigNode::Type::kTable) {
    problems.push_back({path_place,
                        slackline::text(path, ": its parent is ", at->type_text(), ", not a table"),
                        at->type == ConfigNode::Type::kArray
                            ? "name one of a list by its place, from 0: transform[0].mode"
                            : ""});
    return;
  }
  ConfigNode layer;
  layer.place = at->place;
  layer.members[last.key] = {std::move(value), path_place, false};
  merge(*at, std::move(layer));
}

}  // namespace

std::string Place::brief() const {
  if (text == nullptr) return {};
  return text->name.starts_with("--set#") ? text->name : slackline::text(text->name, ":", line);
}

std::string text_of(const ConfigProblem& problem) {
  const Place& at = problem.place;
  std::string out = at.text != nullptr ? at.text->name : "configuration";
  if (at.line > 0) out += slackline::text(":", at.line, ":", at.column);
  out += ": error: " + problem.message;
  if (at.text != nullptr && at.line >= 1 &&
      static_cast<std::size_t>(at.line) <= at.text->lines.size()) {
    const std::string& line = at.text->lines[static_cast<std::size_t>(at.line) - 1];
    // Tabs stay tabs under tabs, so that the caret stands right whatever their width.
    std::string carets;
    int column = 1;
    for (const char c : line) {
      if (column >= at.column) break;
      if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) continue;  // inside a code point
      carets += c == '\t' ? '\t' : ' ';
      ++column;
    }
    carets += std::string(static_cast<std::size_t>(std::max(at.length, 1)), '^');
    out += slackline::text("\n  ", line, "\n  ", carets);
  }
  if (!problem.help.empty()) out += "\n  help: " + problem.help;
  return out;
}

const ConfigNode* ConfigNode::find(const std::string& key) const {
  const auto found = members.find(key);
  return found == members.end() ? nullptr : &found->second.value;
}

const char* ConfigNode::type_text() const {
  switch (type) {
    case Type::kTable:
      return "a table";
    case Type::kArray:
      return "an array";
    case Type::kString:
      return "a string";
    case Type::kInteger:
      return "an integer";
    case Type::kFloat:
      return "a float";
    case Type::kBoolean:
      return "a boolean";
    case Type::kDate:
      return "a date or time";
  }
  return "unknown";
}

ConfigNode read_config(const fs::path& file, const std::vector<std::string>& overrides,
                       std::vector<ConfigProblem>& problems) {
  ConfigNode root = FileReader(problems).read(file);
  if (!problems.empty()) return {};
  // All overrides are one layer: whatever their order, plugins are chosen first, so that none of
  // the others counts as written for the plugin that is replaced.
  for (const bool is_for_plugins : {true, false}) {
    int number = 0;
    for (const std::string& argument : overrides) {
      ++number;
      if (chooses_plugin(argument) == is_for_plugins) {
        apply_override(root, argument, number, problems);
      }
    }
  }
  return root;
}

std::string toml_quoted(std::string_view text) {
  static constexpr std::string_view kHexDigits = "0123456789ABCDEF";
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          out += slackline::text("\\u00", kHexDigits[c / 16], kHexDigits[c % 16]);
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

}  // namespace slackline
