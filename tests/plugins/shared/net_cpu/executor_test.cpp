// The executor on oneDNN against the float64 reference: every operation alone, then whole steps.

#include "net_cpu/executor.h"

#include <slackline/error.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "net/reference.h"
#include "net/resnet.h"
#include "net_cpu/bf16.h"
#include "openmp.h"

namespace slackline::net::cpu {
namespace {

constexpr Normalisation kNormalisation{{120, 110, 100}, {1 / 60.f, 1 / 50.f, 1 / 40.f}};

/// oneDNN computes in bf16 from AVX-512 with BW, DQ and VL on. Asked of the CPU and not of the
/// executor: one that refuses bf16 on such a CPU must fail these tests.
bool cpu_has_bf16() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#define SLACKLINE_SKIP_WITHOUT_BF16() \
  if (!cpu_has_bf16()) GTEST_SKIP() << "this CPU has no AVX-512, which bf16 needs"

std::vector<std::uint8_t> made_up_images(const Program& program, std::int64_t batch) {
  const Extents& e = program.tensor(std::get<Ingest>(program.ops.front()).y).extents;
  std::mt19937 words(21);
  std::vector<std::uint8_t> images(static_cast<std::size_t>(batch * e[2] * e[3] * 3));
  for (std::uint8_t& pixel : images) pixel = static_cast<std::uint8_t>(words());
  return images;
}

std::vector<std::int32_t> made_up_labels(std::int64_t batch, std::int32_t classes) {
  std::vector<std::int32_t> labels;
  for (std::int32_t i = 0; i < batch; ++i) labels.push_back((i * 7 + 3) % classes);
  return labels;
}

/// |found - expected| / |expected|.
template <class Found>
double relative_error(const Found& found, std::span<const double> expected) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(found[i]) - expected[i];
    error += difference * difference;
    size += expected[i] * expected[i];
  }
  return size == 0 ? std::sqrt(error) : std::sqrt(error / size);
}

/// An executor and the reference, with the same numbers in both.
class Comparison {
 public:
  Comparison(const ResnetSpec& spec, std::int64_t batch, Precision precision = Precision::kFloat32)
      : program_(build_resnet(spec)),
        precision_(precision),
        executor_(program_,
                  {.precision = precision, .threads = 2, .normalisation = kNormalisation}),
        reference_(program_, kNormalisation),
        batch_(batch),
        images_(made_up_images(program_, batch)),
        labels_(made_up_labels(batch, static_cast<std::int32_t>(spec.classes))) {}

  const Program& program() const { return program_; }
  Executor& executor() { return executor_; }
  Reference& reference() { return reference_; }
  [[nodiscard]] StepInput input() const { return {images_, labels_, 7}; }

