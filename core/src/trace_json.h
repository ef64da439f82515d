#pragma once

// The timeline of a run as a file that Perfetto and chrome://tracing open.

#include <slackline/clock.h>
#include <slackline/trace.h>

#include <cstdint>
#include <string>
#include <vector>

namespace slackline {

/// What was recorded between two moments.
struct Trace {
  struct Span {
    const char* name = nullptr;
    Clock::Time begin, end;
    std::uint64_t batch = TraceTrack::kNoBatch;
  };
  struct Count {
    const char* name = nullptr;
    Clock::Time at;
    double value = 0;
  };
  struct Track {
    std::string name;
    std::vector<Span> spans;  ///< in any order
    std::vector<Count> counts;
    std::uint64_t left_out = 0;  ///< later events that there was no room for
  };

  Clock::Time begin, end;
  std::vector<Track> tracks;  ///< in any order
};

/// The contents of trace.json, in the Trace Event Format ("Trace Event Format", Google, 2016).
///
/// Tracks with events become threads of one process, in the order of the data's way (TraceTrack).
/// Spans become complete events ("X"), clipped to the trace; those wholly outside are left out.
/// Counts become counters ("C") named "<track>: <name>", by whose name viewers tell them apart.
/// Times are microseconds since the beginning of the trace, to the nanosecond.
///
/// The spans of a batch are linked by one flow ("s", "t"…, "f"; id is the batch): it goes through
/// the last span of the batch on each track, in the order in which these end. So 64 decodings on a
/// worker are one place of the flow, and cause comes before effect although a fetch begins
/// before what it waits for.
[[nodiscard]] std::string trace_json(Trace trace, const std::string& process_name);

}  // namespace slackline
