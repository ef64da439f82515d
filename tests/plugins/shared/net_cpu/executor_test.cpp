// The executor on oneDNN against the float64 reference: every operation alone, then whole steps.

#include "net_cpu/executor.h"

#include <slackline/error.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "../net/comparison.h"
#include "net/reference.h"
#include "net/resnet.h"
#include "net_cpu/bf16.h"
#include "openmp.h"

namespace slackline::net::cpu {
namespace {

/// oneDNN computes in bf16 from AVX-512 with BW, DQ and VL on. Asked of the CPU and not of the
/// executor: one that refuses bf16 on such a CPU must fail these tests.
bool cpu_has_bf16() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#define SLACKLINE_SKIP_WITHOUT_BF16() \
  if (!cpu_has_bf16()) GTEST_SKIP() << "this CPU has no AVX-512, which bf16 needs"

using testing_support::kNormalisation;
using testing_support::made_up_images;
using testing_support::made_up_labels;
using testing_support::relative_error;

class Comparison : public testing_support::Comparison<Executor> {
 public:
  Comparison(const ResnetSpec& spec, std::int64_t batch, Precision precision = Precision::kFloat32)
      : testing_support::Comparison<Executor>(
            std::make_unique<Executor>(
                build_resnet(spec),
                ExecutorSpec{
                    .precision = precision, .threads = 2, .normalisation = kNormalisation}),
            numbers_of(precision), batch) {}

