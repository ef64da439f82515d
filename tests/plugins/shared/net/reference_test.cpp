// The float64 reference, which every executor is compared with: its derivatives against finite
// differences, and what has none against numbers worked out by hand.

#include "net/reference.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "net/resnet.h"

namespace slackline::net {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

double made_up(std::mt19937& words) { return static_cast<double>(words()) / 2147483648.0 - 1; }

void fill(std::span<double> values, std::mt19937& words) {
  for (double& value : values) value = made_up(words);
}

double product(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// A program of one operation and its backward one.
class OperationTest : public testing::Test {
 protected:
  TensorId add(const Extents& extents, TensorKind kind = TensorKind::kActivation) {
    program_.tensors.push_back({.name = "", .kind = kind, .extents = extents});
    return static_cast<TensorId>(program_.tensors.size()) - 1;
  }
  TensorId activation(std::int64_t channels, std::int64_t height, std::int64_t width) {
    return add({kBatch, channels, height, width});
  }

  struct Pair {
    TensorId of, derivative;
  };
  /// The loss is the sum of `y` times its derivative, or derivatives if there are more.
  /// `inputs`: the derivatives that `backward` writes have to be those of that loss.
  void expect_derivatives(const Op& forward, const Op& backward, TensorId y,
                          const std::vector<TensorId>& dy, const std::vector<Pair>& inputs) {
    Reference reference(program_, {});
    std::mt19937 words(5);
    for (const TensorId id : accesses_of(forward).reads) fill(reference.tensor(id), words);
    std::vector<double> weight(reference.tensor(y).size());
    for (const TensorId id : dy) {
      fill(reference.tensor(id), words);
      for (std::size_t i = 0; i < weight.size(); ++i) weight[i] += reference.tensor(id)[i];
    }
    for (const Pair& input : inputs) {  // whatever was there is overwritten
      if (std::ranges::find(dy, input.derivative) == dy.end()) {
        fill(reference.tensor(input.derivative), words);
      }
    }
    reference.run(forward, Mode::kTraining, kBatch);
    reference.run(backward, Mode::kTraining, kBatch);
    const auto loss = [&] {
      reference.run(forward, Mode::kTraining, kBatch);
      return product(reference.tensor(y), weight);
    };
    for (const Pair& input : inputs) {
      const std::span<double> values = reference.tensor(input.of);
      const std::span<double> found = reference.tensor(input.derivative);
      ASSERT_EQ(values.size(), found.size());
      for (std::size_t i = 0; i < values.size(); ++i) {
        constexpr double kStep = 1e-6;
        const double before = values[i];
        values[i] = before + kStep;
        const double above = loss();
        values[i] = before - kStep;
        const double below = loss();
        values[i] = before;
        ASSERT_NEAR(found[i], (above - below) / (2 * kStep), 2e-7)
            << "value " << i << " of tensor " << input.of;
      }
    }
  }

  void expect_conv_derivatives(const Window& window, std::int64_t height, std::int64_t width) {
    program_ = {};
    const TensorId x = activation(3, height, width), dx = activation(3, height, width);
    const Extents of_weight{2, 3, window.height, window.width};
    const TensorId w = add(of_weight, TensorKind::kParameter);
    const TensorId dw = add(of_weight, TensorKind::kGradient);
    const std::int64_t p = window.out_height(height), q = window.out_width(width);
    const TensorId y = activation(2, p, q), dy = activation(2, p, q);
    const Conv conv{.x = x, .weight = w, .y = y, .window = window};
    expect_derivatives(conv, ConvBackwardData{.dy = dy, .weight = w, .dx = dx, .window = window}, y,
                       {dy}, {{x, dx}});
    expect_derivatives(conv, ConvBackwardWeights{.x = x, .dy = dy, .dweight = dw, .window = window},
                       y, {dy}, {{w, dw}});
  }

  /// A batch norm and its backward pass with or without each of its extras.
  struct Extras {
    bool relu = false, residual = false, other = false, in_place = false;
  };
  void expect_batch_norm_derivatives(const Extras& with) {
    program_ = {};
    constexpr std::int64_t kChannels = 2;
    const auto image = [&] { return activation(kChannels, 3, 2); };
    const auto channel = [&](TensorKind kind) { return add({kChannels, 1, 1, 1}, kind); };
    const BatchNorm forward{.x = image(),
                            .scale = channel(TensorKind::kParameter),
                            .bias = channel(TensorKind::kParameter),
                            .running_mean = channel(TensorKind::kStatistic),
                            .running_variance = channel(TensorKind::kStatistic),
                            .residual = with.residual ? image() : kNone,
                            .y = image(),
                            .mean = channel(TensorKind::kChannel),
                            .inv_deviation = channel(TensorKind::kChannel),
                            .relu = with.relu};
    BatchNormBackward backward{.dy = image(),
                               .dy_other = with.other ? image() : kNone,
                               .y = with.relu ? forward.y : kNone,
                               .x = forward.x,
                               .scale = forward.scale,
                               .mean = forward.mean,
                               .inv_deviation = forward.inv_deviation,
                               .dx = kNone,
                               .dresidual = kNone,
                               .dscale = channel(TensorKind::kGradient),
                               .dbias = channel(TensorKind::kGradient)};
    backward.dx = with.in_place && !with.residual ? backward.dy : image();
    if (with.residual) backward.dresidual = with.in_place ? backward.dy : image();
    std::vector<TensorId> dy = {backward.dy};
    if (with.other) dy.push_back(backward.dy_other);
    std::vector<Pair> inputs = {
        {forward.x, backward.dx}, {forward.scale, backward.dscale}, {forward.bias, backward.dbias}};
    if (with.residual) inputs.push_back({forward.residual, backward.dresidual});
    expect_derivatives(forward, backward, forward.y, dy, inputs);
  }

  static constexpr std::int64_t kBatch = 2;
  Program program_;
};

TEST_F(OperationTest, ConvolutionsHaveTheDerivativesOfTheirLoss) {
  expect_conv_derivatives({}, 3, 4);
  expect_conv_derivatives({.stride = 2}, 5, 4);
  expect_conv_derivatives({.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1},
                          4, 5);
  expect_conv_derivatives({.height = 3, .width = 3, .stride = 2, .bottom = 1, .right = 1}, 6, 4);
  expect_conv_derivatives(
      {.height = 3, .width = 2, .stride = 2, .top = 2, .left = 0, .bottom = 0, .right = 1}, 5, 4);
  expect_conv_derivatives(
      {.height = 7, .width = 7, .stride = 2, .top = 3, .left = 3, .bottom = 3, .right = 3}, 6, 7);
}

TEST_F(OperationTest, AConvolutionIsTheSumOfProductsThatItsWindowSees) {
  const Window window{.height = 2, .width = 2, .stride = 2, .bottom = 1, .right = 1};
  const TensorId x = add({1, 1, 3, 3}), y = add({1, 1, 2, 2});
  const TensorId w = add({1, 1, 2, 2}, TensorKind::kParameter);
  Reference reference(program_, {});
  std::ranges::copy(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9}, reference.tensor(x).begin());
  std::ranges::copy(std::vector<double>{1, 10, 100, 1000}, reference.tensor(w).begin());
  reference.run(Conv{.x = x, .weight = w, .y = y, .window = window}, Mode::kTraining, 1);
  EXPECT_THAT(reference.tensor(y), ElementsAre(1 + 20 + 400 + 5000, 3 + 600, 7 + 80, 9));
}

TEST_F(OperationTest, BatchNormHasTheDerivativesOfItsLossWithAllItsExtras) {
  for (int extras = 0; extras < 16; ++extras) {
    SCOPED_TRACE(extras);
    expect_batch_norm_derivatives({.relu = (extras & 1) != 0,
                                   .residual = (extras & 2) != 0,
                                   .other = (extras & 4) != 0,
                                   .in_place = (extras & 8) != 0});
  }
}

TEST_F(OperationTest, ReluAndAddHaveTheDerivativesOfTheirLoss) {
  const TensorId x = activation(3, 2, 2), y = activation(3, 2, 2);
  const TensorId dy = activation(3, 2, 2), dx = activation(3, 2, 2);
  expect_derivatives(Relu{.x = x, .y = y}, ReluBackward{.dy = dy, .y = y, .dx = dx}, y, {dy},
                     {{x, dx}});
  expect_derivatives(Relu{.x = x, .y = y}, ReluBackward{.dy = dy, .y = y, .dx = dy}, y, {dy},
                     {{x, dy}});
  // What a sum gets goes to both, so its backward pass is no operation; here, a copy by addition.
  const TensorId other = activation(3, 2, 2), zero = activation(3, 2, 2);
  Reference reference(program_, {});
  std::mt19937 words(1);
  fill(reference.tensor(x), words);
  fill(reference.tensor(other), words);
  reference.run(Add{.a = x, .b = other, .y = y}, Mode::kTraining, kBatch);
  for (std::size_t i = 0; i < reference.tensor(y).size(); ++i) {
    EXPECT_EQ(reference.tensor(y)[i], reference.tensor(x)[i] + reference.tensor(other)[i]);
  }
  reference.run(Accumulate{.from = x, .into = zero}, Mode::kTraining, kBatch);
  reference.run(Accumulate{.from = other, .into = zero}, Mode::kTraining, kBatch);
  EXPECT_THAT(reference.tensor(zero), Pointwise(testing::Eq(), reference.tensor(y)));
}

TEST_F(OperationTest, PoolsHaveTheDerivativesOfTheirLoss) {
  for (const Window& window :
       {Window{.height = 3, .width = 3, .stride = 2, .bottom = 1, .right = 1},
        Window{.height = 3, .width = 3, .stride = 2, .top = 1, .left = 1, .bottom = 1, .right = 1},
        Window{.height = 2, .width = 3, .stride = 1}}) {
    program_ = {};
    const TensorId x = activation(2, 6, 6), dx = activation(2, 6, 6);
    const std::int64_t p = window.out_height(6), q = window.out_width(6);
    const TensorId y = activation(2, p, q), dy = activation(2, p, q);
    const TensorId index = add({kBatch, 2, p, q}, TensorKind::kIndex);
    expect_derivatives(MaxPool{.x = x, .y = y, .index = index, .window = window},
                       MaxPoolBackward{.dy = dy, .index = index, .dx = dx, .window = window}, y,
                       {dy}, {{x, dx}});
  }
  program_ = {};
  const TensorId x = activation(2, 3, 4), dx = activation(2, 3, 4);
  const TensorId y = activation(2, 1, 1), dy = activation(2, 1, 1);
  expect_derivatives(AveragePool{.x = x, .y = y}, AveragePoolBackward{.dy = dy, .dx = dx}, y, {dy},
                     {{x, dx}});
}

TEST_F(OperationTest, PaddingTakesNoPartInAMaximumAndOfEqualValuesTheFirstCounts) {
  const Window window{
      .height = 3, .width = 3, .stride = 2, .top = 1, .left = 1, .bottom = 1, .right = 1};
  const TensorId x = add({1, 1, 3, 3}), y = add({1, 1, 2, 2}), dx = add({1, 1, 3, 3});
  const TensorId index = add({1, 1, 2, 2}, TensorKind::kIndex), dy = add({1, 1, 2, 2});
  Reference reference(program_, {});
  std::ranges::copy(std::vector<double>{-5, -2, -2, -7, -2, -9, -8, -6, -4},
                    reference.tensor(x).begin());
  std::ranges::copy(std::vector<double>{1, 10, 100, 1000}, reference.tensor(dy).begin());
  reference.run(MaxPool{.x = x, .y = y, .index = index, .window = window}, Mode::kTraining, 1);
  EXPECT_THAT(reference.tensor(y), ElementsAre(-2, -2, -2, -2)) << "0 would be the padding";
  reference.run(MaxPoolBackward{.dy = dy, .index = index, .dx = dx, .window = window},
                Mode::kTraining, 1);
  EXPECT_THAT(reference.tensor(dx), ElementsAre(0, 11, 0, 0, 1100, 0, 0, 0, 0));
}

TEST_F(OperationTest, DenseHasTheDerivativesOfItsLoss) {
  const TensorId x = activation(4, 1, 1), dx = activation(4, 1, 1);
  const TensorId w = add({3, 4, 1, 1}, TensorKind::kParameter);
  const TensorId dw = add({3, 4, 1, 1}, TensorKind::kGradient);
  const TensorId b = add({3, 1, 1, 1}, TensorKind::kParameter);
  const TensorId db = add({3, 1, 1, 1}, TensorKind::kGradient);
  const TensorId y = activation(3, 1, 1), dy = activation(3, 1, 1);
  expect_derivatives(
      Dense{.x = x, .weight = w, .bias = b, .y = y},
      DenseBackward{.dy = dy, .x = x, .weight = w, .dx = dx, .dweight = dw, .dbias = db}, y, {dy},
      {{x, dx}, {w, dw}, {b, db}});
}

TEST_F(OperationTest, RunningStatisticsMoveATenthOfTheWayToTheBatchsUnbiasedOnes) {
  const TensorId x = add({2, 1, 1, 2}), y = add({2, 1, 1, 2});
  const auto channel = [&](TensorKind kind) { return add({1, 1, 1, 1}, kind); };
  const BatchNorm norm{.x = x,
                       .scale = channel(TensorKind::kParameter),
                       .bias = channel(TensorKind::kParameter),
                       .running_mean = channel(TensorKind::kStatistic),
                       .running_variance = channel(TensorKind::kStatistic),
                       .residual = kNone,
                       .y = y,
                       .mean = channel(TensorKind::kChannel),
                       .inv_deviation = channel(TensorKind::kChannel),
                       .relu = false};
  Reference reference(program_, {});
  std::ranges::copy(std::vector<double>{1, 2, 3, 6}, reference.tensor(x).begin());
  reference.tensor(norm.scale)[0] = 2;
  reference.tensor(norm.bias)[0] = 0.5;
  reference.tensor(norm.running_mean)[0] = 10;
  reference.tensor(norm.running_variance)[0] = 20;
  reference.run(norm, Mode::kTraining, 2);
  // Mean 3; squared deviations 4 + 1 + 0 + 9 = 14; variance 14 / 4 for y and 14 / 3 to remember.
  EXPECT_DOUBLE_EQ(reference.tensor(norm.running_mean)[0], 0.9 * 10 + 0.1 * 3);
  EXPECT_DOUBLE_EQ(reference.tensor(norm.running_variance)[0], 0.9 * 20 + 0.1 * 14 / 3);
  EXPECT_DOUBLE_EQ(reference.tensor(norm.mean)[0], 3);
  EXPECT_DOUBLE_EQ(reference.tensor(y)[3], 2 * 3 / std::sqrt(3.5 + 1e-5) + 0.5);

  reference.tensor(norm.running_mean)[0] = 1;
  reference.tensor(norm.running_variance)[0] = 4;
  reference.run(norm, Mode::kEvaluation, 1);
  EXPECT_DOUBLE_EQ(reference.tensor(y)[1], 2 * 1 / std::sqrt(4 + 1e-5) + 0.5);
  EXPECT_EQ(reference.tensor(norm.running_mean)[0], 1) << "evaluation moves nothing";
  EXPECT_EQ(reference.tensor(norm.running_variance)[0], 4) << "evaluation moves nothing";
}

TEST(SoftmaxLossTest, IsTheLogarithmOfTheClassesWhereAllAreAlike) {
  StepSums sums;
  std::vector<double> derivatives(4);
  softmax_loss(std::vector<double>{7, 7, 7, 7}, 2, 0, 0.5, derivatives, sums);
  EXPECT_NEAR(sums.loss, std::log(4.0), 1e-15);
  EXPECT_THAT(derivatives, Pointwise(DoubleNear(1e-15), {0.125, 0.125, -0.375, 0.125}));
  EXPECT_EQ(sums.samples, 1);
}

TEST(SoftmaxLossTest, OfEqualLogitsTheFirstClassIsTheAnswer) {
  const std::vector<double> logits = {3, 9, 9, 5, 4, 9, 2};
  const auto places = [&](std::int32_t label) {
    StepSums sums;
    softmax_loss(logits, label, 0, 1, {}, sums);
    return std::pair(sums.correct, sums.correct_top5);
  };
  using Places = std::pair<std::int64_t, std::int64_t>;
  EXPECT_EQ(places(1), Places(1, 1));
  EXPECT_EQ(places(2), Places(0, 1));
  EXPECT_EQ(places(4), Places(0, 1)) << "the fifth";
  EXPECT_EQ(places(0), Places(0, 0)) << "the sixth";
}

TEST(SoftmaxLossTest, LargeLogitsDoNotOverflow) {
  StepSums sums;
  std::vector<double> derivatives(2);
  softmax_loss(std::vector<double>{2000, -2000}, 1, 0, 1, derivatives, sums);
  EXPECT_DOUBLE_EQ(sums.loss, 4000);
  EXPECT_THAT(derivatives, ElementsAre(1, -1));
}

TEST(SoftmaxLossTest, HasTheDerivativesOfItsLossWithAndWithoutSmoothing) {
  std::mt19937 words(3);
  for (const double smoothing : {0.0, 0.1, 1.0}) {
    std::vector<double> logits(5), derivatives(5);
    fill(logits, words);
    const auto loss = [&] {
      StepSums sums;
      softmax_loss(logits, 3, smoothing, 1, {}, sums);
      return sums.loss;
    };
    StepSums sums;
    softmax_loss(logits, 3, smoothing, 0.25, derivatives, sums);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double before = logits[i];
      logits[i] = before + 1e-6;
      const double above = loss();
      logits[i] = before - 1e-6;
      const double below = loss();
      logits[i] = before;
      EXPECT_NEAR(derivatives[i], 0.25 * (above - below) / 2e-6, 1e-9) << i << " of " << smoothing;
    }
  }
}

