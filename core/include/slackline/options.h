#pragma once

#include <slackline/plugin_abi.h>

#include <array>
#include <charconv>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace slackline {

// How an author describes options: a plain struct whose initialisers are the defaults, and a table
// that binds names to its members.
//
//     struct Options {
//       std::vector<Path> files;
//       std::int64_t cycle_length = 10;
//
//       static OptionTable<Options> table() {
//         return {
//             option("files", &Options::files, "TFRecord shards; globs allowed").required(),
//             option("cycle_length", &Options::cycle_length, "shards read in turn")
//                 .range(1, 1024).unit("shards"),
//         };
//       }
//     };
//
// Types: bool, integers, double, std::string, Path, Bytes, std::chrono::nanoseconds, enums (through
// choice()), and std::vector or std::array of these.

/// A file name. In TOML relative to the file it stands in; here absolute. May be a glob.
struct Path {
  std::string value;
};

/// A size in bytes. In TOML "64MiB", "10kB" or a plain integer.
struct Bytes {
  std::uint64_t value = 0;
};

namespace option_detail {

inline std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

/// The largest unit that divides `value` without rest: 1500 with {us=1000, ns=1} is "1500ns".
template <std::size_t N>
std::string in_units(std::uint64_t value,
                     const std::array<std::pair<const char*, std::uint64_t>, N>& units) {
  for (const auto& [name, factor] : units) {
    if (value % factor == 0 && value != 0) {
      return toml_string(std::to_string(value / factor) + name);
    }
  }
  return toml_string("0" + std::string(units.back().first));
}

/// How a C++ type is declared, written as TOML and read from a slackline_value.
template <class T>
struct Traits;

template <>
struct Traits<bool> {
  static constexpr slackline_type kType = SLACKLINE_BOOL;
  static std::string literal(bool value) { return value ? "true" : "false"; }
  static bool read(const slackline_value& value, std::size_t i) { return value.ints[i] != 0; }
};

template <std::integral T>
requires(!std::same_as<T, bool>) struct Traits<T> {
  static constexpr slackline_type kType = SLACKLINE_INT;
  static std::string literal(T value) { return std::to_string(value); }
  static T read(const slackline_value& value, std::size_t i) {
    return static_cast<T>(value.ints[i]);
  }
};

template <std::floating_point T>
struct Traits<T> {
  static constexpr slackline_type kType = SLACKLINE_FLOAT;
  static std::string literal(T value) {
    std::array<char, 64> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    std::string out(digits.data(), end);
    if (out.find_first_of(".eni") == std::string::npos) out += ".0";
    return out;
  }
  static T read(const slackline_value& value, std::size_t i) {
    return static_cast<T>(value.floats[i]);
  }
};

template <>
struct Traits<std::string> {
  static constexpr slackline_type kType = SLACKLINE_STRING;
  static std::string literal(const std::string& value) { return toml_string(value); }
  static std::string read(const slackline_value& value, std::size_t i) { return value.strings[i]; }
};

template <>
struct Traits<Path> {
  static constexpr slackline_type kType = SLACKLINE_PATH;
  static std::string literal(const Path& path) { return toml_string(path.value); }
  static Path read(const slackline_value& value, std::size_t i) { return {value.strings[i]}; }
};

template <>
struct Traits<Bytes> {
  static constexpr slackline_type kType = SLACKLINE_SIZE;
  static std::string literal(Bytes bytes) {
    return in_units(bytes.value,
                    std::array<std::pair<const char*, std::uint64_t>, 4>{
                        {{"GiB", 1u << 30}, {"MiB", 1u << 20}, {"KiB", 1u << 10}, {"B", 1}}});
  }
  static Bytes read(const slackline_value& value, std::size_t i) {
    return {static_cast<std::uint64_t>(value.ints[i])};
  }
};

template <>
struct Traits<std::chrono::nanoseconds> {
  static constexpr slackline_type kType = SLACKLINE_DURATION;
  static std::string literal(std::chrono::nanoseconds value) {
    return in_units(static_cast<std::uint64_t>(value.count()),
                    std::array<std::pair<const char*, std::uint64_t>, 4>{
                        {{"s", 1'000'000'000}, {"ms", 1'000'000}, {"us", 1'000}, {"ns", 1}}});
  }
  static std::chrono::nanoseconds read(const slackline_value& value, std::size_t i) {
    return std::chrono::nanoseconds(value.ints[i]);
  }
};

/// Lists: how many items, and what one item is.
template <class T>
struct List {
  static constexpr bool kIsList = false;
  using Item = T;
};
template <class T>
struct List<std::vector<T>> {
  static constexpr bool kIsList = true;
  static constexpr std::uint32_t kMin = 0, kMax = 0;
  using Item = T;
};
template <class T, std::size_t N>
struct List<std::array<T, N>> {
  static constexpr bool kIsList = true;
  static constexpr std::uint32_t kMin = N, kMax = N;
  using Item = T;
};

template <class T, class Literal>
std::string literal_of(const T& value, const Literal& item_literal) {
  if constexpr (List<T>::kIsList) {
    std::string out = "[";
    for (std::size_t i = 0; i < value.size(); ++i) {
      out += (i == 0 ? "" : ", ") + item_literal(value[i]);
    }
    return out + "]";
  } else {
    return item_literal(value);
  }
}

template <class T, class Read>
T value_of(const slackline_value& value, const Read& read_item) {
  if constexpr (List<T>::kIsList) {
    T out{};
    if constexpr (requires { out.resize(0); }) out.resize(value.count);
    for (std::size_t i = 0; i < value.count; ++i) out[i] = read_item(value, i);
    return out;
  } else {
    return read_item(value, 0);
  }
}

}  // namespace option_detail

