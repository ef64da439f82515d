#include "trace_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

namespace slackline {
namespace {

using std::chrono::nanoseconds;
using Json = nlohmann::ordered_json;

/// Words of a track's name, in the order of the data's way. The host's prefetch is known by "host";
/// a device's stands behind its copies.
constexpr std::array<std::string_view, 9> kWay = {
    "input", "reader", "host", "copy", "upload", "prefetch", "launch", "compute", "replica"};

bool has_word(std::string_view name, std::string_view word) {
  for (std::size_t at = 0; (at = name.find(word, at)) != std::string_view::npos; ++at) {
    const std::size_t end = at + word.size();
    if ((at == 0 || name[at - 1] == ' ') && (end == name.size() || name[end] == ' ')) return true;
  }
  return false;
}

std::size_t place_on_the_way(std::string_view name) {
  const auto found = std::find_if(kWay.begin(), kWay.end(),
                                  [&](std::string_view word) { return has_word(name, word); });
  const std::size_t last = has_word(name, "loop") && found == kWay.end() ? 1 : 0;
  return static_cast<std::size_t>(found - kWay.begin()) + last;
}

/// Sorts as people count: "input 2" before "input 10".
std::string with_padded_numbers(std::string_view name) {
  constexpr std::size_t kDigits = 20;
  std::string out;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t end = std::min(name.find_first_not_of("0123456789", at), name.size());
    if (end > at) {
      out.append(kDigits - std::min(end - at, kDigits), '0').append(name.substr(at, end - at));
      at = end;
    } else {
      out += name[at++];
    }
  }
  return out;
}

/// A JSON string. Names may hold any bytes; JSON must be UTF-8.
std::string json_string(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Where a flow passes a track: in one span, which is longer than nothing.
struct FlowStop {
  int tid = 0;
  nanoseconds begin{}, end{};  ///< of the span
  nanoseconds at{};
};

/// Chooses the moments: each inside its span and later than the one before. Spans that are too
/// short for that leave the flow.
void set_moments(std::vector<FlowStop>& stops) {
  constexpr nanoseconds kTick{1};
  std::sort(stops.begin(), stops.end(), [](const FlowStop& x, const FlowStop& y) {
    return std::tie(x.end, x.tid) < std::tie(y.end, y.tid);
  });
  // The latest moments at which it can leave each.
  nanoseconds next = nanoseconds::max();
  for (auto stop = stops.rbegin(); stop != stops.rend(); ++stop) {
    stop->at = std::min(stop->end, next) - kTick;
    if (stop->at >= stop->begin) next = stop->at;
  }
  std::erase_if(stops, [](const FlowStop& stop) { return stop.at < stop.begin; });
  // The first is left as late as can be, and the others are entered as early as can be: so arrows
  // run from the end of a span to the beginning of the next where the order allows it.
  for (std::size_t i = 1; i < stops.size(); ++i) {
    stops[i].at = std::max(stops[i].begin, stops[i - 1].at + kTick);
  }
}

/// Puts the file together, event by event.
class Writer {
 public:
  explicit Writer(const Trace& trace) : begin_(trace.begin), end_(trace.end) {}

  void process(const std::string& name) { metadata("process_name", 0, "name", json_string(name)); }

  /// Everything of one track, which must come in the order of the data's way.
  void track(Trace::Track& track) {
    clip(track);
    if (track.left_out > 0) left_out_[track.name] = track.left_out;
    if (track.spans.empty() && track.counts.empty()) return;
    ++tid_;
    metadata("thread_name", tid_, "name", json_string(track.name));
    metadata("thread_sort_index", tid_, "sort_index", std::to_string(tid_));
    for (const Trace::Span& each : track.spans) span(each);
    for (const Trace::Count& each : track.counts) count(track.name, each);
  }

  /// The arrows, and the end of the file.
  std::string finish() {
    for (auto& [batch, stops] : flows_) {
      set_moments(stops);
      for (std::size_t i = 0; i < stops.size() && stops.size() > 1; ++i) {
        const bool is_last = i + 1 == stops.size();
        event(i == 0 ? "s" : is_last ? "f" : "t", stops[i].tid, "\"batch\"");
        at(stops[i].at);
        field("id", batch);
        out_ += is_last ? ",\"bp\":\"e\"}" : "}";
      }
    }
    const Json other = {
        {"traced_ms", std::chrono::duration<double, std::milli>(end_ - begin_).count()},
        {"left_out_events", left_out_}};
    return "{\"displayTimeUnit\":\"ms\",\n\"otherData\":" +
           other.dump(-1, ' ', false, Json::error_handler_t::replace) + ",\n\"traceEvents\":[" +
           out_ + "\n]}\n";
  }

 private:
  /// Leaves what lies in the trace, sorted as viewers want it: the outer span first.
  void clip(Trace::Track& track) const {
    std::erase_if(track.spans, [&](Trace::Span& span) {
      const bool was_empty = span.begin == span.end;
      span.begin = std::max(span.begin, begin_);
      span.end = std::min(span.end, end_);
      return span.end < span.begin || (span.end == span.begin && !was_empty);
    });
    std::stable_sort(track.spans.begin(), track.spans.end(),
                     [](const Trace::Span& x, const Trace::Span& y) {
                       return std::tie(x.begin, y.end) < std::tie(y.begin, x.end);
                     });
    std::erase_if(track.counts, [&](const Trace::Count& count) {
      return count.at < begin_ || count.at > end_ || !std::isfinite(count.value);
    });
    std::stable_sort(track.counts.begin(), track.counts.end(),
                     [](const Trace::Count& x, const Trace::Count& y) { return x.at < y.at; });
  }

  void span(const Trace::Span& span) {
    event("X", tid_, json_string(span.name));
    at(span.begin - begin_);
    out_ += ",\"dur\":";
    microseconds(span.end - span.begin);
    if (span.batch != TraceTrack::kNoBatch) {
      out_ += ",\"args\":{";
      out_ += "\"batch\":" + std::to_string(span.batch) + "}";
      if (span.begin < span.end) stop(span);
    }
    out_ += "}";
  }

  /// The last span of a batch on a track is where its flow passes.
  void stop(const Trace::Span& span) {
    std::vector<FlowStop>& stops = flows_[span.batch];
    if (stops.empty() || stops.back().tid != tid_) stops.push_back({.tid = tid_});
    FlowStop& last = stops.back();
    // Of two with the same end the outer one comes first.
    if (span.end - begin_ > last.end) {
      last.begin = span.begin - begin_;
      last.end = span.end - begin_;
    }
  }

  void count(const std::string& track, const Trace::Count& count) {
    event("C", tid_, json_string(track + ": " + count.name));
    at(count.at - begin_);
    std::array<char, 32> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), count.value).ptr;
    out_.append(",\"args\":{\"value\":").append(digits.data(), end).append("}}");
  }