TEST(SoftmaxLossTest, SmoothingIsTheMeanOfTheLossesOverAllLabels) {
  const std::vector<double> logits = {0.5, -1, 2};
  const auto loss = [&](std::int32_t label, double smoothing) {
    StepSums sums;
    softmax_loss(logits, label, smoothing, 1, {}, sums);
    return sums.loss;
  };
  const double mean = (loss(0, 0) + loss(1, 0) + loss(2, 0)) / 3;
  EXPECT_NEAR(loss(1, 0.3), 0.7 * loss(1, 0) + 0.3 * mean, 1e-14);
}

/// CIFAR's network of 20 layers on images of 8 by 8 pixels.
class WholeNetTest : public testing::Test {
 protected:
  static constexpr std::int64_t kBatch = 3;

  static Program program(Fusion fusion, Padding padding = Padding::kSame) {
    return build_resnet({.depth = 20,
                         .batch_size = kBatch,
                         .height = 8,
                         .width = 8,
                         .classes = 6,
                         .padding = padding,
                         .fusion = fusion,
                         .label_smoothing = 0.1f});
  }
  static constexpr Normalisation kNormalisation{{120, 110, 100}, {1 / 60.f, 1 / 50.f, 1 / 40.f}};

  WholeNetTest() : images_(static_cast<std::size_t>(kBatch) * 8 * 8 * 3) {
    std::mt19937 words(11);
    for (std::uint8_t& pixel : images_) pixel = static_cast<std::uint8_t>(words());
  }