/// One row of a table. Made by option() and choice(), then refined by the methods.
template <class Options>
class Option {
 public:
  /// Must be given. The member's initialiser is then of no importance.
  Option required() && {
    flags_ |= SLACKLINE_REQUIRED;
    return std::move(*this);
  }

  /// Allowed values, both ends included; for a list, of each item.
  template <class Number>
  requires std::is_arithmetic_v<Number> Option range(Number min, Number max) && {
    flags_ |= SLACKLINE_HAS_RANGE;
    min_ = static_cast<double>(min);
    max_ = static_cast<double>(max);
    int_min_ = static_cast<std::int64_t>(min);
    int_max_ = static_cast<std::int64_t>(max);
    return std::move(*this);
  }
  Option range(std::chrono::nanoseconds min, std::chrono::nanoseconds max) && {
    return std::move(*this).range(min.count(), max.count());
  }
  Option range(Bytes min, Bytes max) && {
    return std::move(*this).range(static_cast<std::int64_t>(min.value),
                                  static_cast<std::int64_t>(max.value));
  }

  /// What the number counts: "records", "pixels". Durations and sizes have theirs already.
  Option unit(std::string unit) && {
    unit_ = std::move(unit);
    return std::move(*this);
  }

  /// A TOML literal for the docs where the default shows too little.
  Option example(std::string toml) && {
    example_ = std::move(toml);
    return std::move(*this);
  }

  /// How many items the list may have.
  Option items(std::uint32_t min, std::uint32_t max) && {
    items_min_ = min;
    items_max_ = max;
    return std::move(*this);
  }

 private:
  template <class O, class T>
  friend Option<O> option(std::string name, T O::*member, std::string doc);
  template <class O, class T>
  friend Option<O> choice(
      std::string name, T O::*member,
      std::vector<std::pair<std::string, typename option_detail::List<T>::Item>> choices,
      std::string doc);
  template <class O>
  friend class OptionTable;

  template <class T>
  static Option make(std::string name, std::string doc, slackline_type type) {
    Option made;
    made.name_ = std::move(name);
    made.doc_ = std::move(doc);
    made.type_ = type;
    if constexpr (option_detail::List<T>::kIsList) {
      made.flags_ |= SLACKLINE_LIST;
      made.items_min_ = option_detail::List<T>::kMin;
      made.items_max_ = option_detail::List<T>::kMax;
    }
    return made;
  }

  std::string name_, doc_, unit_, default_, example_;
  std::vector<std::string> choices_;
  slackline_type type_ = SLACKLINE_BOOL;
  std::uint32_t flags_ = 0;
  double min_ = 0, max_ = 0;
  std::int64_t int_min_ = 0, int_max_ = 0;
  std::uint32_t items_min_ = 0, items_max_ = 0;
  std::function<void(Options&, const slackline_value&)> store_;
};

