#pragma once

// A configuration as it was written: layers of TOML merged into one tree, each value with the place
// it came from.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace slackline {

/// A text that was parsed: a file, or the argument of a --set.
struct ConfigText {
  std::string name;                 ///< "train.toml", "--set#1"
  std::filesystem::path directory;  ///< that relative paths in it are resolved against
  std::vector<std::string> lines;
};

/// Where something stands. Lines and columns count from 1, columns in code points; line 0 is the
/// whole text.
struct Place {
  std::shared_ptr<const ConfigText> text;
  int line = 1;
  int column = 1;
  int length = 1;  ///< code points that a caret should underline

  /// "train.toml:3" or "--set#1", without the column: for comments.
  [[nodiscard]] std::string brief() const;
};

/// One thing that is wrong.
struct ConfigProblem {
  Place place;
  std::string message;
  std::string help;  ///< may be empty
};

/// "file:line:col: error: message", the line, carets, the help.
std::string text_of(const ConfigProblem& problem);

/// A TOML value.
struct ConfigNode {
  enum class Type { kTable, kArray, kString, kInteger, kFloat, kBoolean, kDate };
  struct Member;

  Type type = Type::kTable;
  std::string string;
  std::int64_t integer = 0;
  double floating = 0;
  bool boolean = false;
  std::vector<ConfigNode> items;          ///< of an array
  std::map<std::string, Member> members;  ///< of a table
  Place place;                            ///< of the value; of the header of a table

  [[nodiscard]] const ConfigNode* find(const std::string& key) const;
  /// "a string", "an integer", ….
  [[nodiscard]] const char* type_text() const;
};

struct ConfigNode::Member {
  ConfigNode value;
  Place key;
  /// It was written for another plugin of the same table, which a later layer replaced: it counts
  /// if the new plugin has such an option, and is dropped without a word if not.
  bool is_for_other_plugin = false;
};

/// Reads a file, what it extends, and the overrides on top, into one tree. What is wrong is added
/// to `problems`; the tree is then without the overrides that were wrong, or empty if a file was.
/// Throws IoError if `file` itself cannot be read.
///
/// Tables merge key by key; everything else, arrays of tables too, replaces what was there.
ConfigNode read_config(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                       std::vector<ConfigProblem>& problems);

/// A TOML basic string.
std::string toml_quoted(std::string_view text);

}  // namespace slackline
