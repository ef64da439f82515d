// What all prefetchers with a thread do on the clock: the timeline, and stopping in any state.

#include <slackline/prefetcher.h>
#include <slackline/simulated_clock.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clocked_prefetcher_test.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing::ElementsAre;
using testing_support::ClockedPrefetcherTest;
using testing_support::ClockedStream;
using testing_support::make_plugin;
using testing_support::milliseconds;
using testing_support::ms;
using testing_support::OptionArguments;
using testing_support::read_one;
using testing_support::ScriptedStream;
using testing_support::TestHost;
using testing_support::train;

constexpr StreamEnd kFirstDevice{.device = 0, .device_count = 2};

struct Chosen {
  const char* plugin;
  OptionArguments options;
};

class BufferedStreamTest : public ClockedPrefetcherTest {
 protected:
  BufferedStreamTest() : ClockedPrefetcherTest(milliseconds(5)) {}

  BatchStream& open(const Chosen& chosen) {
    return wrap(chosen.plugin, chosen.options, kFirstDevice);
  }
};

std::vector<std::string> lines(const TestHost::Track& track) {
  std::vector<std::string> out;
  for (const auto& span : track.spans) {
    out.push_back(text(span.name, " ", ms(span.begin), "..", ms(span.end)));
    if (span.batch != TraceTrack::kNoBatch) out.back() += text(" batch ", span.batch);
  }
  return out;
}

TEST_F(BufferedStreamTest, TheTimelineShowsFetchesAndSleeps) {
  upstream_.batches(1).fails("disk on fire").batches(1);
  train(open({"delay", {}}), clock_, 4, milliseconds(100));
  close();
  EXPECT_THAT(lines(host_.tracks["device 0 prefetch"]),
              ElementsAre("sleep 0..11", "fetch 11..16 batch 0",  //
                          "sleep 16..27", "fetch 27..32",         // the error
                          "sleep 116..127", "fetch 127..132 batch 1", "sleep 216..227",
                          "fetch 227..232"));  // the end
}

TEST_F(BufferedStreamTest, TheTimelineShowsTheDepthOfTheBufferAtEachChange) {
  upstream_.batches(3);
  train(open({"plain", {{"device_buffer_size", 2}}}), clock_, 3, milliseconds(20));
  close();
  std::vector<std::pair<double, double>> depths;
  for (const auto& count : host_.tracks["device 0 prefetch"].counts) {
    EXPECT_EQ(count.name, "buffer");
    depths.emplace_back(ms(count.at), count.value);
  }
  using At = std::pair<double, double>;
  EXPECT_THAT(depths, ElementsAre(At(5, 1), At(5, 0), At(10, 1), At(15, 2), At(25, 1), At(45, 0)));
}

TEST_F(BufferedStreamTest, AutotuningDoublesWhenAFullBufferRunsEmpty) {
  upstream_.batches(100);
  BatchStream& stream = open({"plain", {{"device_buffer_size", -1}}});
  train(stream, clock_, 1, milliseconds(20));  // the buffer of one is full
  read_one(stream);
  read_one(stream);  // and now empty
  clock_.sleep(milliseconds(20));
  EXPECT_EQ(upstream_.asked_ms, (std::vector<double>{0, 5, 25, 30, 35}));
  close();
  EXPECT_EQ(host_.reports.at("device_0_buffer_limit"), 2);
  EXPECT_EQ(host_.reports.at("device_0_buffer_empty"), 2);
}

// A way to bring a stream into a state, in which it is then stopped.
struct StopCase {
  const char* name;
  Chosen chosen;
  std::function<void(BatchStream&, ClockedStream&, SimulatedClock&)> reach;
  double reached_ms;  ///< so late
};

void PrintTo(const StopCase& stop, std::ostream* out) { *out << stop.name; }

class StopTest : public BufferedStreamTest, public testing::WithParamInterface<StopCase> {
 protected:
  BatchStream& reach() {
    BatchStream& stream = open(GetParam().chosen);
    GetParam().reach(stream, upstream_, clock_);
    EXPECT_EQ(ms(clock_.now()), GetParam().reached_ms);
    return stream;
  }
};

void nothing(BatchStream&, ClockedStream&, SimulatedClock&) {}
void one_step(BatchStream& stream, ClockedStream& upstream, SimulatedClock& clock) {
  upstream.batches(100);
  train(stream, clock, 1, milliseconds(2));
}
void two_steps(BatchStream& stream, ClockedStream& upstream, SimulatedClock& clock) {
  upstream.batches(100);
  train(stream, clock, 2, milliseconds(105));
  read_one(stream);
  clock.sleep(milliseconds(1));
}
void long_step(BatchStream& stream, ClockedStream& upstream, SimulatedClock& clock) {
  upstream.batches(100);
  train(stream, clock, 1, milliseconds(100));
}
void to_the_block(BatchStream& stream, ClockedStream& upstream, SimulatedClock& clock) {
  upstream.batches(1).blocks();
  train(stream, clock, 1, milliseconds(100));
}
void to_the_end(BatchStream& stream, ClockedStream& upstream, SimulatedClock& clock) {
  upstream.batches(1);
  train(stream, clock, 1, milliseconds(100));
}

