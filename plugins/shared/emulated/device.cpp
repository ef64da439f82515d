#include "emulated/device.h"

#include <slackline/error.h>

#include <algorithm>
#include <cassert>
#include <cmath>

namespace slackline::emulated {
namespace {

using std::chrono::nanoseconds;

/// Piece `i` of `count` even ones; together they are exactly `whole`.
nanoseconds piece(nanoseconds whole, std::int32_t i, std::int32_t count) {
  return whole * (i + 1) / count - whole * i / count;
}

nanoseconds scaled(nanoseconds time, double factor) {
  return nanoseconds(std::llround(static_cast<double>(time.count()) * factor));
}

}  // namespace

EmulatedDevice::EmulatedDevice(const Spec& spec, Host& host)
    : spec_(spec),
      clock_(host.clock()),
      copy_track_(host.track(text("device ", spec.index, " copy"))),
      compute_track_(host.track(text("device ", spec.index, " compute"))),
      launch_track_(host.track(text("device ", spec.index, " launch"))) {
  assert(spec.upload_bytes_per_s > 0);
}

EmulatedDevice::Time EmulatedDevice::copy(std::uint64_t bytes, const char* name,
                                          std::uint64_t batch) {
  const std::lock_guard lock(mutex_);
  return enqueue_copy(bytes, name, batch);
}

EmulatedDevice::Time EmulatedDevice::enqueue_copy(std::uint64_t bytes, const char* name,
                                                  std::uint64_t batch) {
  const nanoseconds time =
      spec_.upload_latency +
      scaled(std::chrono::seconds(1), static_cast<double>(bytes) / spec_.upload_bytes_per_s);
  const Time begin = std::max(clock_.now(), copy_free_at_);
  copy_free_at_ = begin + time;
  totals_.copy_busy += time;
  copy_track_.span(name, begin, copy_free_at_, batch);
  return copy_free_at_;
}

void EmulatedDevice::run(const StepWork& work, std::uint64_t batch) {
  const nanoseconds compute_time = scaled(work.compute_time, spec_.slow_factor);
  const Time launch_begin = clock_.now();
  Time step_begin;
  for (std::int32_t i = 0; i < work.launches; ++i) {
    // The host's work on the first piece comes before the uploads, as a framework prepares the
    // step before it hands over its arguments: whoever was woken by taking the batch is earlier.
    clock_.work(piece(work.launch_time, i, work.launches));
    const std::lock_guard lock(mutex_);
    Time begin = std::max(clock_.now(), compute_free_at_);
    if (i == 0) {
      const Time could_begin = begin;
      for (std::int32_t k = 0; k < work.start_uploads; ++k) {
        begin = std::max(begin, enqueue_copy(work.start_upload_bytes, "start of step", batch));
      }
      const nanoseconds delay = begin - could_begin;
      totals_.start_delay += delay;
      totals_.longest_start_delay = std::max(totals_.longest_start_delay, delay);
      ++totals_.steps;
      if (!first_step_at_.has_value()) first_step_at_ = begin;
      step_begin = begin;
    }
    compute_free_at_ = begin + piece(compute_time, i, work.launches);
  }
  const std::lock_guard lock(mutex_);
  totals_.compute_busy += compute_time;
  compute_track_.span("step", step_begin, compute_free_at_, batch);
  launch_track_.span("launch", launch_begin, clock_.now(), batch);
}

void EmulatedDevice::hold_until(Time time) {
  const std::lock_guard lock(mutex_);
  compute_free_at_ = std::max(compute_free_at_, time);
}

EmulatedDevice::Time EmulatedDevice::idle_at() const {
  const std::lock_guard lock(mutex_);
  return compute_free_at_;
}

EmulatedDevice::Totals EmulatedDevice::totals() const {
  const std::lock_guard lock(mutex_);
  Totals totals = totals_;
  if (first_step_at_.has_value()) totals.since_first_step = compute_free_at_ - *first_step_at_;
  return totals;
}

}  // namespace slackline::emulated
