#include "streams/buffers.h"

#include <utility>

#include "streams/buffer_limit.h"
#include "streams/buffered_stream.h"
#include "streams/pass_through_stream.h"

namespace slackline {

std::unique_ptr<BatchStream> make_buffer(BatchStream& upstream, const BufferOptions& options,
                                         const StreamEnd& end, Host& host,
                                         std::unique_ptr<FetchTiming> timing) {
  const std::int64_t size = options.size_at(end);
  if (size == BufferOptions::kNone) return std::make_unique<PassThroughStream>(upstream);
  return std::make_unique<BufferedStream>(upstream,
                                          size == BufferOptions::kAutotune
                                              ? BufferLimit::autotuned(options.max_buffer_size)
                                              : BufferLimit::fixed(size),
                                          end, host, std::move(timing));
}

}  // namespace slackline
