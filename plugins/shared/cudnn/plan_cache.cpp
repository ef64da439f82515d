#include "cudnn/plan_cache.h"

#include <slackline/error.h>

#include <cerrno>
#include <cmath>
#include <limits>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>
#include <sys/file.h>

namespace slackline::cudnn {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "slackline cuDNN plans";
constexpr std::int64_t kVersion = 1;

/// An object of the file, at `place`, with exactly the fields that are asked for.
class Fields {
 public:
  Fields(std::string place, const Json& json) : place_(std::move(place)), json_(json) {
    if (!json.is_object()) fail("is no JSON object");
  }

  [[nodiscard]] const Json& at(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) fail("has no '", key, "'");
    return *found;
  }
  [[nodiscard]] std::string string(const char* key) const {
    if (!at(key).is_string()) fail_as(key, "a string");
    return at(key).get<std::string>();
  }
  [[nodiscard]] std::int64_t count(const char* key) const {
    const Json& value = at(key);
    const bool is_count = value.is_number_unsigned() &&
                          value.get<std::uint64_t>() <= std::numeric_limits<std::int64_t>::max();
    if (!is_count) fail_as(key, "a whole number from 0");
    return value.get<std::int64_t>();
  }
  [[nodiscard]] double positive(const char* key) const {
    const Json& value = at(key);
    if (!value.is_number() || !(value.get<double>() > 0)) fail_as(key, "a number above 0");
    return value.get<double>();
  }
  [[nodiscard]] const Json& array(const char* key) const {
    if (!at(key).is_array()) fail_as(key, "a list");
    return at(key);
  }

  template <class... Parts>
  [[noreturn]] void fail(const Parts&... what) const {
    throw DataError(text(place_, " ", what...));
  }
  [[noreturn]] void fail_as(const char* key, const char* expected) const {
    fail("has ", at(key).dump(), " for '", key, "', and should have ", expected);
  }

 private:
  const std::string place_;
  const Json& json_;
};

/// [[type, value], …].
std::vector<EngineChoice::Knob> knobs_of(const Fields& entry) {
  std::vector<EngineChoice::Knob> out;
  for (const Json& knob : entry.array("knobs")) {
    const bool is_pair = knob.is_array() && knob.size() == 2 && knob[0].is_number_integer() &&
                         knob[1].is_number_integer();
    if (!is_pair) entry.fail_as("knobs", "pairs of whole numbers");
    out.push_back({knob[0].get<std::int64_t>(), knob[1].get<std::int64_t>()});
  }
  return out;
}

Json json_of(const std::vector<EngineChoice::Knob>& knobs) {
  Json out = Json::array();
  for (const EngineChoice::Knob& knob : knobs) out.push_back({knob.type, knob.value});
  return out;
}

/// One process, or thread, at a time has it; the others wait.
class FileLock {
 public:
  FileLock(FileOps& ops, fs::path file)
      : ops_(ops), file_(std::move(file)), descriptor_(ops.open(file_, FileOps::Open::kAppend)) {
    int status = 0;
    do {
      status = ::flock(descriptor_, LOCK_EX);
    } while (status != 0 && errno == EINTR);
    if (status == 0) return;
    const int error = errno;
    close();
    throw IoError(text(file_.string(), ": cannot lock"), error);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock() { close(); }

 private:
  void close() {
    try {
      ops_.close(descriptor_, file_);
    } catch (const IoError&) {
      // The lock is gone all the same, and nothing was written.
    }
  }

  FileOps& ops_;
  const fs::path file_;
  const int descriptor_;
};

}  // namespace

