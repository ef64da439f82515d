#pragma once

#include <slackline/host.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace slackline {

/// The mean time of a part of what a plugin does with each record, reported to the host as it
/// goes. Core measures a source's next() and a transform's apply() as a whole; with this a plugin
/// tells what is inside: a source "checksum", a decoder "parse", which `slackline doctor` knows.
///
/// Lifecycle  construct, then add() for each record. Nothing is reported before the first.
/// Threads    any.
class MeanTime {
 public:
  /// Reported as `name`, in "us/record". `host` must outlive this.
  MeanTime(Host& host, std::string name) : host_(host), name_(std::move(name)) {}

  /// One more record's time. Reports the mean of all after 1, 2, 4, … 256 records, so that the
  /// shortest run has one, and then after every 256.
  void add(std::chrono::nanoseconds time) {
    total_ns_.fetch_add(time.count(), std::memory_order_relaxed);
    const std::uint64_t records = records_.fetch_add(1, std::memory_order_relaxed) + 1;
    if (records < kReportEvery ? std::has_single_bit(records) : records % kReportEvery == 0) {
      report();
    }
  }

  /// Reports the mean as it is now: for a plugin that knows when an epoch ends.
  void report() {
    const std::uint64_t records = records_.load(std::memory_order_relaxed);
    if (records == 0) return;
    const auto total_ns = static_cast<double>(total_ns_.load(std::memory_order_relaxed));
    host_.report(name_, 1e-3 * total_ns / static_cast<double>(records), "us/record");
  }

 private:
  static constexpr std::uint64_t kReportEvery = 256;

  Host& host_;
  const std::string name_;
  std::atomic<std::int64_t> total_ns_{0};
  std::atomic<std::uint64_t> records_{0};
};

}  // namespace slackline
