// Measures and tries when to fetch, so that steps are shortest: a sleep behind the take of a batch,
// the same for all devices, found by SleepSearch. No number has to be tuned by hand, and it follows
// when the machine or the model changes.

#include <slackline/plugin.h>
#include <slackline/prefetcher.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sleep_search.h"
#include "streams/buffered_stream.h"
#include "streams/buffers.h"
#include "streams/timed_ends.h"

namespace slackline {
namespace {

using std::chrono::nanoseconds;

double to_ms(nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); }

/// One search for all devices: a step needs a batch of each, so a trial on one of them would
/// disturb what the others measure.
///
/// Threads    any.
class SharedSearch {
 public:
  SharedSearch(nanoseconds max_sleep, std::int32_t device_count)
      : device_count_(device_count), search_(max_sleep) {}

  [[nodiscard]] nanoseconds sleep() const {
    const std::lock_guard lock(mutex_);
    return search_.sleep();
  }

  /// A device took its batch, which lay ready for `idle`. A step ends when all have.
  void taken(nanoseconds idle, Clock::Time now) {
    const std::lock_guard lock(mutex_);
    shortest_idle_ = std::min(shortest_idle_, idle);
    if (++taken_ % device_count_ != 0) return;
    if (step_began_.has_value()) search_.step(now - *step_began_, shortest_idle_);
    step_began_ = now;
    shortest_idle_ = nanoseconds::max();
  }

  [[nodiscard]] SleepSearch search() const {
    const std::lock_guard lock(mutex_);
    return search_;
  }

 private:
  const std::int32_t device_count_;
  mutable std::mutex mutex_;
  SleepSearch search_;
  std::int64_t taken_ = 0;
  nanoseconds shortest_idle_ = nanoseconds::max();
  std::optional<Clock::Time> step_began_;
};

/// The searched sleep, counted from when a batch was taken. Also before the fetch that finds the
/// end, not before the first one.
class SearchedSleep final : public FetchTiming {
 public:
  SearchedSleep(std::shared_ptr<SharedSearch> search, Clock& clock, TraceTrack& track)
      : search_(std::move(search)), clock_(clock), track_(track) {}

  [[nodiscard]] nanoseconds sleep_before(std::uint64_t /*produced*/) noexcept override {
    const Clock::Time now = clock_.now();
    const nanoseconds sleep = taken_at_.has_value()
                                  ? std::max(nanoseconds(0), *taken_at_ + search_->sleep() - now)
                                  : nanoseconds(0);
    refills_.push_back({now, sleep});
    return sleep;
  }

  void taken(Clock::Time made, Clock::Time now) noexcept override {
    const nanoseconds lay = now - made;
    const nanoseconds refill = end_refill(made);
    // How much later its fetch could have begun: the time that it lay, but no more than what a
    // period leaves beside a refill. They differ where more than one batch lies in the buffer.
    const nanoseconds idle =
        taken_at_.has_value() ? std::clamp(now - *taken_at_ - refill, nanoseconds(0), lay) : lay;
    idle_ += idle;
    ++batches_;
    taken_at_ = now;
    search_->taken(idle, now);
    if (track_.is_open()) track_.count("adaptive_sleep_ms", now, to_ms(search_->sleep()));
  }

  void report(Host& host, const std::string& prefix) const override {
    const SleepSearch search = search_->search();
    const auto& [sleep, steps] = search.kept();
    const auto tell = [&](const char* name, double value, const char* unit) {
      host.report(prefix + name, value, unit);
    };
    tell("sleep", sleep * 1e-6, "ms");
    tell("period", steps.period() * 1e-6, "ms");
    tell("late", 100 * steps.late_share(), "%");
    if (batches_ > 0) {
      tell("fetch", to_ms(fetch_) / static_cast<double>(batches_), "ms");
      tell("idle", to_ms(idle_) / static_cast<double>(batches_), "ms");
    }
    tell("trials", static_cast<double>(search.counts().trials), "times");
    tell("changes", static_cast<double>(search.counts().changes), "times");
    tell("restarts", static_cast<double>(search.counts().restarts), "times");
    tell("pauses", static_cast<double>(search.counts().pauses), "steps");
  }

 private:
  /// When the thread had room, and how long it slept then.
  struct Refill {
    Clock::Time began;
    nanoseconds sleep{};
  };

  /// How long the refill took that ended at `made`, its sleep included.
  nanoseconds end_refill(Clock::Time made) noexcept {
    // Refills do not overlap: it is the last that began before, and those of errors go with it.
    // Only one that took no time at all began at `made`.
    auto own = std::ranges::lower_bound(refills_, made, {}, &Refill::began);
    if (own != refills_.begin()) --own;
    const Refill refill = *own;
    refills_.erase(refills_.begin(), std::next(own));
    fetch_ += made - refill.began - refill.sleep;
    return made - refill.began;
  }

  const std::shared_ptr<SharedSearch> search_;
  Clock& clock_;
  TraceTrack& track_;
  std::vector<Refill> refills_;  ///< of batches that are not yet taken, and of errors
  std::optional<Clock::Time> taken_at_;
  nanoseconds fetch_{}, idle_{};  ///< of all batches
  std::int64_t batches_ = 0;
};

class AdaptivePrefetcher final : public Prefetcher {
 public:
  struct Options : BufferOptions {
    nanoseconds max_sleep{};
    std::int64_t max_device_buffer_size = 2;

    Options() { device_buffer_size = kAutotune; }  // bounded by its own maximum

    static OptionTable<Options> table() {
      return {
          option("max_sleep", &Options::max_sleep, "longest sleep that is tried; 0 sets no bound")
              .range(nanoseconds(0), std::chrono::hours(1)),
          buffer_size_option<Options>(),
          device_buffer_size_option<Options>(),
          max_buffer_size_option<Options>(),
          option("max_device_buffer_size", &Options::max_device_buffer_size,
                 "the same for a device_buffer_size of -1: it takes the device's memory")
              .range(1, 64)
              .unit("batches"),
      };
    }
  };

  AdaptivePrefetcher(const Options& options, Host& host) : options_(options), host_(host) {}

  std::unique_ptr<BatchStream> wrap(BatchStream& upstream, const StreamEnd& end) override {
    BufferOptions buffers = options_;
    if (!end.is_host()) buffers.max_buffer_size = options_.max_device_buffer_size;
    std::unique_ptr<FetchTiming> timing;
    if (is_timed(TimedEnds::kDevice, buffers, end, host_)) {
      // The streams of training and those of an evaluation have searches of their own.
      if (end.device == 0 || search_ == nullptr) {
        search_ = std::make_shared<SharedSearch>(options_.max_sleep, end.device_count);
      }
      timing =
          std::make_unique<SearchedSleep>(search_, host_.clock(), prefetch_track_of(end, host_));
    }
    return make_buffer(upstream, buffers, end, host_, std::move(timing));
  }

 private:
  const Options options_;
  Host& host_;
  std::shared_ptr<SharedSearch> search_;  ///< of the streams that are being wrapped
};

}  // namespace

SLACKLINE_PLUGIN(Prefetcher, AdaptivePrefetcher, "adaptive",
                 "fetches ahead when measurements say that steps are shortest");

}  // namespace slackline