PlanCache PlanCache::load(const fs::path& file) {
  PlanCache cache;
  if (std::error_code ignored; !fs::exists(file, ignored)) return cache;
  const std::string contents = contents_of(file);
  Json json;
  try {
    json = Json::parse(contents);
  } catch (const Json::parse_error& error) {
    throw DataError(text(file.string(), ": no JSON at byte ", error.byte, " of ", contents.size()));
  }
  const Fields header(file.string() + ":", json);
  if (const std::string format = header.string("format"); format != kFormat) {
    header.fail("is '", format, "', and should be '", kFormat, "'");
  }
  if (const std::int64_t version = header.count("version"); version != kVersion) {
    header.fail("is of version ", version, ", and this program reads version ", kVersion);
  }
  for (const Json& each : header.array("plans")) {
    const Fields entry(text(file.string(), ": plan ", cache.entries_.size()), each);
    Key key{.device = entry.string("device"),
            .sm = static_cast<int>(entry.count("sm")),
            .graph = entry.string("graph"),
            .policy = entry.string("policy"),
            .cudnn = static_cast<std::size_t>(entry.count("cudnn"))};
    Entry value{.choice = {.engine = entry.count("engine"), .knobs = knobs_of(entry)},
                .workspace_bytes = static_cast<std::size_t>(entry.count("workspace_bytes")),
                .microseconds = entry.positive("microseconds")};
    if (!cache.entries_.emplace(std::move(key), std::move(value)).second) {
      entry.fail("is there a second time");
    }
  }
  return cache;
}

void PlanCache::save(FileOps& ops, const fs::path& file) const {
  // The lock's file is another one, as every save replaces this one. It is not removed: a process
  // that waits for it would get a lock that the next does not see.
  const FileLock lock(ops, file.string() + ".lock");
  PlanCache all = load(file);
  for (const auto& [key, entry] : entries_) {
    if (entry.is_new) all.entries_[key] = entry;
  }
  write_atomically(ops, file, all.json());
}

std::string PlanCache::json() const {
  std::string out =
      text("{\"format\": \"", kFormat, "\", \"version\": ", kVersion, ", \"plans\": [");
  const char* separator = "\n";
  for (const auto& [key, entry] : entries_) {
    const Json json = {{"device", key.device},
                       {"sm", key.sm},
                       {"graph", key.graph},
                       {"policy", key.policy},
                       {"cudnn", key.cudnn},
                       {"engine", entry.choice.engine},
                       {"knobs", json_of(entry.choice.knobs)},
                       {"workspace_bytes", entry.workspace_bytes},
                       {"microseconds", entry.microseconds}};
    out += std::exchange(separator, ",\n") + json.dump();
  }
  return out + "\n]}\n";
}

PlanCache::Key PlanCache::key_of(const Graph& graph, const Target& target, const Policy& policy) {
  return {.device = target.name(),
          .sm = target.sm(),
          .graph = graph.signature(),
          .policy = text_of(policy),
          .cudnn = library_version()};
}

std::optional<Plan> PlanCache::find(const Graph& graph, const Target& target,
                                    const Policy& policy) {
  const Key key = key_of(graph, target, policy);
  const auto stale = [&](const auto&... why) {
    account_.stale.push_back(text(key.graph, " on ", key.device, " (", key.policy, "): ", why...));
    return std::nullopt;
  };
  const auto found = entries_.find(key);
  if (found == entries_.end()) {
    // Keys that differ in cuDNN's version alone are neighbours.
    Key other = key;
    other.cudnn = 0;
    if (const auto next = entries_.lower_bound(other); next != entries_.end()) {
      other.cudnn = next->first.cudnn;
      if (other.fields() == next->first.fields()) {
        return stale("measured with cuDNN ", version_text(other.cudnn), ", and this is ",
                     version_text(key.cudnn));
      }
    }
    ++account_.absent;
    return std::nullopt;
  }
  const Entry& entry = found->second;
  std::string refusal;
  std::optional<Plan> plan = Plan::make(graph, target, entry.choice, refusal);
  if (plan) refusal = why_excluded(policy, graph, *plan);
  if (!refusal.empty()) return stale(text_of(entry.choice), ": ", refusal);
  if (plan->workspace_bytes() != entry.workspace_bytes) {
    return stale(text_of(entry.choice), " needs ", plan->workspace_bytes(),
                 " bytes of workspace, and not ", entry.workspace_bytes, " as before");
  }
  ++account_.found;
  return plan;
}

void PlanCache::put(const Graph& graph, const Target& target, const Policy& policy,
                    const Plan& plan, double microseconds) {
  entries_[key_of(graph, target, policy)] = {.choice = plan.choice(),
                                             .workspace_bytes = plan.workspace_bytes(),
                                             .microseconds = microseconds,
                                             .is_new = true};
}

}  // namespace slackline::cudnn
