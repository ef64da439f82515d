#pragma once

#include <slackline/host.h>
#include <slackline/options.h>
#include <slackline/prefetcher.h>

#include "streams/buffers.h"

namespace slackline {

/// At which ends a prefetcher postpones fetches.
enum class TimedEnds { kDevice, kHost, kBoth };

/// The row of an `Options::where` of this type.
template <class Options>
Option<Options> where_option() {
  return choice(
      "where", &Options::where,
      {{"device", TimedEnds::kDevice}, {"host", TimedEnds::kHost}, {"both", TimedEnds::kBoth}},
      "whose fetches are postponed: those into the memory of each device, or those into "
      "the buffer before batches are dealt out");
}

/// Whether fetches are postponed at this end: `where` names it, and it has a buffer. Warns the user
/// where that is not so although it was asked for, or where it cannot do what it is for.
[[nodiscard]] bool is_timed(TimedEnds where, const BufferOptions& buffers, const StreamEnd& end,
                            Host& host);

}  // namespace slackline
