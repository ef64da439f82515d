#include <slackline/simulated_clock.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <latch>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace_json.h"
#include "trace_recorder.h"

namespace slackline {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

/// The moment so many microseconds after the clock's beginning.
Clock::Time at(double us) { return Clock::Time(std::chrono::nanoseconds(std::llround(us * 1000))); }

/// A file that was parsed, and questions to it.
class TraceFile {
 public:
  explicit TraceFile(const std::string& contents) : json_(json::parse(contents)) {
    for (const json& event : events("M")) {
      if (event["name"] == "thread_name") names_[event["tid"]] = event["args"]["name"];
    }
  }

  [[nodiscard]] const json& whole() const { return json_; }

  [[nodiscard]] std::vector<json> events(const std::string& phase) const {
    std::vector<json> out;
    for (const json& event : json_["traceEvents"]) {
      if (event["ph"] == phase) out.push_back(event);
    }
    return out;
  }

  /// Names of the tracks, as viewers show them from top to bottom.
  [[nodiscard]] std::vector<std::string> tracks() const {
    std::map<int, std::string> by_place;
    for (const json& event : events("M")) {
      if (event["name"] == "thread_sort_index") {
        by_place[event["args"]["sort_index"]] = names_.at(event["tid"]);
      }
    }
    std::vector<std::string> out;
    for (const auto& [place, name] : by_place) out.push_back(name);
    return out;
  }

  /// "name ts+dur", or "name ts+dur #batch", of each span of a track.
  [[nodiscard]] std::vector<std::string> spans(const std::string& track) const {
    std::vector<std::string> out;
    for (const json& event : events("X")) {
      if (names_.at(event["tid"]) != track) continue;
      out.push_back(event["name"].get<std::string>() + " " + event["ts"].dump() + "+" +
                    event["dur"].dump());
      if (event.contains("args")) out.back() += " #" + event["args"]["batch"].dump();
    }
    return out;
  }

  /// "name ts=value" of each counter event.
  [[nodiscard]] std::vector<std::string> counts() const {
    std::vector<std::string> out;
    for (const json& event : events("C")) {
      out.push_back(event["name"].get<std::string>() + " " + event["ts"].dump() + "=" +
                    event["args"]["value"].dump());
    }
    return out;
  }

  /// "s track ts", "t track ts", …, "f track ts" of one batch, in the order of the file.
  [[nodiscard]] std::vector<std::string> flow(std::uint64_t batch) const {
    std::vector<std::string> out;
    for (const json& event : json_["traceEvents"]) {
      if (!event.contains("id") || event["id"] != batch) continue;
      out.push_back(event["ph"].get<std::string>() + " " + names_.at(event["tid"]) + " " +
                    event["ts"].dump());
    }
    return out;
  }

  [[nodiscard]] const json& left_out() const { return json_["otherData"]["left_out_events"]; }

 private:
  json json_;
  std::map<int, std::string> names_;
};

/// A recorder in simulated time.
class TraceTest : public testing::Test {
 protected:
  TraceTrack& track(const std::string& name) { return recorder_.track(name); }
  /// Lets time pass until so many microseconds after the beginning.
  void until(double us) { clock_.sleep(at(us) - clock_.now()); }
  /// Opens the trace at the clock's beginning, for the tests to which this does not matter.
  void open() { recorder_.open(); }
  /// Closes it and writes it.
  TraceFile written(double closed_at_us = 1000) {
    until(closed_at_us);
    recorder_.close();
    return TraceFile(trace_json(recorder_.snapshot(), "quickstart"));
  }

