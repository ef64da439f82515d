// Fetches ahead without regard to when: tf.data's prefetch. A buffer at the host end whose size
// adapts (AUTOTUNE), and one of a single batch at each device's end, as the upstream benchmarks
// have them.

#include <slackline/plugin.h>
#include <slackline/prefetcher.h>

#include <memory>

#include "streams/buffers.h"

namespace slackline {
namespace {

class PlainPrefetcher final : public Prefetcher {
 public:
  struct Options : BufferOptions {
    static OptionTable<Options> table() {
      return {
          buffer_size_option<Options>(),
          device_buffer_size_option<Options>(),
          max_buffer_size_option<Options>(),
      };
    }
  };

  PlainPrefetcher(const Options& options, Host& host) : options_(options), host_(host) {}

  std::unique_ptr<BatchStream> wrap(BatchStream& upstream, const StreamEnd& end) override {
    return make_buffer(upstream, options_, end, host_);
  }

 private:
  const Options options_;
  Host& host_;
};

}  // namespace

SLACKLINE_PLUGIN(Prefetcher, PlainPrefetcher, "plain",
                 "fetches batches ahead on a thread, as tf.data's prefetch does");

}  // namespace slackline
