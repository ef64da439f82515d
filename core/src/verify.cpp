#include <slackline/config_diff.h>
#include <slackline/error.h>
#include <slackline/file_ops.h>
#include <slackline/verify.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <sstream>

#include <nlohmann/json.hpp>

namespace slackline {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// A JSON object at `place`, which is "file" or "file:line".
class Fields {
 public:
  Fields(std::string place, const std::string& contents) : place_(std::move(place)) {
    try {
      json_ = Json::parse(contents);
    } catch (const Json::parse_error& error) {
      throw DataError(text(place_, ": no JSON at byte ", error.byte, " of ", contents.size()));
    }
    if (!json_.is_object()) throw DataError(text(place_, ": it is no JSON object"));
  }
  Fields(std::string place, Json json) : place_(std::move(place)), json_(std::move(json)) {}

  [[nodiscard]] Fields object(const char* key) const {
    const Json& value = at(key, &Json::is_object, "an object");
    return {place_, value};
  }
  [[nodiscard]] std::int64_t count(const char* key) const {
    const Json& value = at(key, &Json::is_number_unsigned, "a whole number from 0");
    return value.get<std::int64_t>();
  }
  /// JSON has no NaN: a loss that was none is null.
  [[nodiscard]] double loss() const {
    const auto found = json_.find("loss");
    if (found != json_.end() && found->is_null()) return std::numeric_limits<double>::quiet_NaN();
    return at("loss", &Json::is_number, "a number").get<double>();
  }
  [[nodiscard]] std::string digest(const char* key) const {
    std::string value = at(key, &Json::is_string, "a string").get<std::string>();
    if (value.size() != 16 || value.find_first_not_of("0123456789abcdef") != std::string::npos) {
      throw DataError(text(place_, ": '", key, "' is '", value,
                           "', and a digest has 16 hexadecimal digits in lower case"));
    }
    return value;
  }
  [[nodiscard]] DataDigests digests(const char* samples_key) const {
    return {count(samples_key), digest("order"), digest("pixels")};
  }

 private:
  const Json& at(const char* key, bool (Json::*is)() const noexcept, const char* what) const {
    const auto found = json_.find(key);
    if (found == json_.end()) throw DataError(text(place_, ": there is no '", key, "'"));
    if (!((*found).*is)()) {
      throw DataError(text(place_, ": '", key, "' is ", found->dump(), ", and should be ", what));
    }
    return *found;
  }

