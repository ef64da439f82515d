// A plan is bound to memory before it runs; here, to memory that no device ever sees.

#include "cudnn/plan.h"

#include <slackline/error.h>

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absent_gpus.h"

namespace slackline::cudnn {
namespace {

using testing::HasSubstr;
using testing_support::absent;
using testing_support::precompiled;

class PlanTest : public testing::Test {
 protected:
  void* at(std::size_t i) { return memory_.data() + 16 * i; }

  std::string error_of(const std::vector<Binding>& bindings, void* workspace) {
    try {
      (void)plan_.bind(target_, bindings, workspace);
    } catch (const DeviceError& error) {
      return error.what();
    }
    return "no error";
  }

  const ConvShape shape_{.x = {8, 64, 14, 14}, .out_channels = 64};
  const Target target_ = absent("h100");
  const Graph graph_ = conv_sums(shape_);
  const Plan plan_ = choose(graph_, target_, precompiled()).plan;

 private:
  alignas(16) std::array<std::byte, 16 * 8> memory_{};
};

TEST_F(PlanTest, AGraphListsItsTensorsInMemory) {
  EXPECT_THAT(graph_.uids(),
              testing::ElementsAre(uid::kX, uid::kY, uid::kWeight, uid::kSum, uid::kSquareSum));
}

TEST_F(PlanTest, EveryTensorIsBoundOnceToAlignedMemory) {
  ASSERT_GT(plan_.workspace_bytes(), 0U);
  const std::vector<Binding> all = {{uid::kX, at(0)},
                                    {uid::kWeight, at(1)},
                                    {uid::kY, at(2)},
                                    {uid::kSum, at(3)},
                                    {uid::kSquareSum, at(4)}};
  EXPECT_EQ(error_of(all, at(5)), "no error");
  const std::string name = graph_.signature() + ": ";

  std::vector<Binding> others = all;
  others.pop_back();
  EXPECT_EQ(error_of(others, at(5)), name + "tensor 8 is not bound");
  others.push_back({uid::kSum, at(6)});
  EXPECT_EQ(error_of(others, at(5)), name + "tensor 7 is bound twice");
  others.back() = {uid::kDy, at(6)};
  EXPECT_EQ(error_of(others, at(5)), name + "has no tensor 4");
  others.back() = {uid::kSquareSum, nullptr};
  EXPECT_EQ(error_of(others, at(5)), name + "tensor 8 has no memory");
  others.back() = {uid::kSquareSum, static_cast<std::byte*>(at(6)) + 4};
  EXPECT_EQ(error_of(others, at(5)), name + "tensor 8 is not 16-byte aligned");
  EXPECT_THAT(error_of(all, nullptr),
              HasSubstr(text(" needs ", plan_.workspace_bytes(), " bytes")));
}

TEST_F(PlanTest, NumbersThatAGraphKnowsNeedNoMemoryOfTheCaller) {
  const Graph graph = batch_norm_finalize({.channels = 64, .count = 8 * 14 * 14});
  const Plan plan = choose(graph, target_, precompiled()).plan;
  std::vector<Binding> bindings;
  for (const Uid uid : graph.uids()) bindings.push_back({uid, at(0)});
  const auto value_of = [&](std::size_t i, auto type) {
    return *static_cast<const decltype(type)*>(graph.scalars().at(i).value);
  };
  ASSERT_EQ(graph.scalars().size(), 3U);
  EXPECT_EQ(value_of(0, std::int64_t{}), 8 * 14 * 14);
  EXPECT_EQ(value_of(1, float{}), 1e-5F);
  EXPECT_EQ(value_of(2, float{}), 0.1F);
  EXPECT_NO_THROW((void)plan.bind(target_, bindings, at(1)));
}

TEST_F(PlanTest, RunningItWithoutADeviceIsAnError) {
  std::vector<Binding> bindings;
  for (const Uid uid : graph_.uids()) bindings.push_back({uid, at(0)});
  const BoundPlan bound = plan_.bind(target_, bindings, at(1));
  try {
    bound.run(nullptr);
    FAIL() << "ran";
  } catch (const DeviceError& error) {
    EXPECT_EQ(std::string(error.what()),
              graph_.signature() + ": made for a device that is not there");
  }
}

TEST_F(PlanTest, ItsChoiceMakesTheSamePlanAgain) {
  std::string refusal;
  const auto again = Plan::make(graph_, target_, plan_.choice(), refusal);
  ASSERT_TRUE(again) << refusal;
  EXPECT_EQ(again->choice(), plan_.choice());
  EXPECT_EQ(again->workspace_bytes(), plan_.workspace_bytes());
}

TEST_F(PlanTest, AChoiceThatThereIsNotIsRefusedInCudnnsWords) {
  std::string refusal;
  EXPECT_FALSE(Plan::make(graph_, target_, {.engine = 123456}, refusal));
  EXPECT_THAT(refusal, HasSubstr("CUDNN_STATUS"));
  EngineChoice choice = plan_.choice();
  ASSERT_FALSE(choice.knobs.empty());
  choice.knobs.front().value = 1'000'000;
  EXPECT_FALSE(Plan::make(graph_, target_, choice, refusal));
  EXPECT_THAT(refusal, HasSubstr("CUDNN_STATUS"));
}

}  // namespace
}  // namespace slackline::cudnn