INSTANTIATE_TEST_SUITE_P(
    States, StopTest,
    testing::Values(StopCase{"plain_before_the_first_next", {"plain", {}}, nothing, 0},
                    StopCase{"plain_fetching", {"plain", {}}, one_step, 7},
                    StopCase{"plain_waiting_for_room", {"plain", {}}, long_step, 105},
                    StopCase{"plain_blocked_upstream", {"plain", {}}, to_the_block, 105},
                    StopCase{"plain_at_the_end", {"plain", {}}, to_the_end, 105},
                    StopCase{"delay_before_the_first_next", {"delay", {}}, nothing, 0},
                    StopCase{"delay_sleeping", {"delay", {}}, one_step, 18},
                    StopCase{"delay_waiting_for_room", {"delay", {}}, long_step, 116},
                    StopCase{"delay_blocked_upstream", {"delay", {}}, to_the_block, 116},
                    StopCase{"slack_before_the_first_next", {"slack", {}}, nothing, 0},
                    StopCase{"slack_sleeping", {"slack", {}}, two_steps, 216},
                    StopCase{"slack_waiting_for_room", {"slack", {}}, long_step, 105},
                    StopCase{"slack_blocked_upstream", {"slack", {}}, to_the_block, 105}),
    [](const auto& stop) { return std::string(stop.param.name); });

TEST_P(StopTest, DestructionTakesNoTime) {
  reach();
  close();
  EXPECT_EQ(ms(clock_.now()), GetParam().reached_ms);
}

TEST_P(StopTest, CancelTakesNoTimeAndFetchesNothingMore) {
  BatchStream& stream = reach();
  const std::size_t asked = upstream_.asked_ms.size();
  stream.cancel();
  EXPECT_EQ(read_one(stream), "end");
  close();
  EXPECT_EQ(ms(clock_.now()), GetParam().reached_ms);
  EXPECT_EQ(upstream_.asked_ms.size(), asked);
}

TEST_F(BufferedStreamTest, CancelWakesAConsumerWhoseBatchIsStillPostponed) {
  upstream_.batches(1);
  BatchStream& stream = open({"delay", {}});
  std::string answer;
  std::thread consumer = clock_.start_thread("consumer", [&] { answer = read_one(stream); });
  clock_.sleep(milliseconds(3));
  stream.cancel();
  clock_.join(consumer);
  EXPECT_EQ(answer, "end");
  close();
  EXPECT_EQ(ms(clock_.now()), 3);
  EXPECT_EQ(upstream_.asked_ms.size(), 0u);
  EXPECT_DOUBLE_EQ(host_.reports.at("device_0_slept"), 0.003);
}

/// The real clock, which tells when a thread begins to wait with a deadline: to sleep.
class WatchedClock final : public Clock {
 public:
  [[nodiscard]] Time now() const override { return real_.now(); }
  [[nodiscard]] std::thread start_thread(const std::string& name,
                                         std::function<void()> body) override {
    return real_.start_thread(name, std::move(body));
  }
  void join(std::thread& thread) override { real_.join(thread); }
  bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
            std::optional<Time> deadline, const std::function<bool()>& ready) override {
    if (deadline.has_value()) {
      const std::lock_guard own(mutex_);
      is_sleeping_ = true;
      sleeping_.notify_all();
    }
    return real_.wait(lock, changed, deadline, ready);
  }
  void notify_all(std::condition_variable& changed) noexcept override { real_.notify_all(changed); }
  void work(std::chrono::nanoseconds cpu_time) override { real_.work(cpu_time); }

  void wait_until_sleeping() {
    std::unique_lock own(mutex_);
    sleeping_.wait(own, [this] { return is_sleeping_; });
  }

 private:
  Clock& real_ = steady_clock();
  std::mutex mutex_;
  std::condition_variable sleeping_;
  bool is_sleeping_ = false;
};

TEST(BufferedStreamOnTheRealClockTest, ASleepOfTenSecondsIsCutShort) {
  WatchedClock clock;
  TestHost host(clock);
  ScriptedStream upstream;
  upstream.batches(1);
  const auto delay =
      make_plugin<Prefetcher>("delay", {{"delay", std::int64_t{10'000'000'000}}}, host);
  auto stream = delay->wrap(upstream, kFirstDevice);
  std::string answer;
  std::thread consumer([&] { answer = read_one(*stream); });
  clock.wait_until_sleeping();
  stream->cancel();
  consumer.join();
  stream.reset();
  EXPECT_EQ(answer, "end");
  EXPECT_EQ(upstream.asked(), 0u);
  EXPECT_EQ(host.reports.at("device_0_sleeps"), 1);
  EXPECT_LT(host.reports.at("device_0_slept"), 10);
}

}  // namespace
}  // namespace slackline
