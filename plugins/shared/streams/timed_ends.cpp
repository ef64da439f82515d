#include "streams/timed_ends.h"

#include <slackline/error.h>

#include "streams/buffered_stream.h"

namespace slackline {

bool is_timed(TimedEnds where, const BufferOptions& buffers, const StreamEnd& end, Host& host) {
  const TimedEnds here = end.is_host() ? TimedEnds::kHost : TimedEnds::kDevice;
  if (where != TimedEnds::kBoth && where != here) return false;
  if (buffers.size_at(end) == BufferOptions::kNone) {
    host.warn(text(name_of(end), ": ", end.is_host() ? "buffer_size" : "device_buffer_size",
                   " = 0 fetches when asked: nothing can be postponed"));
    return false;
  }
  if (!end.has_input_work) {
    host.warn("batches are made up: there is no input work to postpone");
  }
  if (!end.is_host() && !end.uploads) {
    host.warn(text(name_of(end),
                   " reads the host's memory: there is no upload to postpone, only the fetch"));
  }
  return true;
}

}  // namespace slackline
