// The mean time that a plugin reports of a part of its work.

#include <slackline/mean_time.h>

#include <chrono>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test_host.h"

namespace slackline {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

/// Keeps every report, not only the last.
class ReportingHost final : public Host {
 public:
  void report(std::string_view name, double value, std::string_view unit) override {
    EXPECT_EQ(name, "parse");
    EXPECT_EQ(unit, "us/record");
    values.push_back(value);
  }
  void warn(std::string_view message) override { rest_.warn(message); }
  Clock& clock() override { return rest_.clock(); }
  TraceTrack& track(std::string_view name) override { return rest_.track(name); }

  std::vector<double> values;

 private:
  testing_support::TestHost rest_;
};

TEST(MeanTimeTest, ReportsTheMeanOfAllRecordsSoFar) {
  ReportingHost host;
  MeanTime parse(host, "parse");
  EXPECT_THAT(host.values, IsEmpty()) << "before the first there is no mean";
  parse.add(10us);
  parse.add(20us);
  parse.add(60us);
  EXPECT_THAT(host.values, ElementsAre(10, 15)) << "not after the third";
  parse.add(30us);
  EXPECT_THAT(host.values, ElementsAre(10, 15, 30));
}

TEST(MeanTimeTest, ReportsSeldomOnceItIsKnownWell) {
  ReportingHost host;
  MeanTime parse(host, "parse");
  for (int i = 0; i < 1023; ++i) parse.add(1us);
  EXPECT_EQ(host.values.size(), 11u) << "after 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768";
  parse.add(1us);
  EXPECT_EQ(host.values.size(), 12u);
}

TEST(MeanTimeTest, ReportsWhenAskedIfThereIsSomething) {
  ReportingHost host;
  MeanTime parse(host, "parse");
  parse.report();
  EXPECT_THAT(host.values, IsEmpty());
  for (int i = 0; i < 3; ++i) parse.add(2us);
  parse.report();
  EXPECT_THAT(host.values, ElementsAre(2, 2, 2));
}

TEST(MeanTimeTest, NothingIsLostBetweenThreads) {
  testing_support::TestHost host;
  MeanTime parse(host, "parse");
  std::vector<std::thread> threads;
  for (int k = 1; k <= 4; ++k) {
    threads.emplace_back([&parse, k] {
      for (int i = 0; i < 1000; ++i) parse.add(std::chrono::microseconds(k));
    });
  }
  for (std::thread& thread : threads) thread.join();
  parse.report();
  EXPECT_DOUBLE_EQ(host.reports.at("parse"), 2.5);
}

}  // namespace
}  // namespace slackline