  [[nodiscard]] StepInput input() const { return {images_, labels_, 5}; }

  /// Equal for equal names, whatever the program.
  static void set_parameters(const Program& program, Reference& reference) {
    std::mt19937 words(12);
    for (const TensorId id : program.all(TensorKind::kParameter)) {
      const Tensor& tensor = program.tensor(id);
      const auto fan_in = static_cast<double>(values_of(tensor.extents) /
                                              static_cast<std::size_t>(tensor.extents[0]));
      for (double& value : reference.tensor(id)) {
        value = made_up(words);
        if (tensor.is_kernel) {
          value *= std::sqrt(3 / fan_in);
        } else {
          value = tensor.name.ends_with(".weight") ? 1 + 0.3 * value : 0.2 * value;
        }
      }
    }
  }

  std::vector<std::uint8_t> images_;
  std::vector<std::int32_t> labels_ = {5, 0, 2};
};

TEST_F(WholeNetTest, GradientsOfEveryParameterAreThoseOfTheLoss) {
  const Program net = program(Fusion::kBatchNorm);
  Reference reference(net, kNormalisation);
  set_parameters(net, reference);
  StepSums sums;
  reference.train(input(), sums);
  std::map<TensorId, std::vector<double>> gradients;
  for (const TensorId id : net.all(TensorKind::kGradient)) {
    gradients[id] = {reference.tensor(id).begin(), reference.tensor(id).end()};
  }

  /// Activations before operation `first`, which reads the parameter, stay as they are.
  const auto loss = [&](std::size_t first) {
    const std::size_t end = net.forward_ops - 1;
    for (std::size_t i = first; i < end; ++i) {
      reference.run(net.ops[i], Mode::kTraining, kBatch);
    }
    const TensorId logits = std::get<SoftmaxLoss>(net.ops[end]).logits;
    StepSums found;
    for (std::size_t n = 0; n < labels_.size(); ++n) {
      softmax_loss(reference.tensor(logits).subspan(n * 6, 6), labels_[n],
                   static_cast<double>(net.label_smoothing), 1, {}, found);
    }
    return found.loss / 5;
  };
  std::mt19937 words(13);
  for (std::size_t op = net.forward_ops; op-- > 0;) {  // the next one computes all behind it anew
    for (const TensorId id : accesses_of(net.ops[op]).reads) {
      if (net.tensor(id).kind != TensorKind::kParameter) continue;
      const std::span<double> values = reference.tensor(id);
      const std::size_t i = words() % values.size();
      const double before = values[i];
      constexpr double kStep = 1e-6;
      values[i] = before + kStep;
      const double above = loss(op);
      values[i] = before - kStep;
      const double below = loss(op);
      values[i] = before;
      EXPECT_NEAR(gradients.at(net.tensor(id).gradient)[i], (above - below) / (2 * kStep), 1e-7)
          << net.tensor(id).name << ", value " << i;
    }
  }
}

