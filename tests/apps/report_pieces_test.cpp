// What a page is made of: markup, axes, and series of values.

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/chart.h"
#include "report/markup.h"
#include "report/run_files.h"
#include "report/series.h"

namespace slackline::app {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST(MarkupTest, WhatMeansSomethingToHtmlIsEscaped) {
  EXPECT_EQ(escaped("<a href=\"x\">'&amp;"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;");
  EXPECT_EQ(escaped("Größe 漢字 😀\n\t"), "Größe 漢字 😀\n\t");
}

TEST(MarkupTest, WhatIsNoTextIsReplaced) {
  const std::string mark = "\xef\xbf\xbd";
  EXPECT_EQ(escaped(std::string_view("a\0\x1b\x7f", 4)), "a" + mark + mark + mark);
  EXPECT_EQ(escaped("\xff"
                    "b"),
            mark + "b");
  EXPECT_EQ(escaped("\xc3"), mark) << "cut off";
  EXPECT_EQ(escaped("\xc0\xbc"), mark + mark) << "an overlong <";
  EXPECT_EQ(escaped("\xed\xa0\x80"), mark + mark + mark) << "a surrogate";
  EXPECT_EQ(escaped("\xc3<"), mark + "&lt;") << "the < is not swallowed";
}

TEST(ChartTest, NumbersHaveThreeDigitsOrMore) {
  const std::vector<std::pair<double, std::string>> cases = {
      {0, "0.00"},         {0.0123456, "0.0123"}, {0.41039, "0.410"},
      {9.996, "10.0"},     {17.38, "17.4"},       {99.96, "100"},
      {123.4, "123"},      {8663.6, "8,664"},     {999999.7, "1,000,000"},
      {-1234.5, "-1,234"}, {-123, "-123"}};
  for (const auto& [value, words] : cases) EXPECT_EQ(number_text(value), words);
}

TEST(ChartTest, TicksAreRoundAndWithinTheRange) {
  EXPECT_THAT(linear_ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(linear_ticks(0, 437, 5), ElementsAre(0, 100, 200, 300, 400));
  EXPECT_THAT(log_ticks(0.9, 25), ElementsAre(1, 2, 5, 10, 20));
  EXPECT_THAT(log_ticks(0.5, 2e3), ElementsAre(1, 10, 100, 1000));
  EXPECT_THAT(log_ticks(1e-6, 1e6), SizeIs(testing::Le(7u)));
}

TEST(SeriesTest, FewStepsAreAPointEach) {
  const std::vector<Step> steps = {{8, 1, 1, 32}, {0, 4, 0, 32}};
  const Curve curve = throughput_curve(steps);
  ASSERT_THAT(curve.points, SizeIs(2));
  EXPECT_DOUBLE_EQ(curve.points[0].y, 3200);
  EXPECT_DOUBLE_EQ(curve.points[1].y, 8000);
  EXPECT_EQ(curve.points[1].x, 1);
  EXPECT_THAT(curve.band, IsEmpty());
}

TEST(SeriesTest, OneSlowStepAmongManyStaysVisible) {
  std::vector<Step> steps(10 * kThroughputPoints, Step{0, 10, 0, 10});  // 1000 images/s
  steps[55].input_wait_ms = 990;                                        // 10 images/s
  const Curve curve = throughput_curve(steps);
  ASSERT_THAT(curve.points, SizeIs(kThroughputPoints));
  EXPECT_EQ(curve.per_point, 10u);
  EXPECT_DOUBLE_EQ(curve.band[5].low, 10);
  EXPECT_DOUBLE_EQ(curve.band[5].high, 1000);
  // All images over all time, not the mean of rates.
  EXPECT_NEAR(curve.points[5].y, 100 / 1.09, 1e-9);
  EXPECT_DOUBLE_EQ(curve.band[6].low, 1000);
}

TEST(SeriesTest, StepsWithoutTimeHaveNoRate) {
  const std::vector<Step> steps = {{0, 0, 0, 32}, {1, 0, 0, 32}};
  const Curve curve = throughput_curve(steps);
  EXPECT_THAT(curve.points, SizeIs(1));
  EXPECT_EQ(curve.values, 1u);
}

TEST(SeriesTest, ADistributionKeepsItsExtremes) {
  std::vector<double> values;
  for (int i = 10000; i > 0; --i) values.push_back(i);
  const Curve curve = distribution_curve(values);
  EXPECT_EQ(curve.points.size(), 2 * kColumns);
  EXPECT_EQ(curve.points.front().x, 1);
  EXPECT_EQ(curve.points.back().x, 10000);
  EXPECT_EQ(curve.points.back().y, 100);
  for (const Point& point : curve.points) EXPECT_DOUBLE_EQ(point.y, point.x / 100);
  const Curve one = distribution_curve({7});
  ASSERT_THAT(one.points, SizeIs(1));
  EXPECT_EQ(one.points[0].y, 100);
}

TEST(SeriesTest, ACounterWithManyChangesIsItsMeanOverTimeBetweenItsExtremes) {
  // 3 for three quarters of each millisecond, 7 for the last.
  std::vector<Counter::Sample> samples;
  const int periods = 10 * static_cast<int>(kColumns);
  for (int i = 0; i < periods; ++i) {
    samples.push_back({i * 1e-3, 3});
    samples.push_back({i * 1e-3 + 0.75e-3, 7});
  }
  samples.push_back({periods * 1e-3, 3});
  const Curve curve = counter_curve(samples);
  ASSERT_THAT(curve.points, SizeIs(kColumns));
  for (std::size_t i = 0; i < kColumns; ++i) {
    EXPECT_NEAR(curve.points[i].y, 4, 0.1) << i;
    EXPECT_EQ(curve.band[i].low, 3);
    EXPECT_EQ(curve.band[i].high, 7);
  }
  EXPECT_THAT(counter_curve(std::span(samples).first(9)).points, SizeIs(9));
}

}  // namespace
}  // namespace slackline::app