  std::string place_;
  Json json_;
};

std::vector<RunData::Step> read_steps(const fs::path& file) {
  std::vector<RunData::Step> out;
  std::istringstream lines(contents_of(file));
  std::string line;
  for (std::size_t number = 1; std::getline(lines, line); ++number) {
    const std::string place = text(file.string(), ":", number);
    const Fields fields(place, line);
    RunData::Step step{.step = static_cast<std::uint64_t>(fields.count("step")),
                       .epoch = static_cast<std::uint32_t>(fields.count("epoch")),
                       .loss = fields.loss(),
                       .data = fields.digests("images")};
    if (!out.empty() && step.step != out.back().step + 1) {
      throw DataError(text(place, ": step ", step.step, " stands behind step ", out.back().step,
                           ", and step ", out.back().step + 1, " should"));
    }
    out.push_back(std::move(step));
  }
  return out;
}

std::string digests_text(const DataDigests& data) {
  return text("order ", data.order, " pixels ", data.pixels);
}

/// "samples 32  order …  pixels …" of both, one below the other.
std::string both_text(const RunData& a, const DataDigests& in_a, const RunData& b,
                      const DataDigests& in_b) {
  return text("  samples ", in_a.samples, " ", digests_text(in_a), "  ", a.name, "\n  samples ",
              in_b.samples, " ", digests_text(in_b), "  ", b.name, "\n");
}

/// "order differs", "only pixels differ"; empty if nothing does. Both of one size.
std::string difference_text(const DataDigests& a, const DataDigests& b) {
  if (a.order != b.order) return "the order differs";
  return a.pixels != b.pixels ? "only the pixels differ" : "";
}

std::string place_text(const RunData::Step& step) {
  return text("step ", step.step, " (epoch ", step.epoch, ")");
}

std::string steps_text(const RunData& run) {
  if (run.steps.empty()) return text(run.name, " has no steps");
  return text(run.name, " has steps ", run.steps.front().step, " to ", run.steps.back().step);
}

/// The steps that both have, side by side.
struct Pair {
  const RunData::Step& a;
  const RunData::Step& b;
};
std::vector<Pair> common_steps(const RunData& a, const RunData& b) {
  std::vector<Pair> out;
  auto in_b = b.steps.begin();
  for (const RunData::Step& in_a : a.steps) {
    while (in_b != b.steps.end() && in_b->step < in_a.step) ++in_b;
    if (in_b != b.steps.end() && in_b->step == in_a.step) out.push_back({in_a, *in_b});
  }
  return out;
}

/// Two runs whose steps are of other sizes.
DataComparison compare_whole(const RunData& a, const RunData& b, const Pair& first) {
  const std::string why = text(place_text(first.a), " has ", first.a.data.samples, " samples in ",
                               a.name, " and ", first.b.data.samples, " in ", b.name);
  if (a.whole.samples != b.whole.samples) {
    return {DataVerdict::kDifferent, text("different: ", why, "; the whole runs ", a.whole.samples,
                                          " and ", b.whole.samples, "\n")};
  }
  const std::string difference = difference_text(a.whole, b.whole);
  const std::string note = text("the steps cannot be compared: ", why, "\n");
  if (difference.empty()) {
    return {DataVerdict::kIdentical, text("identical as a whole: ", a.whole.samples, " samples, ",
                                          digests_text(a.whole), "\n", note)};
  }
  return {DataVerdict::kDifferent, text("different as a whole: ", difference, "\n",
                                        both_text(a, a.whole, b, b.whole), note)};
}

DataComparison compare_steps(const RunData& a, const RunData& b, const std::vector<Pair>& common) {
  for (const Pair& pair : common) {
    if (pair.a.data.samples != pair.b.data.samples) return compare_whole(a, b, pair);
    const std::string difference = difference_text(pair.a.data, pair.b.data);
    if (!difference.empty()) {
      return {DataVerdict::kDifferent,
              text("different: first at ", place_text(pair.a), ": ", difference, "\n",
                   both_text(a, pair.a.data, b, pair.b.data))};
    }
  }
  if (common.size() == a.steps.size() && common.size() == b.steps.size()) {
    if (a.whole == b.whole) {
      return {DataVerdict::kIdentical,
              text("identical: ", common.size(), " steps, ", a.whole.samples, " samples, ",
                   digests_text(a.whole), "\n")};
    }
    return {DataVerdict::kDifferent,
            text("different as a whole, although all ", common.size(),
                 " steps are identical: in one directory result.json and steps.jsonl are not of "
                 "the same run\n",
                 both_text(a, a.whole, b, b.whole))};
  }
  const std::string both = text("; ", steps_text(a), ", ", steps_text(b), "\n");
  if (common.empty()) return {DataVerdict::kDifferent, "different: no step is in both" + both};
  if (common.front().a.step == a.steps.front().step &&
      common.front().b.step == b.steps.front().step) {
    const bool a_is_shorter = common.size() == a.steps.size();
    return {DataVerdict::kPrefix,
            text("identical as far as ", (a_is_shorter ? a : b).name, " goes: it is the first ",
                 common.size(), " steps of ", (a_is_shorter ? b : a).name, both)};
  }
  return {DataVerdict::kDifferent,
          text("different: they begin at different steps; the ", common.size(),
               " steps that are in both are identical", both)};
}

bool same_loss(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

std::string losses_text(const std::vector<Pair>& common) {
  if (common.empty()) return "";
  const auto found = std::find_if(common.begin(), common.end(), [](const Pair& pair) {
    return !same_loss(pair.a.loss, pair.b.loss);
  });
  if (found == common.end()) return text("losses: equal in all ", common.size(), " steps\n");
  std::ostringstream out;
  out.precision(std::numeric_limits<double>::max_digits10);
  out << "losses: first differ at " << place_text(found->a) << ": " << found->a.loss << " and "
      << found->b.loss << "\n";
  return out.str();
}

std::string configuration_text(const RunData& a, const RunData& b) {
  const std::vector<ConfigDifference> differences =
      config_diff(a.resolved_toml, b.resolved_toml, (fs::path(a.name) / "resolved.toml").string(),
                  (fs::path(b.name) / "resolved.toml").string());
  if (differences.empty()) return "configuration: the same\n";
  std::string out = text("configuration: ", differences.size(),
                         differences.size() == 1 ? " key differs\n" : " keys differ\n");
  for (const ConfigDifference& difference : differences) {
    out += text("  ", difference.key, ": ", difference.a.value_or("not there"), " | ",
                difference.b.value_or("not there"), "\n");
  }
  return out;
}

}  // namespace

RunData read_run_data(const fs::path& dir) {
  RunData out{.name = dir.string(),
              .steps = read_steps(dir / "steps.jsonl"),
              .whole = {},
              .resolved_toml = contents_of(dir / "resolved.toml")};
  const fs::path result = dir / "result.json";
  out.whole = Fields(result.string(), contents_of(result)).object("data").digests("samples");
  return out;
}

DataComparison compare_data(const RunData& a, const RunData& b) {
  const std::vector<Pair> common = common_steps(a, b);
  DataComparison out = compare_steps(a, b, common);
  out.text += losses_text(common) + configuration_text(a, b);
  return out;
}

}  // namespace slackline
