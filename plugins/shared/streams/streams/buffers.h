#pragma once

#include <slackline/batch.h>
#include <slackline/host.h>
#include <slackline/options.h>
#include <slackline/prefetcher.h>

#include <cstdint>
#include <memory>

#include "streams/fetch_timing.h"

namespace slackline {

/// How much the prefetchers hold: the options of every prefetcher that has buffers. Its `Options`
/// derives from this, and its table lists the three rows below. The defaults are those of the
/// upstream benchmarks.
struct BufferOptions {
  static constexpr std::int64_t kAutotune = -1;
  static constexpr std::int64_t kNone = 0;

  std::int64_t buffer_size = kAutotune;
  std::int64_t device_buffer_size = 1;
  std::int64_t max_buffer_size = 64;

  /// Batches that may wait at this end, kAutotune or kNone.
  [[nodiscard]] std::int64_t size_at(const StreamEnd& end) const noexcept {
    return end.is_host() ? buffer_size : device_buffer_size;
  }
};

template <class Options>
Option<Options> buffer_size_option() {
  return option<Options, std::int64_t>("buffer_size", &Options::buffer_size,
                                       "batches that may wait at the host end; -1 starts at one "
                                       "and grows while that helps, 0 fetches when asked")
      .range(-1, 65536)
      .unit("batches");
}
template <class Options>
Option<Options> device_buffer_size_option() {
  return option<Options, std::int64_t>(
             "device_buffer_size", &Options::device_buffer_size,
             "batches that may wait in the memory of each device; -1 and 0 as above")
      .range(-1, 65536)
      .unit("batches");
}
template <class Options>
Option<Options> max_buffer_size_option() {
  return option<Options, std::int64_t>(
             "max_buffer_size", &Options::max_buffer_size,
             "largest size that a buffer of -1 may grow to: the bound of its memory")
      .range(1, 65536)
      .unit("batches");
}

/// The buffer that the options ask for at this end: a BufferedStream, or with a size of 0 a stream
/// that fetches when asked, where a timing has nothing to say.
[[nodiscard]] std::unique_ptr<BatchStream> make_buffer(
    BatchStream& upstream, const BufferOptions& options, const StreamEnd& end, Host& host,
    std::unique_ptr<FetchTiming> timing = nullptr);

}  // namespace slackline
