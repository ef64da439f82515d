#pragma once

#include <slackline/prefetcher.h>
#include <slackline/simulated_clock.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "clocked_stream.h"
#include "test_host.h"

namespace slackline::testing_support {

/// A prefetcher in simulated time, over an input that takes time.
class ClockedPrefetcherTest : public testing::Test {
 protected:
  explicit ClockedPrefetcherTest(std::chrono::milliseconds fetch_time)
      : upstream_(clock_, fetch_time) {}

  /// Wraps `upstream_`. One stream for each test.
  BatchStream& wrap(const std::string& plugin, const OptionArguments& options, StreamEnd end) {
    prefetcher_ = make_plugin<Prefetcher>(plugin, options, host_);
    stream_ = prefetcher_->wrap(upstream_, end);
    return *stream_;
  }
  /// Destroys the stream: its reports are then final.
  void close() { stream_.reset(); }

  /// Every sleep that this track of the timeline shows.
  [[nodiscard]] std::vector<double> sleeps_ms(const std::string& track) {
    std::vector<double> sleeps;
    for (const auto& span : host_.tracks[track].spans) {
      if (span.name == "sleep") sleeps.push_back(ms(span.end) - ms(span.begin));
    }
    return sleeps;
  }

  /// Whatever happened, no batch may be lost or given back twice.
  void TearDown() override {
    close();
    EXPECT_EQ(upstream_.lent.size(), 0u);
    EXPECT_EQ(upstream_.wrong_returns, 0);
  }

  SimulatedClock clock_{2};
  ClockedStream upstream_;
  TestHost host_{clock_};

 private:
  std::unique_ptr<Prefetcher> prefetcher_;
  std::unique_ptr<BatchStream> stream_;
};

}  // namespace slackline::testing_support