/// An option bound to a member. Its default is what the member is initialised with.
template <class Options, class T>
Option<Options> option(std::string name, T Options::*member, std::string doc) {
  using Item = typename option_detail::List<T>::Item;
  using Traits = option_detail::Traits<Item>;
  auto made = Option<Options>::template make<T>(std::move(name), std::move(doc), Traits::kType);
  made.default_ = option_detail::literal_of<T>(Options{}.*member, Traits::literal);
  made.store_ = [member](Options& options, const slackline_value& value) {
    options.*member = option_detail::value_of<T>(value, Traits::read);
  };
  if constexpr (std::integral<Item> && !std::same_as<Item, bool>) {
    constexpr auto kLargest = std::numeric_limits<std::int64_t>::max();
    const auto max = std::numeric_limits<Item>::max();
    return std::move(made).range(
        static_cast<std::int64_t>(std::numeric_limits<Item>::min()),
        std::cmp_greater(max, kLargest) ? kLargest : static_cast<std::int64_t>(max));
  } else if constexpr (std::same_as<Item, Bytes> || std::same_as<Item, std::chrono::nanoseconds>) {
    return std::move(made).range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max());
  } else {
    return made;
  }
}

/// An option that takes one of a few words; each stands for a value of the member (an enum, say).
template <class Options, class T>
Option<Options> choice(
    std::string name, T Options::*member,
    std::vector<std::pair<std::string, typename option_detail::List<T>::Item>> choices,
    std::string doc) {
  using Item = typename option_detail::List<T>::Item;
  auto made = Option<Options>::template make<T>(std::move(name), std::move(doc), SLACKLINE_STRING);
  for (const auto& [word, value] : choices) made.choices_.push_back(word);
  made.default_ = option_detail::literal_of<T>(Options{}.*member, [&](const Item& item) {
    for (const auto& [word, value] : choices) {
      if (value == item) return option_detail::toml_string(word);
    }
    return std::string("\"\"");
  });
  made.store_ = [member, choices](Options& options, const slackline_value& value) {
    options.*member =
        option_detail::value_of<T>(value, [&](const slackline_value& v, std::size_t i) {
          for (const auto& [word, meaning] : choices) {
            if (word == v.strings[i]) return meaning;
          }
          return choices.front().second;  // not reached: the program has checked the word
        });
  };
  return made;
}

/// The options of one plugin, or of one table of core's own.
template <class Options>
class OptionTable {
 public:
  OptionTable(std::initializer_list<Option<Options>> rows) : rows_(rows) {
    for (const Option<Options>& row : rows_) {
      std::vector<const char*>& words = choice_words_.emplace_back();
      for (const std::string& word : row.choices_) words.push_back(word.c_str());
    }
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const Option<Options>& row = rows_[i];
      described_.push_back({
          .struct_size = sizeof(slackline_option),
          .type = row.type_,
          .flags = row.flags_,
          .choice_count = static_cast<std::uint32_t>(row.choices_.size()),
          .name = row.name_.c_str(),
          .doc = row.doc_.c_str(),
          .unit = row.unit_.c_str(),
          .default_toml = row.default_.c_str(),
          .example_toml = row.example_.c_str(),
          .choices = choice_words_[i].data(),
          .min = row.min_,
          .max = row.max_,
          .int_min = row.int_min_,
          .int_max = row.int_max_,
          .items_min = row.items_min_,
          .items_max = row.items_max_,
      });
    }
  }

  // The C rows point into the strings of this object.
  OptionTable(const OptionTable&) = delete;
  OptionTable& operator=(const OptionTable&) = delete;

  [[nodiscard]] const std::vector<slackline_option>& rows() const noexcept { return described_; }

  /// The struct with the given values; members that are not set keep their initialiser.
  [[nodiscard]] Options bind(const slackline_value* values) const {
    Options options;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (values[i].is_set != 0) rows_[i].store_(options, values[i]);
    }
    return options;
  }

 private:
  std::vector<Option<Options>> rows_;
  std::vector<std::vector<const char*>> choice_words_;
  std::vector<slackline_option> described_;
};

}  // namespace slackline