  /// Runs every kind of operation once for each set of shapes. Returns how many ran.
  std::size_t run_each() {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < program_.ops.size(); ++i) {
      if (!seen.insert(description(i)).second) continue;
      // The backward pass of a pool reads what only the forward pass can write.
      if (const auto* o = std::get_if<MaxPoolBackward>(&program_.ops[i])) run_pool(o->index);
      run_one(i);
    }
    return seen.size();
  }

  /// The values of the samples that take part.
  std::size_t size_of(TensorId id) const {
    Extents e = program_.tensor(id).extents;
    if (program_.tensor(id).kind == TensorKind::kActivation) e[0] = batch_;
    return values_of(e);
  }

  std::vector<float> read(TensorId id) {
    std::vector<float> values(values_of(program_.tensor(id).extents));
    executor_.read(id, values);
    return values;
  }

  void write(TensorId id, double mean, double reach) {
    std::vector<float> values(values_of(program_.tensor(id).extents));
    for (float& value : values) {
      value =
          rounded(static_cast<float>(mean + reach * (static_cast<double>(words_()) * 0x1p-30 - 1)));
    }
    executor_.write(id, values);
    std::ranges::copy(values, reference_.tensor(id).begin());
  }

  /// As before training.
  void write_state() {
    for (const TensorId id : program_.all(TensorKind::kParameter)) {
      const Tensor& tensor = program_.tensor(id);
      if (tensor.is_kernel) {
        write(id, 0,
              std::sqrt(3.0 * static_cast<double>(tensor.extents[0]) /
                        static_cast<double>(values_of(tensor.extents))));
      } else {
        write(id, tensor.name.ends_with(".weight") ? 1 : 0, 0.2);
      }
    }
    for (const TensorId id : program_.all(TensorKind::kStatistic)) {
      write(id, program_.tensor(id).name.ends_with("_var") ? 1 : 0, 0.5);
    }
  }

 private:
  /// Its kind and the shapes, strides and paddings that it works with.
  [[nodiscard]] std::string description(std::size_t i) const {
    const Op& op = program_.ops[i];
    std::ostringstream words;
    words << name_of(op);
    const Accesses accesses = accesses_of(op);
    for (const auto* ids : {&accesses.reads, &accesses.writes}) {
      for (const TensorId id : *ids) {
        for (const std::int64_t extent : program_.tensor(id).extents) words << ' ' << extent;
        words << (std::ranges::find(accesses.writes, id) == accesses.writes.end() ? ';' : '!');
      }
    }
    std::visit(
        [&](const auto& o) {
          if constexpr (requires { o.window; }) {
            words << " stride " << o.window.stride << " pad " << o.window.top << o.window.left
                  << o.window.bottom << o.window.right;
          }
          if constexpr (requires { o.relu; }) words << " relu " << o.relu;
        },
        op);
    return words.str();
  }

  void run_pool(TensorId index) {
    for (std::size_t i = 0; i < program_.forward_ops; ++i) {
      const auto* pool = std::get_if<MaxPool>(&program_.ops[i]);
      if (pool != nullptr && pool->index == index) run_one(i);
    }
  }

  void write_input(TensorId id) {
    const Tensor& tensor = program_.tensor(id);
    if (tensor.kind == TensorKind::kIndex) return;  // the forward pass wrote it
    const bool is_positive = tensor.name.ends_with("_var") || tensor.name.ends_with("deviation");
    write(id, is_positive ? 1 : 0.1, is_positive ? 0.5 : 1);
  }

  void poison(TensorId id) {
    if (program_.tensor(id).kind == TensorKind::kIndex) return;
    executor_.write(id, std::vector<float>(values_of(program_.tensor(id).extents),
                                           std::numeric_limits<float>::quiet_NaN()));
  }

  void run_one(std::size_t i) {
    const Op& op = program_.ops[i];
    const Accesses accesses = accesses_of(op);
    for (const TensorId id : accesses.writes) poison(id);
    for (const TensorId id : accesses.reads) write_input(id);
    StepSums sums;
    executor_.run(i, Mode::kTraining, input(), sums);
    if (const auto* ingest = std::get_if<Ingest>(&op)) {
      expect_ingested(ingest->y);
    } else if (const auto* loss = std::get_if<SoftmaxLoss>(&op)) {
      expect_loss(*loss, sums);
    } else {
      reference_.run(op, Mode::kTraining, batch_);
      for (const TensorId id : accesses.writes) expect_same(id, description(i));
    }
  }

  /// To what the executor holds exactly, in whatever type.
  [[nodiscard]] float rounded(float value) const {
    return precision_ == Precision::kFloat32 ? value : to_float(to_bf16(value));
  }

  /// Operands are exact, so bf16 adds the rounding of a result to 8 bits: 2^-8 of the value at
  /// most, and about 1.7e-3 in the root mean square.
  [[nodiscard]] double tolerance() const { return precision_ == Precision::kFloat32 ? 2e-6 : 3e-3; }

  void expect_same(TensorId id, const std::string& of) {
    if (program_.tensor(id).kind == TensorKind::kIndex) return;  // any type the executor likes
    const double error =
        relative_error(read(id), std::span(reference_.tensor(id)).first(size_of(id)));
    EXPECT_LT(error, tolerance()) << program_.tensor(id).name << " of " << of;  // also if it is NaN
  }

  void expect_ingested(TensorId y) {
    const Extents& e = program_.tensor(y).extents;
    const std::vector<float> found = read(y);
    std::size_t wrong = 0, pixel = 0;
    for (std::int64_t n = 0; n < batch_; ++n) {
      for (std::int64_t at = 0; at < e[2] * e[3]; ++at) {
        for (std::int64_t c = 0; c < 3; ++c, ++pixel) {
          const float expected =
              rounded(kNormalisation.apply(images_[pixel], static_cast<std::size_t>(c)));
          const auto place = static_cast<std::size_t>((n * 3 + c) * e[2] * e[3] + at);
          wrong += found[place] == expected ? 0 : 1;
        }
      }
    }
    EXPECT_EQ(wrong, 0u) << "pixels";
  }

  void expect_loss(const SoftmaxLoss& o, const StepSums& found) {
    const auto classes = static_cast<std::size_t>(program_.tensor(o.logits).extents[1]);
    StepSums sums;
    for (std::size_t n = 0; n < labels_.size(); ++n) {
      softmax_loss(reference_.tensor(o.logits).subspan(n * classes, classes), labels_[n],
                   static_cast<double>(program_.label_smoothing), 1.0 / 7,
                   reference_.tensor(o.dlogits).subspan(n * classes, classes), sums);
    }
    EXPECT_DOUBLE_EQ(found.loss, sums.loss);
    EXPECT_EQ(found.correct, sums.correct);
    EXPECT_EQ(found.correct_top5, sums.correct_top5);
    EXPECT_EQ(found.samples, batch_);
    expect_same(o.dlogits, "softmax loss");
  }

  const Program program_;
  const Precision precision_;
  Executor executor_;
  Reference reference_;
  const std::int64_t batch_;
  const std::vector<std::uint8_t> images_;
  const std::vector<std::int32_t> labels_;
  std::minstd_rand words_{22};
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