  void metadata(const char* what, int tid, const char* key, const std::string& value) {
    event("M", tid, json_string(what));
    out_.append(",\"args\":{\"").append(key).append("\":").append(value).append("}}");
  }

  /// What all events have; the caller adds fields and the brace.
  void event(const char* phase, int tid, const std::string& quoted_name) {
    out_.append(out_.empty() ? "\n" : ",\n").append("{\"ph\":\"").append(phase);
    out_.append("\",\"cat\":\"slackline\",\"name\":").append(quoted_name);
    field("pid", kPid);
    field("tid", static_cast<std::uint64_t>(tid));
  }

  void field(const char* key, std::uint64_t value) {
    out_.append(",\"").append(key).append("\":").append(std::to_string(value));
  }

  void at(nanoseconds time) {
    out_ += ",\"ts\":";
    microseconds(time);
  }

  void microseconds(nanoseconds time) {
    const std::string thousandths = std::to_string(1000 + time.count() % 1000);
    out_ += std::to_string(time.count() / 1000) + "." + thousandths.substr(1);
  }

  // Viewers take the thread whose number is the process's for its main thread, and show it first:
  // no track is that.
  static constexpr std::uint64_t kPid = 1;

  const Clock::Time begin_, end_;
  int tid_ = kPid;
  std::string out_;
  std::map<std::uint64_t, std::vector<FlowStop>> flows_;  ///< by batch
  Json left_out_ = Json::object();
};

}  // namespace

std::string trace_json(Trace trace, const std::string& process_name) {
  const auto key = [](const Trace::Track& track) {
    return std::tuple(place_on_the_way(track.name), with_padded_numbers(track.name), track.name);
  };
  std::sort(trace.tracks.begin(), trace.tracks.end(),
            [&](const Trace::Track& x, const Trace::Track& y) { return key(x) < key(y); });
  Writer writer(trace);
  writer.process(process_name);
  for (Trace::Track& track : trace.tracks) writer.track(track);
  return writer.finish();
}

}  // namespace slackline
