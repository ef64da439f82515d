// Fetches ahead without regard to when: tf.data's prefetch. A buffer at the host end whose size
// adapts (AUTOTUNE), and one of a single batch at each device's end, as the upstream benchmarks
// have them.

#include <slackline/plugin.h>
#include <slackline/prefetcher.h>

#include <cstdint>
#include <memory>
#include <string>

#include "buffer_limit.h"
#include "buffered_stream.h"
#include "streams/pass_through_stream.h"

namespace slackline {
namespace {

constexpr std::int64_t kAutotune = -1;
constexpr std::int64_t kSynchronous = 0;

class PlainPrefetcher final : public Prefetcher {
 public:
  struct Options {
    std::int64_t buffer_size = kAutotune;
    std::int64_t device_buffer_size = 1;
    std::int64_t max_buffer_size = 64;

    static OptionTable<Options> table() {
      return {
          option("buffer_size", &Options::buffer_size,
                 "batches that may wait at the host end; -1 starts at one and grows while that "
                 "helps, 0 fetches when asked")
              .range(-1, 65536)
              .unit("batches"),
          option("device_buffer_size", &Options::device_buffer_size,
                 "batches that may wait in the memory of each device; -1 and 0 as above")
              .range(-1, 65536)
              .unit("batches"),
          option("max_buffer_size", &Options::max_buffer_size,
                 "largest size that a buffer of -1 may grow to: the bound of its memory")
              .range(1, 65536)
              .unit("batches"),
      };
    }
  };

  PlainPrefetcher(const Options& options, Host& host) : options_(options), host_(host) {}

  std::unique_ptr<BatchStream> wrap(BatchStream& upstream, const StreamEnd& end) override {
    const std::int64_t size = end.is_host() ? options_.buffer_size : options_.device_buffer_size;
    if (size == kSynchronous) return std::make_unique<PassThroughStream>(upstream);
    return std::make_unique<BufferedStream>(
        upstream,
        size == kAutotune ? BufferLimit::autotuned(options_.max_buffer_size)
                          : BufferLimit::fixed(size),
        end.is_host() ? std::string("host") : text("device_", end.device), host_);
  }

 private:
  const Options options_;
  Host& host_;
};

}  // namespace

SLACKLINE_PLUGIN(Prefetcher, PlainPrefetcher, "plain",
                 "fetches batches ahead on a thread, as tf.data's prefetch does");

}  // namespace slackline
