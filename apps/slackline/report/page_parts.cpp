#include "page_parts.h"

#include <cmath>

#include "chart.h"

namespace slackline::app {

std::string letter_of(std::size_t run) { return {static_cast<char>('A' + run)}; }

std::string name_of(const RunFiles& run) {
  return run.result.string("/configuration").value_or(run.dir.filename().string());
}

std::string count_text(double value) {
  // number_text() leaves out what is behind the point from 100 on; a count has nothing there.
  return std::abs(value) < 100 ? std::to_string(std::llround(value)) : number_text(value);
}

bool is_measured(const RunFiles& run) {
  return run.result.number("/throughput/measured_steps").value_or(0) > 0;
}

void write_key(Markup& out, std::size_t run) {
  out.open("span", {{"class", "key s" + std::to_string(run % kPaletteSize)}});
  out.leaf("b", letter_of(run));
  out.close();
}

void write_missing(Markup& out, const std::string& sentence) {
  out.leaf("p", sentence, {{"class", "missing"}});
}

std::string runs_have(const std::vector<std::size_t>& runs) {
  std::string out = runs.size() == 1 ? "Run " : "Runs ";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (i > 0) out += i + 1 == runs.size() ? " and " : ", ";
    out += letter_of(runs[i]);
  }
  return out + (runs.size() == 1 ? " has" : " have");
}

void open_run_table(Markup& out, Runs runs, const std::string& first_column,
                    const char* column_class) {
  out.open("div", {{"class", "scroll"}});
  out.open("table");
  out.open("thead");
  out.open("tr");
  out.leaf("th", first_column, {{"scope", "col"}});
  for (std::size_t run = 0; run < runs.size(); ++run) {
    out.open("th", {{"scope", "col"}, {"class", column_class}});
    write_key(out, run);
    out.close();
  }
  out.close();
  out.close();
  out.open("tbody");
}

void close_table(Markup& out) {
  for (int i = 0; i < 3; ++i) out.close();
}

void write_breakable(Markup& out, std::string_view name, char separator) {
  out.open("code");
  while (!name.empty()) {
    const std::size_t length = std::min(name.find(separator), name.size() - 1) + 1;
    out.text(name.substr(0, length));
    name.remove_prefix(length);
    if (!name.empty()) out.empty("wbr");
  }
  out.close();
}

}  // namespace slackline::app