  SimulatedClock clock_{1};
  TraceRecorder recorder_{clock_};
};

TEST_F(TraceTest, ASpanIsACompleteEventInMicrosecondsSinceTheOpening) {
  until(100);
  open();
  track("loop").span("step", at(150.5), at(170.75), 7);
  track("loop").span("log", at(180), at(180.001));
  const TraceFile file = written();
  EXPECT_THAT(file.spans("loop"), ElementsAre("step 50.5+20.25 #7", "log 80.0+0.001"));
  EXPECT_EQ(file.whole()["displayTimeUnit"], "ms");
  EXPECT_EQ(file.whole()["otherData"]["traced_ms"], 0.9);
}

TEST_F(TraceTest, LongTimesKeepTheirNanoseconds) {
  open();
  track("loop").span("step", at(3'600'000'000.001), at(3'600'000'000.003));
  EXPECT_THAT(written(4e9).spans("loop"), ElementsAre("step 3600000000.001+0.002"));
}

TEST_F(TraceTest, TheProcessIsNamedAndNoTrackIsItsMainThread) {
  open();
  track("loop").span("step", at(1), at(2));
  const TraceFile file = written();
  std::vector<std::string> names;
  for (const json& event : file.events("M")) {
    if (event["name"] == "process_name") names.push_back(event["args"]["name"]);
    // Viewers show the thread whose number is the process's above all others.
    if (event["name"] == "thread_name") {
      EXPECT_NE(event["tid"], event["pid"]);
    }
  }
  EXPECT_THAT(names, ElementsAre("quickstart"));
}

TEST_F(TraceTest, TracksFollowTheWayOfTheData) {
  open();
  for (const char* name :
       {"loop", "replica 1", "device 1 prefetch", "something else", "device 0 compute", "input 10",
        "launch", "host prefetch", "device 0 prefetch", "input 2", "device 0 copy", "reader",
        "device 1 upload", "replica 0", "input 0"}) {
    track(name).span("x", at(1), at(2));
  }
  EXPECT_THAT(
      written().tracks(),
      ElementsAre("input 0", "input 2", "input 10", "reader", "host prefetch", "device 0 copy",
                  "device 1 upload", "device 0 prefetch", "device 1 prefetch", "launch",
                  "device 0 compute", "replica 0", "replica 1", "something else", "loop"));
}

TEST_F(TraceTest, ATrackWithoutEventsIsNotShown) {
  open();
  (void)track("reader");
  track("loop").span("step", at(1), at(2));
  EXPECT_THAT(written().tracks(), ElementsAre("loop"));
}

TEST_F(TraceTest, TheSameNameIsTheSameTrackForever) {
  TraceTrack& first = track("loop");
  for (int i = 0; i < 1000; ++i) (void)track("input " + std::to_string(i));
  EXPECT_EQ(&track("loop"), &first);
  EXPECT_NE(&track("input 0"), &track("input 1"));
}

TEST_F(TraceTest, ACounterCarriesTheNameOfItsTrack) {
  open();
  track("host prefetch").count("buffer", at(5), 2);
  track("device 0 prefetch").count("buffer", at(6), 1);
  track("host prefetch").count("slack_ms", at(4), 0.125);
  EXPECT_THAT(written().counts(),
              ElementsAre("host prefetch: slack_ms 4.0=0.125", "host prefetch: buffer 5.0=2",
                          "device 0 prefetch: buffer 6.0=1"));
}

TEST_F(TraceTest, AValueThatJsonCannotHoldIsLeftOut) {
  open();
  track("loop").count("loss", at(1), std::numeric_limits<double>::quiet_NaN());
  track("loop").count("loss", at(2), std::numeric_limits<double>::infinity());
  track("loop").count("loss", at(3), 1e300);
  EXPECT_THAT(written().counts(), ElementsAre("loop: loss 3.0=1e+300"));
}

TEST_F(TraceTest, NamesMayHoldAnyBytes) {
  open();
  track("say \"x\"\n\\ \xff").span("a\t\"b\"", at(1), at(2));
  const TraceFile file = written();
  EXPECT_THAT(file.tracks(), ElementsAre("say \"x\"\n\\ \xEF\xBF\xBD"));
  EXPECT_THAT(file.spans(file.tracks().at(0)), ElementsAre("a\t\"b\" 1.0+1.0"));
}

TEST_F(TraceTest, AClosedTrackKeepsNothing) {
  TraceTrack& loop = track("loop");
  EXPECT_FALSE(loop.is_open());
  loop.span("before", at(0), at(0));
  loop.count("before", at(0), 1);
  open();
  EXPECT_TRUE(loop.is_open());
  until(10);
  recorder_.close();
  EXPECT_FALSE(loop.is_open());
  loop.span("after", at(5), at(6));
  loop.count("after", at(5), 1);
  const Trace trace = recorder_.snapshot();
  ASSERT_EQ(trace.tracks.size(), 1U);
  EXPECT_THAT(trace.tracks[0].spans, IsEmpty());
  EXPECT_THAT(trace.tracks[0].counts, IsEmpty());
  EXPECT_EQ(trace.tracks[0].left_out, 0U);
}

TEST_F(TraceTest, ATraceThatWasNeverOpenedIsAnEmptyFile) {
  track("loop").span("step", at(0), at(0));
  const TraceFile file(trace_json(recorder_.snapshot(), "quickstart"));
  EXPECT_THAT(file.tracks(), IsEmpty());
  EXPECT_THAT(file.events("X"), IsEmpty());
}

TEST_F(TraceTest, ItIsOpenOnce) {
  recorder_.close();  // is not open: nothing to close
  open();
  until(10);
  recorder_.close();
  until(20);
  open();
  EXPECT_FALSE(recorder_.is_open());
  recorder_.close();
  EXPECT_EQ(written().whole()["otherData"]["traced_ms"], 0.01);
}

TEST_F(TraceTest, WhatHadBegunBeforeTheOpeningIsClipped) {
  until(100);
  open();
  track("loop").span("half", at(90), at(110), 1);
  track("loop").span("before", at(80), at(100), 1);
  track("loop").span("long before", at(80), at(90), 1);
  track("loop").count("early", at(99), 1);
  const TraceFile file = written();
  EXPECT_THAT(file.spans("loop"), ElementsAre("half 0.0+10.0 #1"));
  EXPECT_THAT(file.counts(), IsEmpty());
}

TEST_F(TraceTest, WhatReachesBeyondTheClosingIsClipped) {
  open();
  // An engine that knows when it will be done may write ahead.
  track("device 0 copy").span("half", at(90), at(110), 1);
  track("device 0 copy").span("at its end", at(100), at(105), 1);
  track("device 0 copy").span("behind", at(110), at(120), 1);
  track("device 0 copy").count("late", at(101), 1);
  const TraceFile file = written(100);
  EXPECT_THAT(file.spans("device 0 copy"), ElementsAre("half 90.0+10.0 #1"));
  EXPECT_THAT(file.counts(), IsEmpty());
}

TEST_F(TraceTest, AMomentIsASpanToo) {
  open();
  track("loop").span("stop", at(5), at(5));
  EXPECT_THAT(written().spans("loop"), ElementsAre("stop 5.0+0.0"));
}

TEST_F(TraceTest, OuterSpansStandBeforeWhatIsInsideThem) {
  open();
  // As they are written: when they end.
  track("loop").span("inner", at(10), at(12));
  track("loop").span("last", at(12), at(20));
  track("loop").span("outer", at(10), at(20));
  EXPECT_THAT(written().spans("loop"),
              ElementsAre("outer 10.0+10.0", "inner 10.0+2.0", "last 12.0+8.0"));
}

TEST_F(TraceTest, AFlowLinksTheSpansOfABatchFromTheEndOfOneToTheBeginningOfTheNext) {
  open();
  track("loop").span("step", at(50), at(90), 3);
  track("input 0").span("decode", at(10), at(20), 3);
  track("device 0 copy").span("upload", at(30), at(40), 3);
  EXPECT_THAT(written().flow(3),
              ElementsAre("s input 0 19.999", "t device 0 copy 30.0", "f loop 50.0"));
}

TEST_F(TraceTest, AFetchThatWaitsForItsBatchComesAfterTheDecoding) {
  open();
  track("host prefetch").span("fetch", at(0), at(30), 0);  // began first, ended last
  track("input 0").span("decode", at(5), at(28), 0);
  EXPECT_THAT(written().flow(0), ElementsAre("s input 0 27.999", "f host prefetch 28.0"));
}

TEST_F(TraceTest, ManyDecodingsOnAWorkerAreOnePlaceOfTheFlow) {
  open();
  for (int i = 0; i < 64; ++i) track("input 0").span("decode", at(i), at(i + 1), 9);
  for (int i = 0; i < 64; ++i) track("input 1").span("decode", at(i), at(i + 1.5), 9);
  track("reader").span("batch", at(64.5), at(70), 9);
  EXPECT_THAT(written().flow(9),
              ElementsAre("s input 0 63.999", "t input 1 64.0", "f reader 64.5"));
}

TEST_F(TraceTest, OnlyTheEndOfAFlowAsksForItsEnclosingSpan) {
  open();
  track("input 0").span("decode", at(1), at(2), 0);
  track("reader").span("batch", at(2), at(3), 0);
  track("loop").span("step", at(3), at(4), 0);
  const TraceFile file = written();
  EXPECT_FALSE(file.events("s").at(0).contains("bp"));  // they do so without asking
  EXPECT_FALSE(file.events("t").at(0).contains("bp"));
  EXPECT_EQ(file.events("f").at(0)["bp"], "e");
}

TEST_F(TraceTest, ABatchOnOneTrackOrWithoutTimeHasNoFlow) {
  open();
  track("loop").span("step", at(1), at(2), 0);
  track("loop").span("wait", at(3), at(4), 0);
  track("input 0").span("decode", at(1), at(1), 0);  // nothing encloses a moment in it
  track("reader").span("no batch", at(1), at(2));
  const TraceFile file = written();
  EXPECT_THAT(file.events("s"), IsEmpty());
  EXPECT_THAT(file.events("f"), IsEmpty());
}

TEST_F(TraceTest, AMomentDoesNotTakeThePlaceOfASpan) {
  open();
  track("input 0").span("decode", at(1), at(2), 0);
  track("input 0").span("done", at(2.5), at(2.5), 0);
  track("loop").span("step", at(3), at(4), 0);
  EXPECT_THAT(written().flow(0), ElementsAre("s input 0 1.999", "f loop 3.0"));
}

TEST_F(TraceTest, SpansThatEndTogetherFollowTheWayOfTheData) {
  open();
  track("loop").span("wait", at(0), at(10), 0);
  track("host prefetch").span("fetch", at(0), at(10), 0);
  track("device 0 copy").span("upload", at(9.999), at(10), 0);  // too short for its place
  track("input 0").span("decode", at(0), at(10), 0);
  EXPECT_THAT(written().flow(0),
              ElementsAre("s input 0 9.997", "t host prefetch 9.998", "f loop 9.999"));
}

/// A run of three workers with noise that does not repeat, as the parts of a run would write it.
void write_a_run(const std::function<TraceTrack&(const std::string&)>& track) {
  std::uint32_t noise = 1;
  const auto us = [&noise](double up_to) {
    noise = noise * 1664525 + 1013904223;  // Numerical Recipes' generator
    return up_to * (noise >> 8) / (1 << 24);
  };
  std::vector<double> free(3, 0);
  double fetched = 0, copied = 0, stepped = 0;
  for (std::uint64_t batch = 0; batch < 50; ++batch) {
    double ready = 0;
    for (int sample = 0; sample < 12; ++sample) {
      double& now = free[static_cast<std::size_t>(sample % 3)];
      TraceTrack& worker = track("input " + std::to_string(sample % 3));
      const double begin = now, read = begin + us(2), decoded = read + us(9);
      worker.span("read", at(begin), at(read), batch);
      worker.span("decode", at(read), at(decoded), batch);
      worker.span("sample", at(begin), at(decoded), batch);
      now = decoded + us(1);
      ready = std::max(ready, decoded);
    }
    const double fetch_begin = fetched;
    fetched = std::max(fetched, ready) + us(1);
    track("host prefetch").span("fetch", at(fetch_begin), at(fetched), batch);
    track("host prefetch").count("buffer", at(fetched), 1);
    const double copy_begin = std::max(copied, fetched);
    copied = copy_begin + us(8);
    track("device 0 copy").span("upload", at(copy_begin), at(copied), batch);
    const double step_begin = std::max(stepped, copied);
    track("loop").span("input wait", at(stepped), at(step_begin), batch);
    stepped = step_begin + us(30);
    track("loop").span("step", at(step_begin), at(stepped), batch);
  }
}

TEST_F(TraceTest, ARunIsWellFormedThroughout) {
  until(200);
  open();
  write_a_run([this](const std::string& name) -> TraceTrack& { return track(name); });
  const TraceFile file = written(600);

  // In thousandths of microseconds, so that comparisons are exact.
  const auto time = [](const json& event, const char* key) {
    return std::llround(event[key].get<double>() * 1000);
  };
  struct Open {
    std::int64_t begin, end;
    std::uint64_t batch;
  };
  std::map<int, std::vector<Open>> by_track;
  for (const json& event : file.events("X")) {
    by_track[event["tid"]].push_back({time(event, "ts"), time(event, "ts") + time(event, "dur"),
                                      event["args"]["batch"].get<std::uint64_t>()});
  }
  EXPECT_EQ(by_track.size(), 6U);
  for (const auto& [tid, spans] : by_track) {
    std::vector<std::int64_t> ends;
    std::int64_t begin_before = 0;
    for (const Open& span : spans) {
      EXPECT_GE(span.begin, begin_before);
      EXPECT_LE(span.end, 400'000);
      begin_before = span.begin;
      while (!ends.empty() && ends.back() <= span.begin) ends.pop_back();
      if (!ends.empty()) {
        EXPECT_LE(span.end, ends.back()) << "overlaps, on track " << tid;
      }
      ends.push_back(span.end);
    }
  }

  struct Flow {
    int starts = 0, ends = 0;
    std::int64_t last = -1;
    std::vector<int> tids;
  };
  std::map<std::uint64_t, Flow> flows;
  for (const json& event : file.whole()["traceEvents"]) {
    if (!event.contains("id")) continue;
    const auto batch = event["id"].get<std::uint64_t>();
    Flow& flow = flows[batch];
    const std::int64_t moment = time(event, "ts");
    EXPECT_GT(moment, flow.last) << "batch " << batch;
    EXPECT_EQ(event["ph"] == "s", flow.last == -1) << "batch " << batch;
    EXPECT_EQ(flow.ends, 0) << "batch " << batch << " goes on behind its end";
    flow.last = moment;
    flow.starts += event["ph"] == "s";
    flow.ends += event["ph"] == "f";
    const int tid = event["tid"];
    EXPECT_THAT(flow.tids, testing::Not(testing::Contains(tid))) << "batch " << batch;
    flow.tids.push_back(tid);
    EXPECT_THAT(by_track[tid], testing::Contains(testing::Truly([&](const Open& span) {
                  return span.batch == batch && span.begin <= moment && moment < span.end;
                })))
        << "batch " << batch << " is in no span of its own at " << moment;
  }
  EXPECT_GT(flows.size(), 8U);
  for (const auto& [batch, flow] : flows) {
    EXPECT_EQ(flow.starts, 1) << "batch " << batch;
    EXPECT_EQ(flow.ends, 1) << "batch " << batch;
  }
}

TEST_F(TraceTest, TheFirstEventsAreKeptAndTheOthersCounted) {
  TraceRecorder small(clock_, 3);
  small.open();
  for (int i = 0; i < 5; ++i) small.track("input 0").span("decode", at(i), at(i + 1));
  small.track("loop").span("step", at(0), at(1));
  small.track("loop").count("loss", at(1), 1);
  small.track("loop").count("loss", at(2), 1);
  small.track("loop").count("loss", at(3), 1);  // spans and counts share the room
  until(10);
  small.close();
  const TraceFile file(trace_json(small.snapshot(), "small"));
  EXPECT_THAT(file.spans("input 0"),
              ElementsAre("decode 0.0+1.0", "decode 1.0+1.0", "decode 2.0+1.0"));
  EXPECT_THAT(file.counts(), ElementsAre("loop: loss 1.0=1", "loop: loss 2.0=1"));
  EXPECT_EQ(file.left_out(), json({{"input 0", 2}, {"loop", 1}}));
}

TEST_F(TraceTest, NothingIsSaidToBeMissingWhereNothingIs) {
  open();
  track("loop").span("step", at(0), at(1));
  EXPECT_EQ(written().left_out(), json::object());
}

TEST_F(TraceTest, ManyThreadsMayWriteToOneTrack) {
  constexpr int kThreads = 4, kEach = 1000;
  open();
  TraceTrack& shared = track("device 0 copy");
  // The machine's own threads: those of a simulated clock run one at a time.
  std::latch together(kThreads);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      TraceTrack& own = track("input " + std::to_string(thread));
      together.arrive_and_wait();
      for (int i = 0; i < kEach; ++i) {
        const int slot = i * kThreads + thread;
        shared.span("upload", at(slot), at(slot + 1));
        shared.count("queue", at(slot), slot);
        own.span("decode", at(i), at(i + 1));
      }
    });
  }
  (void)recorder_.snapshot();  // at any time
  for (std::thread& thread : threads) thread.join();
  const TraceFile file = written(kThreads * kEach);
  std::vector<std::string> expected;
  for (int i = 0; i < kThreads * kEach; ++i) {
    expected.push_back("upload " + std::to_string(i) + ".0+1.0");
  }
  EXPECT_EQ(file.spans("device 0 copy"), expected);
  EXPECT_EQ(file.counts().size(), static_cast<std::size_t>(kThreads * kEach));
  EXPECT_EQ(file.left_out(), json::object());
}

}  // namespace
}  // namespace slackline
