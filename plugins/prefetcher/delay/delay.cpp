// Sleeps for a fixed time before every fetch: the data_delay_prefetch of the upstream benchmarks,
// which put 11 ms before each device's prefetch. It lets the small copies that start a step go
// ahead of the next minibatch's large one, at the price of a number tuned by hand.

#include <slackline/plugin.h>
#include <slackline/prefetcher.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "streams/buffers.h"
#include "streams/timed_ends.h"

namespace slackline {
namespace {

/// Also before the first fetch and before the one that finds the end, as upstream.
class FixedDelay final : public FetchTiming {
 public:
  explicit FixedDelay(std::chrono::nanoseconds delay) : delay_(delay) {}

  [[nodiscard]] std::chrono::nanoseconds sleep_before(
      std::uint64_t /*produced*/) noexcept override {
    return delay_;
  }
  void taken(Clock::Time /*made*/, Clock::Time /*now*/) noexcept override {}
  void report(Host& host, const std::string& prefix) const override {
    host.report(prefix + "delay", std::chrono::duration<double, std::milli>(delay_).count(), "ms");
  }

 private:
  const std::chrono::nanoseconds delay_;
};

class DelayPrefetcher final : public Prefetcher {
 public:
  struct Options : BufferOptions {
    std::chrono::nanoseconds delay = std::chrono::milliseconds(11);  // upstream's 11 000 us
    TimedEnds where = TimedEnds::kDevice;

    static OptionTable<Options> table() {
      return {
          option("delay", &Options::delay, "how long to sleep before every fetch")
              .range(std::chrono::nanoseconds(0), std::chrono::hours(1)),
          where_option<Options>(),
          buffer_size_option<Options>(),
          device_buffer_size_option<Options>(),
          max_buffer_size_option<Options>(),
      };
    }
  };

  DelayPrefetcher(const Options& options, Host& host) : options_(options), host_(host) {}

  std::unique_ptr<BatchStream> wrap(BatchStream& upstream, const StreamEnd& end) override {
    std::unique_ptr<FetchTiming> timing;
    if (is_timed(options_.where, options_, end, host_)) {
      timing = std::make_unique<FixedDelay>(options_.delay);
    }
    return make_buffer(upstream, options_, end, host_, std::move(timing));
  }

 private:
  const Options options_;
  Host& host_;
};

}  // namespace

SLACKLINE_PLUGIN(Prefetcher, DelayPrefetcher, "delay",
                 "fetches ahead after a fixed sleep, past the small copies that start a step");

}  // namespace slackline
