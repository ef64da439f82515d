// Measures how early batches were ready, and sleeps a fifth of that before the next burst of
// fetches: tf.data's experimental_slack. The input then works in the middle of a step, and leaves
// CPUs and the copy engine alone while the next step starts.

#include <slackline/plugin.h>
#include <slackline/prefetcher.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "slack_rule.h"
#include "streams/buffered_stream.h"
#include "streams/buffers.h"
#include "streams/timed_ends.h"

namespace slackline {
namespace {

double to_ms(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

/// SlackRule on one stream.
class LearnedSlack final : public FetchTiming {
 public:
  LearnedSlack(const SlackRule::Settings& settings, TraceTrack& track)
      : rule_(settings), track_(track) {}

  [[nodiscard]] std::chrono::nanoseconds sleep_before(std::uint64_t produced) noexcept override {
    const auto sleep = rule_.sleep_before(produced);
    if (sleep.count() > 0) last_sleep_ = sleep;
    return sleep;
  }
  void taken(Clock::Time made, Clock::Time now) noexcept override {
    if (rule_.taken(now - made)) track_.count("slack_ms", now, to_ms(rule_.slack()));
  }
  void report(Host& host, const std::string& prefix) const override {
    host.report(prefix + "slack", to_ms(rule_.slack()), "ms");
    host.report(prefix + "last_sleep", to_ms(last_sleep_), "ms");
  }

 private:
  SlackRule rule_;
  TraceTrack& track_;
  std::chrono::nanoseconds last_sleep_{};
};

class SlackPrefetcher final : public Prefetcher {
 public:
  struct Options : BufferOptions {
    double factor = SlackRule::Settings{}.factor;
    std::chrono::nanoseconds max_sleep{};
    TimedEnds where = TimedEnds::kBoth;

    static OptionTable<Options> table() {
      return {
          option("factor", &Options::factor, "how much of the learned slack to sleep").range(0, 1),
          option("max_sleep", &Options::max_sleep,
                 "longest sleep; 0 sets no bound, as upstream, and deep buffers then make it sleep "
                 "all idle time away")
              .range(std::chrono::nanoseconds(0), std::chrono::hours(1)),
          where_option<Options>(),
          buffer_size_option<Options>(),
          device_buffer_size_option<Options>(),
          max_buffer_size_option<Options>(),
      };
    }
  };

  SlackPrefetcher(const Options& options, Host& host) : options_(options), host_(host) {}

  std::unique_ptr<BatchStream> wrap(BatchStream& upstream, const StreamEnd& end) override {
    std::unique_ptr<FetchTiming> timing;
    if (is_timed(options_.where, options_, end, host_)) {
      // A burst at the host end is one batch for each device; a device takes one.
      const auto period = static_cast<std::uint64_t>(end.is_host() ? end.device_count : 1);
      timing = std::make_unique<LearnedSlack>(
          SlackRule::Settings{options_.factor, options_.max_sleep, period},
          prefetch_track_of(end, host_));
    }
    return make_buffer(upstream, options_, end, host_, std::move(timing));
  }

 private:
  const Options options_;
  Host& host_;
};

}  // namespace

SLACKLINE_PLUGIN(Prefetcher, SlackPrefetcher, "slack",
                 "fetches ahead after a sleep that it learns, as tf.data's experimental_slack");

}  // namespace slackline