TEST_F(WholeNetTest, FusedAndSeparateOperationsComputeTheSame) {
  for (const Padding padding : {Padding::kSame, Padding::kSymmetric}) {
    const Program fused = program(Fusion::kBatchNorm, padding);
    const Program separate = program(Fusion::kSeparate, padding);
    Reference one(fused, kNormalisation), other(separate, kNormalisation);
    set_parameters(fused, one);
    set_parameters(separate, other);
    StepSums of_one, of_other;
    one.train(input(), of_one);
    other.train(input(), of_other);
    EXPECT_NEAR(of_one.loss, of_other.loss, 1e-12);
    for (const TensorKind kind : {TensorKind::kGradient, TensorKind::kStatistic}) {
      const auto ids = fused.all(kind), others = separate.all(kind);
      ASSERT_EQ(ids.size(), others.size());
      for (std::size_t i = 0; i < ids.size(); ++i) {
        ASSERT_EQ(fused.tensor(ids[i]).name, separate.tensor(others[i]).name);
        EXPECT_THAT(one.tensor(ids[i]), Pointwise(DoubleNear(1e-12), other.tensor(others[i])))
            << fused.tensor(ids[i]).name;
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(WholeNetTest, EvaluationUsesTheRunningStatisticsAndMovesNothing) {
  const Program net = program(Fusion::kBatchNorm);
  Reference reference(net, kNormalisation);
  set_parameters(net, reference);
  for (const TensorId id : net.all(TensorKind::kStatistic)) {
    std::ranges::fill(reference.tensor(id), net.tensor(id).name.ends_with("_var") ? 2.0 : 0.25);
  }
  StepSums first, second;
  reference.evaluate(input(), first);
  for (const TensorId id : net.all(TensorKind::kStatistic)) {
    const double expected = net.tensor(id).name.ends_with("_var") ? 2.0 : 0.25;
    for (const double value : reference.tensor(id)) ASSERT_EQ(value, expected);
  }
  // One sample alone has the loss that it has in a batch.
  const auto size = static_cast<std::size_t>(8 * 8 * 3);
  for (std::size_t n = 0; n < labels_.size(); ++n) {
    StepSums alone;
    reference.evaluate(
        {std::span(images_).subspan(n * size, size), std::span(labels_).subspan(n, 1), 1}, alone);
    second += alone;
  }
  EXPECT_NEAR(first.loss, second.loss, 1e-12);
  EXPECT_EQ(first.samples, 3);
}

TEST_F(WholeNetTest, PixelsAreNormalisedByChannel) {
  const Program net = program(Fusion::kBatchNorm);
  Reference reference(net, kNormalisation);
  set_parameters(net, reference);
  StepSums sums;
  reference.train(input(), sums);
  const std::span<double> x = reference.tensor(std::get<Ingest>(net.ops[0]).y);
  const auto pixel = [&](std::size_t n, std::size_t c, std::size_t at) {
    return static_cast<float>(images_[(n * 64 + at) * 3 + c]);
  };
  EXPECT_EQ(x[0], static_cast<double>((pixel(0, 0, 0) - 120) * (1 / 60.f)));
  EXPECT_EQ(x[(1 * 3 + 2) * 64 + 17], static_cast<double>((pixel(1, 2, 17) - 100) * (1 / 40.f)));
}

}  // namespace
}  // namespace slackline::net
