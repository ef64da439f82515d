// What the ranks of a run begin with: everything as rank 0 has it.

#include "rank_start.h"

#include <slackline/error.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "thread_ranks.h"

namespace slackline {
namespace {

using testing::ElementsAre;

/// A parameter of two values, a slot of one, and a gradient.
class SmallStore final : public TensorStore {
 public:
  explicit SmallStore(float first) : values_{{first, first + 1}, {first + 2}, {first + 3}} {}
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  void read(std::size_t index, std::span<float> values) override {
    std::ranges::copy(values_[index], values.begin());
  }
  void write(std::size_t index, std::span<const float> values) override {
    if (infos_[index].role == TensorRole::kGradient) throw DeviceError("gradients are not written");
    values_[index].assign(values.begin(), values.end());
  }
  [[nodiscard]] const std::vector<std::vector<float>>& values() const { return values_; }

 private:
  std::vector<TensorInfo> infos_ = {
      {.name = "w", .shape = {2}, .role = TensorRole::kParameter},
      {.name = "momentum.w", .shape = {1}, .role = TensorRole::kSlot},
      {.name = "w", .shape = {1}, .role = TensorRole::kGradient},
  };
  std::vector<std::vector<float>> values_;
};

TrainingState state_of_first() {
  TrainingState state;
  state.steps = 12;
  state.epoch = 3;
  state.batch_in_epoch = 2;
  state.digest.order.append(std::uint64_t{77});
  state.epoch_sums.loss = 0.5;
  state.steps_per_epoch = 5;
  state.position = {.epoch = 3, .records = 4};
  state.rank_positions = {{.epoch = 3, .records = 4}, {.epoch = 2, .records = 9}};
  return state;
}

TEST(RankStartTest, EveryRankGoesOnFromWhatTheFirstOneHas) {
  testing_support::ThreadRanks ranks(2);
  SmallStore first(1), second(100);
  RankStart start_of_first{.dir = "runs/one", .state = state_of_first()};
  RankStart start_of_second;
  std::thread other([&] { share_start(ranks.of(1), start_of_second, second); });
  share_start(ranks.of(0), start_of_first, first);
  other.join();

  EXPECT_EQ(start_of_second.dir, "runs/one");
  const TrainingState& state = start_of_second.state;
  EXPECT_EQ(state.steps, 12);
  EXPECT_EQ(state.epoch, 3);
  EXPECT_EQ(state.batch_in_epoch, 2);
  EXPECT_EQ(state.digest, start_of_first.state.digest);
  EXPECT_EQ(state.epoch_sums.loss, 0.5);
  EXPECT_EQ(state.steps_per_epoch, 5);
  EXPECT_EQ(state.position.records, 9) << "of its own shard";
  EXPECT_EQ(start_of_first.state.position.records, 4);
  EXPECT_EQ(state.rank_positions.size(), 2);
  EXPECT_THAT(second.values(), ElementsAre(ElementsAre(1, 2), ElementsAre(3), ElementsAre(103)))
      << "but for the gradient";
  EXPECT_THAT(first.values(), ElementsAre(ElementsAre(1, 2), ElementsAre(3), ElementsAre(4)));
}

}  // namespace
}  // namespace slackline
