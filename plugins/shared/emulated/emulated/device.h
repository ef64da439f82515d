#pragma once

#include <slackline/clock.h>
#include <slackline/host.h>
#include <slackline/trace.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>

namespace slackline::emulated {

/// What one step asks of a device and of the thread that launches it.
struct StepWork {
  std::chrono::nanoseconds compute_time{};  ///< on a device that is not slow
  std::chrono::nanoseconds launch_time{};   ///< CPU time
  std::int32_t launches = 1;       ///< even pieces that both are cut into: a piece is computed
                                   ///< when it is launched, while later ones are
  std::int32_t start_uploads = 0;  ///< tiny copies that the first piece has to wait for:
                                   ///< learning rate, arguments of the step
  std::uint64_t start_upload_bytes = 0;  ///< each
};

/// An accelerator that keeps the time of one and does nothing: one engine that copies from the
/// host and one that computes, each in the order in which work came. Everything that goes to the
/// device takes the one copy engine, so a few bytes that a step needs to start wait behind a batch
/// that somebody prefetches. This is what a Device::stream of DeviceKind::kEmulated points to.
///
/// An engine that works in order needs no thread: when a piece of work comes, it is known when it
/// will be done. So the calls here return that time, and who depends on it waits on the clock.
///
/// Lifecycle  construct, then any mixture of the others.
/// Threads    any; run() by one caller at a time.
class EmulatedDevice {
 public:
  using Time = Clock::Time;

  struct Spec {
    std::int32_t index = 0;                     ///< among the devices of the run
    double images_per_s = 0;                    ///< see Speed; 0 is unknown
    double upload_bytes_per_s = 0;              ///< more than 0
    std::chrono::nanoseconds upload_latency{};  ///< of each copy, however small
    double slow_factor = 1;                     ///< how many times longer it computes
  };

  /// `host` gives the clock and the timeline's tracks, and must outlive this.
  EmulatedDevice(const Spec& spec, Host& host);
  EmulatedDevice(const EmulatedDevice&) = delete;
  EmulatedDevice& operator=(const EmulatedDevice&) = delete;

  [[nodiscard]] const Spec& spec() const noexcept { return spec_; }

  /// Enqueues a copy from the host, of a batch if `batch` says which; returns when it will be done.
  /// `name` is a literal, for the timeline.
  Time copy(std::uint64_t bytes, const char* name, std::uint64_t batch = TraceTrack::kNoBatch);

  /// Launches a step on the calling thread, whose CPU time it takes; returns once the last piece is
  /// enqueued. `batch` is the index of its batch, for the timeline.
  void run(const StepWork& work, std::uint64_t batch);

  /// What is launched from now on is computed at `time` or later: the device waits for others.
  void hold_until(Time time);

  /// When all that was launched so far will be computed.
  [[nodiscard]] Time idle_at() const;

  /// What the engines did and will have done, all that is enqueued included.
  struct Totals {
    std::chrono::nanoseconds copy_busy{};
    std::chrono::nanoseconds compute_busy{};
    std::chrono::nanoseconds since_first_step{};  ///< from its first computation to idle_at()
    std::uint64_t steps = 0;
    std::chrono::nanoseconds start_delay{};          ///< all steps: launched, and idle but for the
                                                     ///< uploads that they start with
    std::chrono::nanoseconds longest_start_delay{};  ///< of one step
  };
  [[nodiscard]] Totals totals() const;

 private:
  /// Call with the lock.
  Time enqueue_copy(std::uint64_t bytes, const char* name, std::uint64_t batch);

  const Spec spec_;
  Clock& clock_;
  TraceTrack& copy_track_;
  TraceTrack& compute_track_;
  TraceTrack& launch_track_;

  mutable std::mutex mutex_;  ///< everything below
  Time copy_free_at_{};
  Time compute_free_at_{};
  std::optional<Time> first_step_at_;
  Totals totals_;
};

}  // namespace slackline::emulated
