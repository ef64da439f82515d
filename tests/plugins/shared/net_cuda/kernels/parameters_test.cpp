// Updates of parameters, run on the CPU, against those of the models on the CPU.

#include "bodies/parameters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "nn/optimizer.h"
#include "operation_case.h"

namespace slackline::net::cuda {
namespace {

constexpr float kNoNumber = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinite = std::numeric_limits<float>::infinity();

/// Tensors of less than a quad, of pieces that are full and of ones that are not, in an order that
/// is not the memory's.
struct TensorOf {
  std::int64_t size;
  bool is_kernel, is_in_penalty;
};
constexpr TensorOf kTensors[] = {{64, false, false},   {40'003, true, true}, {1, false, true},
                                 {16'384, true, true}, {27, true, false},    {1000, false, false},
                                 {16'387, false, true}};
constexpr std::size_t kInMemory[] = {2, 1, 4, 0, 6, 3, 5};

/// Parameters with all that an update needs. What lies between tensors is not a number.
template <class T>
class Trained {
 public:
  explicit Trained(OptimizerKind optimizer = OptimizerKind::kSgd, bool is_dynamic = false) {
    tensors.resize(std::size(kTensors));
    std::int64_t end = 0;
    for (const std::size_t i : kInMemory) {
      const TensorOf& of = kTensors[i];
      tensors[i] = {.begin = end,
                    .size = of.size,
                    .decay = of.is_kernel ? 1e-2f : 0,
                    .is_kernel = of.is_kernel ? 1 : 0,
                    .is_in_penalty = of.is_in_penalty ? 1 : 0};
      for (std::int64_t at = 0; at < of.size; at += kPieceValues) {
        pieces.push_back({.begin = end + at,
                          .size = static_cast<std::int32_t>(std::min(kPieceValues, of.size - at)),
                          .tensor = static_cast<std::int32_t>(i)});
      }
      end += (of.size + 63) / 64 * 64;
    }
    size = static_cast<std::size_t>(end);
    values = gradients = velocities = poisoned<float>(size);
    copies = raw = poisoned<T>(size);
    for (const TrainedTensor& tensor : tensors) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(tensor.size); ++i) {
        const std::size_t at = static_cast<std::size_t>(tensor.begin) + i;
        values[at] = static_cast<float>(made_up(words));
        gradients[at] = static_cast<float>(made_up(words));
        velocities[at] = static_cast<float>(0.1 * made_up(words));
        raw[at] = stored<T>(made_up(words));
      }
    }
    piece_sums = poisoned<double>(pieces.size() * 3);
    rates = poisoned<float>(tensors.size());
    const bool has_copies = !std::is_same_v<T, float>;
    args = {.tensors = tensors.data(),
            .tensor_count = static_cast<std::int32_t>(tensors.size()),
            .pieces = pieces.data(),
            .piece_count = static_cast<std::int32_t>(pieces.size()),
            .values = values.data(),
            .gradients = gradients.data(),
            .velocities = velocities.data(),
            .copies = has_copies ? copies.data() : nullptr,
            .raw = has_copies ? raw.data() : nullptr,
            .piece_sums = piece_sums.data(),
            .rates = rates.data(),
            .optimizer = optimizer,
            .momentum = 0.9f,
            .lars_trust = 0.001f,
            .loss_scale = &loss_scale,
            .is_dynamic = is_dynamic,
            .schedule = &schedule,
            .weight_decay = 0.25,
            .penalty = &penalty};
  }
  Trained(const Trained&) = delete;
  Trained& operator=(const Trained&) = delete;

  [[nodiscard]] std::span<float> part(std::vector<float>& of, const TrainedTensor& tensor) const {
    return std::span(of).subspan(static_cast<std::size_t>(tensor.begin),
                                 static_cast<std::size_t>(tensor.size));
  }

  /// The same update by the CPU's functions.
  void update_on_cpu(std::vector<float>& new_values, std::vector<float>& new_velocities) {
    for (const TrainedTensor& tensor : tensors) {
      const std::span<float> g = part(gradients, tensor), w = part(new_values, tensor);
      const bool is_lars = args.optimizer == OptimizerKind::kLars && tensor.is_kernel != 0;
      const float rate = is_lars ? nn::lars_rate(g, w, schedule.rate, args.lars_trust, tensor.decay)
                                 : schedule.rate;
      nn::sgd_momentum(g, rate, args.momentum, tensor.decay, part(new_velocities, tensor), w);
    }
  }

  [[nodiscard]] double expected_penalty() {
    double sum = 0;
    for (const TrainedTensor& tensor : tensors) {
      if (tensor.is_in_penalty != 0) sum += nn::sum_of_squares(part(values, tensor));
    }
    return args.weight_decay * sum;
  }

  /// Kernels have a copy of each value, and nothing else is written.
  void expect_copies() const {
    if (args.copies == nullptr) return;
    std::vector<T> expected = poisoned<T>(size);
    for (const TrainedTensor& tensor : tensors) {
      if (tensor.is_kernel == 0) continue;
      for (std::int64_t i = tensor.begin; i < tensor.begin + tensor.size; ++i) {
        const auto at = static_cast<std::size_t>(i);
        expected[at] = bodies::from_float<T>(values[at]);
      }
    }
    EXPECT_TRUE(bytes(expected) == bytes(copies)) << "copies";
  }

  template <class V>
  static std::string bytes(const std::vector<V>& of) {
    std::string bytes;
    append_bytes(bytes, of);
    return bytes;
  }
  [[nodiscard]] std::string state() const {
    return bytes(values) + bytes(velocities) + bytes(copies) + bytes(std::vector<double>{penalty});
  }

  std::mt19937 words{13};
  std::vector<TrainedTensor> tensors;
  std::vector<Piece> pieces;
  std::size_t size = 0;
  std::vector<float> values, gradients, velocities, rates;
  std::vector<T> copies, raw;
  std::vector<double> piece_sums;
  LossScale loss_scale{.scale = 1024};
  Schedule schedule{.rate = 0.1f, .step = 7};
  double penalty = -1;
  ParameterArgs args;
};

template <class T>
class ParameterKernelsTest : public testing::Test {};
TYPED_TEST_SUITE(ParameterKernelsTest, Types);

TYPED_TEST(ParameterKernelsTest, GradientsAreGatheredAndDividedByTheLossScale) {
  Trained<TypeParam> trained;
  std::vector<float> expected = trained.gradients;
  for (const TrainedTensor& tensor : trained.tensors) {
    for (std::int64_t i = tensor.begin; i < tensor.begin + tensor.size; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (trained.args.raw != nullptr && tensor.is_kernel != 0) {
        expected[at] = bodies::to_float(trained.raw[at]);
      }
      expected[at] /= 1024;
    }
  }
  bodies::gather_gradients<TypeParam>(EmulatedLaunch(3), trained.args);
  EXPECT_TRUE(trained.bytes(expected) == trained.bytes(trained.gradients));
}

TYPED_TEST(ParameterKernelsTest, ALossScaleOfOneGathersWithoutARounding) {
  Trained<TypeParam> trained;
  trained.loss_scale.scale = 1;
  const std::vector<float> before = trained.gradients;
  bodies::gather_gradients<TypeParam>(EmulatedLaunch(3), trained.args);
  for (const TrainedTensor& tensor : trained.tensors) {
    const bool is_raw = trained.args.raw != nullptr && tensor.is_kernel != 0;
    for (std::int64_t i = tensor.begin; i < tensor.begin + tensor.size; ++i) {
      const auto at = static_cast<std::size_t>(i);
      ASSERT_EQ(trained.gradients[at], is_raw ? bodies::to_float(trained.raw[at]) : before[at]);
    }
  }
}

TYPED_TEST(ParameterKernelsTest, SgdHasTheBitsOfTheCpus) {
  for (const bool is_dynamic : {false, true}) {
    Trained<TypeParam> trained(OptimizerKind::kSgd, is_dynamic);
    std::vector<float> values = trained.values, velocities = trained.velocities;
    for (int step = 1; step <= 3; ++step) {
      trained.update_on_cpu(values, velocities);
      bodies::update<TypeParam>(EmulatedLaunch(3), trained.args);
      EXPECT_TRUE(trained.bytes(values) == trained.bytes(trained.values)) << "values";
      EXPECT_TRUE(trained.bytes(velocities) == trained.bytes(trained.velocities)) << "velocities";
      EXPECT_NEAR(trained.penalty, trained.expected_penalty(), 1e-12 * trained.penalty);
      EXPECT_EQ(trained.schedule.step, 7 + step);
      EXPECT_EQ(trained.loss_scale.is_finite, 1);
      EXPECT_EQ(trained.loss_scale.good_steps, is_dynamic ? step : 0);
      trained.expect_copies();
    }
  }
}

/// Norms are summed in another order than on the CPU, so rates differ in their last bit at most.
TYPED_TEST(ParameterKernelsTest, LarsHasTheRatesOfTheCpus) {
  Trained<TypeParam> trained(OptimizerKind::kLars);
  // No norm of the gradient, no norm of the values: the plain rate.
  std::ranges::fill(trained.part(trained.gradients, trained.tensors[4]), 0.0f);
  std::ranges::fill(trained.part(trained.values, trained.tensors[3]), 0.0f);
  std::vector<float> values = trained.values, velocities = trained.velocities;
  trained.update_on_cpu(values, velocities);
  bodies::update<TypeParam>(EmulatedLaunch(3), trained.args);
  for (const TrainedTensor& tensor : trained.tensors) {
    const std::span<float> found = trained.part(trained.values, tensor);
    const std::span<float> of_velocities = trained.part(trained.velocities, tensor);
    expect_near(std::vector<float>(found.begin(), found.end()), trained.part(values, tensor), 1e-7,
                "values");
    expect_near(std::vector<float>(of_velocities.begin(), of_velocities.end()),
                trained.part(velocities, tensor), 2e-7, "velocities");
  }
  for (const std::size_t plain : {0, 2, 3, 4, 5, 6}) EXPECT_EQ(trained.rates[plain], 0.1f) << plain;
  EXPECT_LT(trained.rates[1], 0.001f);
  EXPECT_NEAR(trained.penalty, trained.expected_penalty(), 1e-12 * trained.penalty);
  trained.expect_copies();
}

TYPED_TEST(ParameterKernelsTest, ADynamicScaleSkipsWhatIsNotFinite) {
  for (const OptimizerKind optimizer : {OptimizerKind::kSgd, OptimizerKind::kLars}) {
    // In the last tensor's rest, in the first piece, in the middle of a quad.
    for (const auto& [tensor, at, bad] :
         {std::tuple<std::size_t, std::size_t, float>{6, 16'386, kInfinite},
          {1, 0, kNoNumber},
          {5, 501, -kInfinite}}) {
      Trained<TypeParam> trained(optimizer, true);
      bodies::refresh<TypeParam>(EmulatedLaunch(), trained.args);
      const std::string before = trained.state();
      trained.loss_scale.good_steps = 12;
      trained.part(trained.gradients, trained.tensors[tensor])[at] = bad;
      bodies::update<TypeParam>(EmulatedLaunch(3), trained.args);
      EXPECT_TRUE(trained.state() == before) << "value " << at << " of tensor " << tensor;
      EXPECT_EQ(trained.loss_scale.scale, 512);
      EXPECT_EQ(trained.loss_scale.good_steps, 0);
      EXPECT_EQ(trained.loss_scale.is_finite, 0);
      EXPECT_EQ(trained.loss_scale.skipped_steps, 1);
      EXPECT_EQ(trained.schedule.step, 8);

      trained.part(trained.gradients, trained.tensors[tensor])[at] = 0.5f;
      bodies::update<TypeParam>(EmulatedLaunch(3), trained.args);
      EXPECT_FALSE(trained.state() == before) << "the next step is applied";
      EXPECT_EQ(trained.loss_scale.scale, 512);
      EXPECT_EQ(trained.loss_scale.good_steps, 1);
      EXPECT_EQ(trained.loss_scale.is_finite, 1);
    }
  }
}

TYPED_TEST(ParameterKernelsTest, AFixedScaleAppliesWhatIsNotFinite) {
  Trained<TypeParam> trained;
  trained.gradients[static_cast<std::size_t>(trained.tensors[5].begin)] = kInfinite;
  bodies::update<TypeParam>(EmulatedLaunch(), trained.args);
  EXPECT_EQ(trained.part(trained.values, trained.tensors[5])[0], -kInfinite);
  EXPECT_EQ(trained.loss_scale.scale, 1024);
  EXPECT_EQ(trained.loss_scale.is_finite, 1);
  EXPECT_EQ(trained.loss_scale.skipped_steps, 0);
}

/// New values are there after a skipped step, too.
TYPED_TEST(ParameterKernelsTest, RefreshWritesCopiesAndPenaltyWhateverTheLastStepWas) {
  Trained<TypeParam> trained(OptimizerKind::kSgd, true);
  trained.loss_scale.is_finite = 0;
  const std::vector<float> before = trained.values;
  bodies::refresh<TypeParam>(EmulatedLaunch(3), trained.args);
  trained.expect_copies();
  EXPECT_NEAR(trained.penalty, trained.expected_penalty(), 1e-12 * trained.penalty);
  EXPECT_TRUE(trained.bytes(before) == trained.bytes(trained.values));
  EXPECT_EQ(trained.schedule.step, 7);
}

TYPED_TEST(ParameterKernelsTest, APenaltyThatNobodyAsksForIsNotSummed) {
  Trained<TypeParam> trained;
  trained.args.penalty = nullptr;
  bodies::update<TypeParam>(EmulatedLaunch(), trained.args);
  bodies::refresh<TypeParam>(EmulatedLaunch(), trained.args);
  trained.expect_copies();
  EXPECT_THAT(trained.piece_sums, testing::Each(testing::IsNan()));
}

TYPED_TEST(ParameterKernelsTest, ThereAreTheSameBitsInAnyOrderOfBlocks) {
  expect_the_same_in_any_order([](const EmulatedLaunch& launch) {
    Trained<TypeParam> trained(OptimizerKind::kLars, true);
    bodies::gather_gradients<TypeParam>(launch, trained.args);
    bodies::update<TypeParam>(launch, trained.args);
    return trained.state() + trained.bytes(trained.gradients) + trained.bytes(trained.rates);
  });
}

TYPED_TEST(ParameterKernelsTest, ATableHasTheRateOfTheStepAndTheLastOneBehindItsEnd) {
  std::vector<float> table = {0.1f, 0.2f, 0.3f};
  for (const OptimizerKind optimizer : {OptimizerKind::kSgd, OptimizerKind::kLars}) {
    for (const auto& [step, rate] :
         {std::pair<std::int64_t, float>{0, 0.1f}, {2, 0.3f}, {3, 0.3f}, {1'000'000, 0.3f}}) {
      Trained<TypeParam> looked_up(optimizer, false), given(optimizer, false);
      looked_up.args.rate_table = table.data();
      looked_up.args.rate_table_size = 3;
      looked_up.schedule = {.rate = -1, .step = step};
      given.schedule = {.rate = rate, .step = step};
      bodies::update<TypeParam>(EmulatedLaunch(), looked_up.args);
      bodies::update<TypeParam>(EmulatedLaunch(), given.args);
      EXPECT_TRUE(looked_up.state() == given.state()) << step;
      EXPECT_EQ(looked_up.schedule.step, step + 1);
    }
  }
}

/// What upstream's help says, written down a second time.
struct DynamicScale {
  double scale = 32768;
  int good = 0;
  std::int64_t skipped = 0;

  void step(bool is_finite) {
    if (is_finite) {
      if (good + 1 >= 2000) {
        if (scale * 2 <= static_cast<double>(std::numeric_limits<float>::max())) scale *= 2;
        good = 0;
      } else {
        ++good;
      }
    } else {
      scale = std::max(scale / 2, 1.0);
      good = 0;
      ++skipped;
    }
  }
};

TEST(LossScaleTest, FollowsAModelThroughRandomSteps) {
  std::mt19937 words(5);
  for (const unsigned bad_in : {2u, 50u, 1500u, 20'000u}) {
    LossScale scale{.scale = 32768};
    DynamicScale model;
    for (int step = 0; step < 300'000; ++step) {
      const bool is_finite = words() % bad_in != 0;
      scale = bodies::next_loss_scale(scale, is_finite, true);
      model.step(is_finite);
      ASSERT_EQ(static_cast<double>(scale.scale), model.scale) << step;
      ASSERT_EQ(scale.good_steps, model.good) << step;
      ASSERT_EQ(scale.skipped_steps, model.skipped) << step;
      ASSERT_EQ(scale.is_finite != 0, is_finite) << step;
    }
  }
}

TEST(LossScaleTest, DoublesAfter2000GoodStepsInARow) {
  LossScale scale{.scale = 8};
  for (int i = 0; i < 1999; ++i) scale = bodies::next_loss_scale(scale, true, true);
  EXPECT_EQ(scale.scale, 8);
  scale = bodies::next_loss_scale(scale, true, true);
  EXPECT_EQ(scale.scale, 16);
  EXPECT_EQ(scale.good_steps, 0);
  for (int i = 0; i < 1999; ++i) scale = bodies::next_loss_scale(scale, true, true);
  scale = bodies::next_loss_scale(scale, false, true);
  EXPECT_EQ(scale.scale, 8);
  EXPECT_EQ(scale.good_steps, 0);
}

TEST(LossScaleTest, StaysBetweenOneAndTheLargestFloat) {
  LossScale scale{.scale = 1.5f};
  for (int i = 0; i < 3; ++i) scale = bodies::next_loss_scale(scale, false, true);
  EXPECT_EQ(scale.scale, 1);
  scale = {.scale = 0x1p126f, .good_steps = 1999};
  scale = bodies::next_loss_scale(scale, true, true);
  EXPECT_EQ(scale.scale, 0x1p127f);
  scale.good_steps = 1999;
  scale = bodies::next_loss_scale(scale, true, true);
  EXPECT_EQ(scale.scale, 0x1p127f);
  EXPECT_EQ(scale.good_steps, 0);
}

TEST(LossScaleTest, AFixedScaleStaysAndNothingIsSkipped) {
  LossScale scale{.scale = 128};
  for (int i = 0; i < 4000; ++i) scale = bodies::next_loss_scale(scale, i % 2 == 0, false);
  EXPECT_EQ(scale.scale, 128);
  EXPECT_EQ(scale.is_finite, 1);
  EXPECT_EQ(scale.skipped_steps, 0);
}

}  // namespace
}  // namespace slackline::net::cuda
