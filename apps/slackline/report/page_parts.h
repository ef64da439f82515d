#pragma once

// What the sections of a page are made of.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "markup.h"
#include "run_files.h"

namespace slackline::app {

using Json = nlohmann::ordered_json;
using Runs = std::span<const RunFiles>;

/// Stands where there is no value.
inline constexpr const char* kNothing = "—";

/// "A" for the first run.
[[nodiscard]] std::string letter_of(std::size_t run);
[[nodiscard]] std::string name_of(const RunFiles& run);
/// A whole number.
[[nodiscard]] std::string count_text(double value);
/// Whether it has steps behind its warm-up.
[[nodiscard]] bool is_measured(const RunFiles& run);
/// "Run A has", "Runs A and C have".
[[nodiscard]] std::string runs_have(const std::vector<std::size_t>& runs);

/// The places of the runs for which `condition` holds.
template <class Condition>
std::vector<std::size_t> runs_where(Runs runs, Condition condition) {
  std::vector<std::size_t> out;
  for (std::size_t run = 0; run < runs.size(); ++run) {
    if (condition(runs[run])) out.push_back(run);
  }
  return out;
}

/// How a run is told from the others: its letter in its colour.
void write_key(Markup& out, std::size_t run);

/// A sentence about something that is not on the page, and why.
void write_missing(Markup& out, const std::string& sentence);

/// `name` as code that may be broken into lines behind each `separator`.
void write_breakable(Markup& out, std::string_view name, char separator);

/// The head of a table that has a column for each run.
void open_run_table(Markup& out, Runs runs, const std::string& first_column,
                    const char* column_class = "number");
void close_table(Markup& out);

}  // namespace slackline::app