 private:
  /// Operands are exact, so bf16 adds the rounding of a result to 8 bits: 2^-8 of the value at
  /// most, and about 1.7e-3 in the root mean square.
  static testing_support::Numbers numbers_of(Precision precision) {
    if (precision == Precision::kFloat32) {
      return {
          .rounded = [](float value) { return value; }, .tolerance = 2e-6, .loss_tolerance = 1e-15};
    }
    return {.rounded = [](float value) { return to_float(to_bf16(value)); },
            .tolerance = 3e-3,
            .loss_tolerance = 1e-15};
  }
};

ResnetSpec cifar(Padding padding = Padding::kSame, std::int64_t size = 32) {
  return {.depth = 20,
          .batch_size = 5,
          .height = size,
          .width = size,
          .classes = 10,
          .padding = padding,
          .label_smoothing = 0.1f};
}

// --- one operation ------------------------------------------------------------------------------

TEST(ExecutorOpsTest, OperationsOfCifarsNetworkAreThoseOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  Comparison comparison(cifar(), 5);
  EXPECT_GT(comparison.run_each(), 40u);
}

TEST(ExecutorOpsTest, OperationsWithSymmetricPaddingAreThoseOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  Comparison comparison(cifar(Padding::kSymmetric, 17), 5);
  EXPECT_GT(comparison.run_each(), 40u);
}

TEST(ExecutorOpsTest, SeparateOperationsAreThoseOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  ResnetSpec spec = cifar(Padding::kSame, 12);
  spec.fusion = Fusion::kSeparate;
  Comparison comparison(spec, 5);
  EXPECT_GT(comparison.run_each(), 50u);
}

TEST(ExecutorOpsTest, OperationsOfResnet50AreThoseOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  Comparison comparison({.depth = 50, .batch_size = 2, .height = 32, .width = 32, .classes = 11},
                        2);
  EXPECT_GT(comparison.run_each(), 100u);
}

TEST(ExecutorOpsTest, OperationsOfResnet18AreThoseOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  Comparison comparison({.depth = 18,
                         .batch_size = 2,
                         .height = 48,
                         .width = 32,
                         .classes = 1001,
                         .padding = Padding::kSymmetric},
                        2);
  EXPECT_GT(comparison.run_each(), 50u);
}

TEST(ExecutorOpsTest, OperationsOnABatchThatIsSmallerThanPlannedAreThoseOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  Comparison comparison(cifar(Padding::kSame, 16), 3);
  EXPECT_GT(comparison.run_each(), 40u);
  Comparison with_pool({.depth = 18, .batch_size = 3, .height = 32, .width = 32, .classes = 5}, 1);
  EXPECT_GT(with_pool.run_each(), 50u);
}

TEST(ExecutorOpsTest, OperationsInBf16AreThoseOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  SLACKLINE_SKIP_WITHOUT_BF16();
  Comparison comparison(cifar(Padding::kSame, 17), 5, Precision::kBfloat16);
  EXPECT_GT(comparison.run_each(), 40u);
}

TEST(ExecutorOpsTest, SeparateOperationsInBf16AreThoseOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  SLACKLINE_SKIP_WITHOUT_BF16();
  ResnetSpec spec = cifar(Padding::kSymmetric, 12);
  spec.fusion = Fusion::kSeparate;
  Comparison comparison(spec, 5, Precision::kBfloat16);
  EXPECT_GT(comparison.run_each(), 50u);
}

TEST(ExecutorOpsTest, OperationsOfResnet50InBf16AreThoseOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  SLACKLINE_SKIP_WITHOUT_BF16();
  Comparison comparison({.depth = 50, .batch_size = 2, .height = 32, .width = 32, .classes = 11}, 2,
                        Precision::kBfloat16);
  EXPECT_GT(comparison.run_each(), 100u);
}

// --- whole steps --------------------------------------------------------------------------------

/// Small images: each of the activations has a chance to be so close to 0 that float and double
/// take it for positive and negative, which no tolerance would cover.
void expect_same_step(const ResnetSpec& spec, std::int64_t batch) {
  Comparison comparison(spec, batch);
  const Program& program = comparison.program();
  comparison.write_state();
  StepSums found, expected;
  comparison.executor().train(comparison.input(), found);
  comparison.reference().train(comparison.input(), expected);
  EXPECT_NEAR(found.loss, expected.loss, 1e-5 * expected.loss);
  EXPECT_EQ(found.samples, batch);
  EXPECT_EQ(found.correct, expected.correct);
  EXPECT_EQ(found.correct_top5, expected.correct_top5);
  for (const TensorKind kind : {TensorKind::kGradient, TensorKind::kStatistic}) {
    for (const TensorId id : program.all(kind)) {
      EXPECT_LT(relative_error(comparison.read(id), comparison.reference().tensor(id)), 1e-5)
          << program.tensor(id).name;
    }
  }
  // The derivative by the logits shares its place with later ones, so logits come from evaluation.
  comparison.executor().evaluate(comparison.input(), found);
  comparison.reference().evaluate(comparison.input(), expected);
  EXPECT_NEAR(found.loss, expected.loss, 1e-5 * expected.loss);
  EXPECT_EQ(found.correct, expected.correct);
  const TensorId logits = std::get<SoftmaxLoss>(program.ops[program.forward_ops - 1]).logits;
  EXPECT_LT(relative_error(
                comparison.read(logits),
                std::span(comparison.reference().tensor(logits)).first(comparison.size_of(logits))),
            1e-5);
}

TEST(ExecutorStepTest, AStepIsThatOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  expect_same_step(cifar(Padding::kSame, 8), 5);
  expect_same_step(cifar(Padding::kSymmetric, 9), 5);
}

TEST(ExecutorStepTest, AStepOfSeparateOperationsIsThatOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  ResnetSpec spec = cifar(Padding::kSame, 8);
  spec.fusion = Fusion::kSeparate;
  expect_same_step(spec, 5);
}

TEST(ExecutorStepTest, AStepOfASmallerBatchIsThatOfTheReference) {
  SLACKLINE_SKIP_OPENMP();
  expect_same_step(cifar(Padding::kSame, 8), 3);
}

/// Steps of CIFAR's network on one batch after the other.
class ExecutorRunsTest : public testing::Test {
 protected:
  using Bits = std::vector<std::uint32_t>;

  /// With parameters that depend on their place alone.
  static void set_state(Executor& executor) {
    std::mt19937 words(31);
    const Program& program = executor.program();
    for (const TensorKind kind : {TensorKind::kParameter, TensorKind::kStatistic}) {
      for (const TensorId id : program.all(kind)) {
        std::vector<float> values(values_of(program.tensor(id).extents));
        for (float& value : values) {
          value = 0.1f * (static_cast<float>(words()) * 0x1p-31f - 1.0f);
          if (!program.tensor(id).is_kernel) value += 1;
        }
        executor.write(id, values);
      }
    }
  }

  static Bits bits(std::span<const float> values) {
    Bits all;
    for (const float value : values) all.push_back(std::bit_cast<std::uint32_t>(value));
    return all;
  }

