// What is written of losses, rates and accuracies.

#include "results.h"

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "test_host.h"

namespace slackline {
namespace {

using Json = nlohmann::json;

constexpr StepSums kWithPenalty{
    .loss = 12, .correct = 2, .samples = 8, .correct_top5 = 6, .penalty = 4};
constexpr StepSums kWithout{.loss = 12, .correct = 2, .samples = 8, .correct_top5 = 6};

TEST(StepLineTest, LossIncludesThePenaltyWhichStandsBesideIt) {
  StepRecord record;
  record.sums = kWithPenalty;
  const Json line = Json::parse(step_json_line(record));
  EXPECT_EQ(line["loss"], 2.0);
  EXPECT_EQ(line["penalty"], 0.5);
  EXPECT_EQ(line["correct"], 2);
  EXPECT_EQ(line["correct_top5"], 6);
}

TEST(StepLineTest, TheRateIsTheShortestNumberOfItsBits) {
  StepRecord record;
  record.learning_rate = 0.1f;
  EXPECT_THAT(step_json_line(record), testing::HasSubstr("\"learning_rate\":0.1,"));
  for (const float rate : {0.0f, 1.0f / 3, 6.394170315e-05f, 1e-30f, 12345678.0f}) {
    record.learning_rate = rate;
    const Json line = Json::parse(step_json_line(record));
    EXPECT_EQ(static_cast<float>(line["learning_rate"].get<double>()), rate);
  }
}

class ResultTest : public testing::Test {
 protected:
  Json result() const {
    const Config config = Config::load(
        {std::filesystem::path(SLACKLINE_TEST_SOURCE_DIR) / "configs/digits_linear.toml", {}},
        testing_support::test_registry());
    return Json::parse(
        result_json(config, Notes(), BadSampleAccount(BadSamplePolicy::kFail, 0), measured));
  }
  RunMeasurements measured;
};

TEST_F(ResultTest, EachRankOfSeveralHasItsNumbers) {
  EXPECT_FALSE(result().contains("ranks"));
  measured.rank = 1;
  measured.throughput.rank_wait_s = 0.25;
  measured.throughput.longest_input_wait_s = 1.75;
  measured.ranks = {{.input_wait_s = 1.5, .images = 64}, {.rank_wait_s = 0.25, .bad_samples = 2}};
  const Json json = result();
  EXPECT_EQ(json["rank"], 1);
  EXPECT_EQ(json["throughput"]["rank_wait_s"], 0.25);
  EXPECT_EQ(json["throughput"]["longest_input_wait_s"], 1.75);
  ASSERT_EQ(json["ranks"].size(), 2);
  EXPECT_EQ(json["ranks"][0]["input_wait_s"], 1.5);
  EXPECT_EQ(json["ranks"][0]["images"], 64);
  EXPECT_EQ(json["ranks"][1]["rank_wait_s"], 0.25);
  EXPECT_EQ(json["ranks"][1]["bad_samples"], 2);
}

TEST_F(ResultTest, CrossEntropyStandsBesideALossThatHasAPenalty) {
  measured.last_epoch = kWithPenalty;
  measured.evaluations = {{.epochs_trained = 1, .sums = kWithout, .wall_s = 1}};
  const Json json = result();
  EXPECT_EQ(json["last_epoch"]["loss"], 2.0);
  EXPECT_EQ(json["last_epoch"]["cross_entropy"], 1.5);
  EXPECT_EQ(json["last_epoch"]["accuracy_top_5"], 0.75);
  const Json& evaluation = json["evaluations"][0];
  EXPECT_EQ(evaluation["loss"], 1.5);
  EXPECT_FALSE(evaluation.contains("cross_entropy"));
  EXPECT_EQ(evaluation["accuracy"], 0.25);
  EXPECT_EQ(evaluation["accuracy_top_5"], 0.75);
}

TEST(EvaluationTextTest, TopFiveIsSaidWhereThereAreMoreClasses) {
  const Evaluation evaluation{.epochs_trained = 3, .sums = kWithPenalty, .wall_s = 1};
  EXPECT_EQ(evaluation_text(evaluation, 6),
            "accuracy 25.0 %, top 5 75.0 %, loss 2.0000 over 8 images");
  EXPECT_EQ(evaluation_text(evaluation, 5), "accuracy 25.0 %, loss 2.0000 over 8 images");
}

}  // namespace
}  // namespace slackline