  /// Gradients and statistics of one step.
  Bits step(Executor& executor, std::int64_t batch) {
    const auto images = made_up_images(executor.program(), batch);
    const auto labels = made_up_labels(batch, 10);
    StepSums sums;
    executor.train({images, labels, 5}, sums);
    Bits all = bits(executor.gradients());
    const Bits statistics = bits(executor.statistics());
    all.insert(all.end(), statistics.begin(), statistics.end());
    return all;
  }

  /// Of a flat array, the values that belong to no tensor.
  std::size_t values_between(Executor& executor, std::span<float> array, TensorKind kind,
                             std::size_t& not_zero) {
    std::vector<bool> is_owned(array.size());
    for (const TensorId id : executor.program().all(kind)) {
      const std::span<float> part = executor.part(array, id);
      for (std::size_t i = 0; i < part.size(); ++i) {
        is_owned[static_cast<std::size_t>(part.data() - array.data()) + i] = true;
      }
    }
    std::size_t free = 0;
    for (std::size_t i = 0; i < array.size(); ++i) {
      if (is_owned[i]) continue;
      ++free;
      not_zero += array[i] == 0 ? 0 : 1;
    }
    return free;
  }

  const ExecutorSpec spec_{.threads = 2, .normalisation = kNormalisation};
  const Program program_ = build_resnet(cifar(Padding::kSame, 16));
};

TEST_F(ExecutorRunsTest, TheSameStepHasTheSameBitsAgainAndInAnotherExecutor) {
  SLACKLINE_SKIP_OPENMP();
  Executor executor(program_, spec_), other(program_, spec_);
  set_state(executor);
  const Bits first = step(executor, 5);
  step(executor, 2);
  set_state(executor);
  EXPECT_TRUE(step(executor, 5) == first) << "what a step leaves behind is not in the next one";
  set_state(other);
  EXPECT_TRUE(step(other, 5) == first);
}

TEST_F(ExecutorRunsTest, ABatchSizeThatCameLateHasTheBitsOfOneThatCameFirst) {
  SLACKLINE_SKIP_OPENMP();
  Executor early(program_, spec_), late(program_, spec_);
  set_state(early);
  const Bits expected = step(early, 3);
  for (const std::int64_t batch : {1, 5, 4, 2}) step(late, batch);
  set_state(late);
  EXPECT_TRUE(step(late, 3) == expected);
}

TEST_F(ExecutorRunsTest, ThePaddingOfFlatArraysStaysZero) {
  SLACKLINE_SKIP_OPENMP();
  Executor executor(program_, spec_);
  set_state(executor);
  step(executor, 5);
  step(executor, 3);
  std::size_t not_zero = 0;
  EXPECT_GT(values_between(executor, executor.parameters(), TensorKind::kParameter, not_zero), 0u);
  EXPECT_GT(values_between(executor, executor.gradients(), TensorKind::kGradient, not_zero), 0u);
  values_between(executor, executor.statistics(), TensorKind::kStatistic, not_zero);
  EXPECT_EQ(not_zero, 0u);
  // A layout that pads channels has more values than the tensor: these add up to 0 as well.
  for (const TensorId id : program_.all(TensorKind::kParameter)) {
    const auto of = [&](std::span<float> array, TensorId part) {
      const std::span<float> values = executor.part(array, part);
      return std::ranges::count_if(values, [](float value) { return value != 0; });
    };
    const auto size = static_cast<std::ptrdiff_t>(values_of(program_.tensor(id).extents));
    EXPECT_LE(of(executor.parameters(), id), size) << program_.tensor(id).name;
    EXPECT_LE(of(executor.gradients(), program_.tensor(id).gradient), size);
  }
}

TEST_F(ExecutorRunsTest, AParameterAndItsGradientLieAtTheSamePlaceInTheSameLayout) {
  SLACKLINE_SKIP_OPENMP();
  Executor executor(program_, spec_);
  ASSERT_EQ(executor.parameters().size(), executor.gradients().size());
  for (const TensorId id : program_.all(TensorKind::kParameter)) {
    const TensorId gradient = program_.tensor(id).gradient;
    std::vector<float> values(values_of(program_.tensor(id).extents));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
    executor.write(id, values);
    executor.write(gradient, values);
  }
  EXPECT_TRUE(std::ranges::equal(executor.parameters(), executor.gradients()));
}

TEST_F(ExecutorRunsTest, WhatIsWrittenIsReadAgainBitByBit) {
  SLACKLINE_SKIP_OPENMP();
  Executor executor(program_, spec_);
  std::mt19937 words(33);
  for (const TensorKind kind :
       {TensorKind::kParameter, TensorKind::kGradient, TensorKind::kStatistic}) {
    for (const TensorId id : program_.all(kind)) {
      std::vector<float> values(values_of(program_.tensor(id).extents)), found(values.size());
      for (float& value : values) value = static_cast<float>(words()) * 0x1p-31f - 1.0f;
      values[0] = -0.0f;
      executor.write(id, values);
      executor.read(id, found);
      ASSERT_EQ(bits(found), bits(values)) << program_.tensor(id).name;
    }
  }
}

TEST_F(ExecutorRunsTest, EvaluationMovesNoStatisticAndNoGradient) {
  SLACKLINE_SKIP_OPENMP();
  Executor executor(program_, spec_);
  set_state(executor);
  step(executor, 5);
  const Bits gradients = bits(executor.gradients()), statistics = bits(executor.statistics());
  const auto images = made_up_images(program_, 4);
  const auto labels = made_up_labels(4, 10);
  StepSums sums;
  sums.loss = 1e9;
  executor.evaluate({images, labels, 4}, sums);
  EXPECT_EQ(sums.samples, 4);
  EXPECT_LT(sums.loss, 1e6) << "sums are overwritten";
  EXPECT_TRUE(bits(executor.gradients()) == gradients);
  EXPECT_TRUE(bits(executor.statistics()) == statistics);
}

TEST_F(ExecutorRunsTest, ActivationsShareTheirMemory) {
  SLACKLINE_SKIP_OPENMP();
  Executor executor(program_, spec_);
  const std::size_t apart = 4 * program_.count(TensorKind::kActivation);
  EXPECT_LT(executor.arena_bytes(), apart * 3 / 4);
  EXPECT_GT(executor.arena_bytes(), apart / 10);
}

TEST_F(ExecutorRunsTest, TimesAreOfEveryOperationAndCountItsCalls) {
  SLACKLINE_SKIP_OPENMP();
  Executor executor(program_, spec_);
  set_state(executor);
  step(executor, 5);
  executor.profile();
  step(executor, 5);
  step(executor, 5);
  const auto times = executor.op_times();
  ASSERT_EQ(times.size(), program_.ops.size());
  for (std::size_t i = 0; i < times.size(); ++i) {
    EXPECT_EQ(times[i].calls, 2) << times[i].name;
    EXPECT_GE(times[i].seconds, 0) << times[i].name;
    EXPECT_EQ(times[i].flop, flop_of(program_, program_.ops[i])) << times[i].name;
    EXPECT_NE(times[i].implementation, "") << times[i].name;
  }
  EXPECT_EQ(times[0].name, "ingest images");
  EXPECT_EQ(times[1].name, "conv conv1");
}

TEST_F(ExecutorRunsTest, AStepInBf16IsCloseToOneInFloat) {
  SLACKLINE_SKIP_OPENMP();
  SLACKLINE_SKIP_WITHOUT_BF16();
  ExecutorSpec spec = spec_;
  spec.precision = Precision::kBfloat16;
  Executor halves(program_, spec), floats(program_, spec_);
  set_state(halves);
  set_state(floats);
  const auto images = made_up_images(program_, 5);
  const auto labels = made_up_labels(5, 10);
  StepSums found, expected;
  halves.train({images, labels, 5}, found);
  floats.train({images, labels, 5}, expected);
  EXPECT_NEAR(found.loss, expected.loss, 0.05 * expected.loss);
}

TEST_F(ExecutorRunsTest, Bf16IsRefusedWhereTheCpuHasNone) {
  SLACKLINE_SKIP_OPENMP();
  if (cpu_has_bf16()) GTEST_SKIP() << "this CPU has bf16";
  ExecutorSpec spec = spec_;
  spec.precision = Precision::kBfloat16;
  try {
    const Executor executor(program_, spec);
    ADD_FAILURE() << "was not refused";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.option(), "precision");
    EXPECT_STREQ(error.what(),
                 "oneDNN has no convolutions in bf16 for this CPU: bf16 needs AVX-512");
  }
}

}  // namespace
}  // namespace slackline::net::cpu
