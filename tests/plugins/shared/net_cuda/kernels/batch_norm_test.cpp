// Batch norm's kernels, run on the CPU, against the float64 reference.

#include "bodies/batch_norm.h"

#include <slackline/error.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "bodies/batch_norm_backward.h"
#include "operation_case.h"

namespace slackline::net::cuda {
namespace {

struct Shape {
  std::int64_t images, channels, height, width;
};

/// One value a row, chunks of fewer rows than lanes, a last chunk that is shorter, strips that end
/// in the middle, and the sizes that networks have.
constexpr Shape kShapes[] = {{1, 8, 1, 1},    {3, 8, 7, 5},   {2, 16, 33, 9}, {5, 24, 3, 7},
                             {1, 64, 661, 1}, {1, 320, 3, 5}, {3, 2048, 1, 1}};

template <class T>
class Norm {
 public:
  explicit Norm(const Shape& shape, double middle = 0.3, double reach = 1) : shape_(shape) {
    const Extents e{shape.images, shape.channels, shape.height, shape.width};
    for (TensorId* id : {&x, &residual, &y, &dy, &dy_other, &dx, &dresidual}) {
      *id = of.activation(e);
    }
    for (TensorId* id : {&scale, &bias, &running_mean, &running_variance, &mean, &inv_deviation,
                         &dscale, &dbias}) {
      *id = of.channel(shape.channels);
    }
    for (const TensorId id : {residual, y, dy, dy_other}) of.fill(id, 0.1, 1);
    of.fill(x, middle, reach);
    for (const TensorId id : {scale, bias, running_mean, running_variance}) of.fill(id, 0.6, 0.5);
    scratch = poisoned<float>(bodies::Scratch::bytes(shape.channels) / sizeof(float));
  }

  [[nodiscard]] Rows rows() const {
    return {shape_.images * shape_.height * shape_.width, shape_.channels};
  }
  [[nodiscard]] std::string name() const {
    return text(shape_.images, " x ", shape_.channels, " x ", shape_.height, " x ", shape_.width);
  }
  [[nodiscard]] std::size_t channels() const { return static_cast<std::size_t>(shape_.channels); }
  [[nodiscard]] std::size_t size() const {
    return static_cast<std::size_t>(rows().rows * rows().channels);
  }

  OperationCase<T> of;
  TensorId x, residual, y, dy, dy_other, dx, dresidual;
  TensorId scale, bias, running_mean, running_variance, mean, inv_deviation, dscale, dbias;
  std::vector<float> scratch;

 private:
  Shape shape_;
};

/// What the forward pass reads and writes.
template <class T>
struct Forward {
  Forward(Norm<T>& norm, bool with_residual, bool relu)
      : x(norm.of.values(norm.x)),
        residual(norm.of.values(norm.residual)),
        y(poisoned<T>(norm.size())),
        scale(norm.of.floats(norm.scale)),
        bias(norm.of.floats(norm.bias)),
        running_mean(norm.of.floats(norm.running_mean)),
        running_variance(norm.of.floats(norm.running_variance)),
        mean(poisoned<float>(norm.channels())),
        inv_deviation(poisoned<float>(norm.channels())) {
    args = {.size = norm.rows(),
            .x = x.data(),
            .residual = with_residual ? residual.data() : nullptr,
            .relu = relu,
            .scale = scale.data(),
            .bias = bias.data(),
            .running_mean = running_mean.data(),
            .running_variance = running_variance.data(),
            .epsilon = norm.of.program().epsilon,
            .keep = norm.of.program().keep,
            .y = y.data(),
            .mean = mean.data(),
            .inv_deviation = inv_deviation.data(),
            .scratch = norm.scratch.data()};
    op = {.x = norm.x,
          .scale = norm.scale,
          .bias = norm.bias,
          .running_mean = norm.running_mean,
          .running_variance = norm.running_variance,
          .residual = with_residual ? norm.residual : kNone,
          .y = norm.y,
          .mean = norm.mean,
          .inv_deviation = norm.inv_deviation,
          .relu = relu};
  }

  void expect(Norm<T>& norm) {
    norm.of.expect(y, norm.y, "y");
    norm.of.expect_floats(mean, norm.mean, "mean");
    norm.of.expect_floats(inv_deviation, norm.inv_deviation, "inv_deviation");
    norm.of.expect_floats(running_mean, norm.running_mean, "running_mean");
    norm.of.expect_floats(running_variance, norm.running_variance, "running_variance");
  }

  std::vector<T> x, residual, y;
  std::vector<float> scale, bias, running_mean, running_variance, mean, inv_deviation;
  BatchNormArgs args;
  BatchNorm op;
};

enum class InPlace { kNo, kDx, kDresidual };

/// What the backward pass reads and writes.
template <class T>
struct Backward {
  Backward(Norm<T>& norm, bool with_other, bool relu, bool with_residual,
           InPlace in_place = InPlace::kNo)
      : dy(norm.of.values(norm.dy)),
        dy_other(norm.of.values(norm.dy_other)),
        y(norm.of.values(norm.y)),
        x(norm.of.values(norm.x)),
        dx(poisoned<T>(norm.size())),
        dresidual(poisoned<T>(norm.size())),
        scale(norm.of.floats(norm.scale)),
        mean(norm.of.floats(norm.mean)),
        inv_deviation(norm.of.floats(norm.inv_deviation)),
        dscale(poisoned<float>(norm.channels())),
        dbias(poisoned<float>(norm.channels())),
        has_residual(with_residual),
        where(in_place) {
    args = {.size = norm.rows(),
            .dy = dy.data(),
            .dy_other = with_other ? dy_other.data() : nullptr,
            .y = relu ? y.data() : nullptr,
            .x = x.data(),
            .scale = scale.data(),
            .mean = mean.data(),
            .inv_deviation = inv_deviation.data(),
            .dx = in_place == InPlace::kDx ? dy.data() : dx.data(),
            .dresidual = with_residual ? dresidual.data() : nullptr,
            .dscale = dscale.data(),
            .dbias = dbias.data(),
            .scratch = norm.scratch.data()};
    if (in_place == InPlace::kDresidual) args.dresidual = dy.data();
    op = {.dy = norm.dy,
          .dy_other = with_other ? norm.dy_other : kNone,
          .y = relu ? norm.y : kNone,
          .x = norm.x,
          .scale = norm.scale,
          .mean = norm.mean,
          .inv_deviation = norm.inv_deviation,
          .dx = norm.dx,
          .dresidual = with_residual ? norm.dresidual : kNone,
          .dscale = norm.dscale,
          .dbias = norm.dbias};
  }

  /// dz is rounded where it is stored, and so are the sums that are made of it.
  void expect(Norm<T>& norm) {
    const double sums = has_residual && !std::is_same_v<T, float> ? kBound<T> : 2e-6;
    norm.of.expect(where == InPlace::kDx ? dy : dx, norm.dx, "dx");
    norm.of.expect_floats(dscale, norm.dscale, "dscale", sums);
    norm.of.expect_floats(dbias, norm.dbias, "dbias", sums);
    if (has_residual) {
      norm.of.expect(where == InPlace::kDresidual ? dy : dresidual, norm.dresidual, "dresidual");
    }
  }

  std::vector<T> dy, dy_other, y, x, dx, dresidual;
  std::vector<float> scale, mean, inv_deviation, dscale, dbias;
  bool has_residual;
  InPlace where;
  BatchNormBackwardArgs args;
  BatchNormBackward op;
};

template <class T>
class BatchNormKernelsTest : public testing::Test {
 protected:
  static void expect_training(const Shape& shape, bool with_residual, bool relu) {
    Norm<T> norm(shape);
    SCOPED_TRACE(text(norm.name(), with_residual ? ", residual" : "", relu ? ", relu" : ""));
    Forward<T> forward(norm, with_residual, relu);
    bodies::batch_norm_training<T>(EmulatedLaunch(3), forward.args);
    norm.of.reference().run(forward.op, Mode::kTraining, shape.images);
    forward.expect(norm);
  }

  static void expect_backward(const Shape& shape, bool with_other, bool relu, bool with_residual,
                              InPlace in_place = InPlace::kNo) {
    Norm<T> norm(shape);
    SCOPED_TRACE(text(norm.name(), with_other ? ", other" : "", relu ? ", relu" : "",
                      with_residual ? ", residual" : ""));
    Forward<T> forward(norm, false, false);
    bodies::batch_norm_training<T>(EmulatedLaunch(3), forward.args);
    const auto as_double = [&](const std::vector<float>& from, TensorId to) {
      std::ranges::copy(from, norm.of.reference().tensor(to).begin());
    };
    as_double(forward.mean, norm.mean);
    as_double(forward.inv_deviation, norm.inv_deviation);
    Backward<T> backward(norm, with_other, relu, with_residual, in_place);
    bodies::batch_norm_backward<T>(EmulatedLaunch(4), backward.args);
    norm.of.reference().run(backward.op, Mode::kTraining, shape.images);
    backward.expect(norm);
  }
};
TYPED_TEST_SUITE(BatchNormKernelsTest, Types);

TYPED_TEST(BatchNormKernelsTest, TrainingIsTheReferencesForAllShapes) {
  for (const Shape& shape : kShapes) TestFixture::expect_training(shape, true, true);
}

TYPED_TEST(BatchNormKernelsTest, ResidualAndReluMayBeMissing) {
  constexpr Shape kShape{3, 16, 5, 7};
  TestFixture::expect_training(kShape, false, false);
  TestFixture::expect_training(kShape, true, false);
  TestFixture::expect_training(kShape, false, true);
}

TYPED_TEST(BatchNormKernelsTest, InferenceUsesTheRunningStatistics) {
  for (const Shape& shape : {Shape{3, 24, 5, 3}, Shape{2, 512, 1, 1}}) {
    Norm<TypeParam> norm(shape);
    Forward<TypeParam> forward(norm, true, true);
    bodies::batch_norm_inference<TypeParam>(EmulatedLaunch(3), forward.args);
    norm.of.reference().run(forward.op, Mode::kEvaluation, shape.images);
    forward.expect(norm);
  }
}

TYPED_TEST(BatchNormKernelsTest, BackwardIsTheReferencesForAllShapes) {
  for (const Shape& shape : kShapes) TestFixture::expect_backward(shape, true, true, true);
  for (const Shape& shape : kShapes) TestFixture::expect_backward(shape, false, true, false);
}

TYPED_TEST(BatchNormKernelsTest, EveryFormOfBackwardIsTheReferences) {
  constexpr Shape kShape{3, 24, 5, 7};
  for (int form = 0; form < 8; ++form) {
    TestFixture::expect_backward(kShape, (form & 1) != 0, (form & 2) != 0, (form & 4) != 0);
  }
}

TYPED_TEST(BatchNormKernelsTest, DxMayBeDyAndDresidualMayBeDy) {
  constexpr Shape kShape{3, 24, 5, 17};
  TestFixture::expect_backward(kShape, true, true, false, InPlace::kDx);
  TestFixture::expect_backward(kShape, false, false, false, InPlace::kDx);
  TestFixture::expect_backward(kShape, true, true, true, InPlace::kDresidual);
}

/// float16 holds 100 with steps of 1/16, and bfloat16 with steps of 1/2: what it is rounded to is
/// what has to be normalised.
TYPED_TEST(BatchNormKernelsTest, NoDigitsAreLostWhereTheMeanIsLarge) {
  constexpr bool kIsFloat = std::is_same_v<TypeParam, float>;
  for (const auto& [middle, reach] : {std::pair{100.0, 1.0}, {kIsFloat ? 1000.0 : -200.0, 0.05}}) {
    Norm<TypeParam> norm({6, 8, 31, 29}, middle, kIsFloat ? reach : 2);
    Forward<TypeParam> forward(norm, false, false);
    bodies::batch_norm_training<TypeParam>(EmulatedLaunch(3), forward.args);
    norm.of.reference().run(forward.op, Mode::kTraining, 6);
    // A float of 1000 has steps of 6e-5: the mean that is handed over is off by a half of it.
    norm.of.expect_floats(forward.mean, norm.mean, "mean", 1e-7);
    norm.of.expect_floats(forward.inv_deviation, norm.inv_deviation, "inv_deviation", 2e-6);
    norm.of.expect_floats(forward.running_variance, norm.running_variance, "running_variance");
    norm.of.expect(forward.y, norm.y, "y", -1, kIsFloat ? 1e-3 * std::abs(middle) / 1000 : 4e-3);
  }
}

/// What each thread measures from, its first value, may be an outlier.
TEST(BatchNormKernelsOfFloatsTest, OutliersInFrontDoNotDisturbTheVariance) {
  Norm<float> norm({4, 8, 31, 29});
  for (std::size_t i = 0; i < norm.of.reference().tensor(norm.x).size(); i += 31 * 29) {
    for (std::size_t k = 0; k < 30; ++k) norm.of.reference().tensor(norm.x)[i + k] = 1e4;
  }
  Forward<float> forward(norm, false, false);
  bodies::batch_norm_training<float>(EmulatedLaunch(3), forward.args);
  norm.of.reference().run(forward.op, Mode::kTraining, 4);
  norm.of.expect_floats(forward.inv_deviation, norm.inv_deviation, "inv_deviation", 2e-6);
  norm.of.expect(forward.y, norm.y, "y");
}

TYPED_TEST(BatchNormKernelsTest, AChannelOfOneValueHasTheDeviationOfEpsilon) {
  Norm<TypeParam> norm({2, 8, 9, 9}, 0.7, 0);
  Forward<TypeParam> forward(norm, false, false);
  bodies::batch_norm_training<TypeParam>(EmulatedLaunch(), forward.args);
  for (const float inv_deviation : forward.inv_deviation) {
    EXPECT_FLOAT_EQ(inv_deviation, static_cast<float>(1 / std::sqrt(1e-5)));
  }
  EXPECT_EQ(forward.mean.front(), bodies::to_float(forward.x.front()));
}

/// Nothing that is not finite may vanish: a dynamic loss scale looks for it.
TYPED_TEST(BatchNormKernelsTest, WhatIsNotANumberStaysThatInItsChannelAlone) {
  Norm<TypeParam> norm({2, 8, 5, 3});
  Forward<TypeParam> forward(norm, true, true);
  forward.x[8 * 7 + 3] = stored<TypeParam>(std::numeric_limits<double>::quiet_NaN());
  bodies::batch_norm_training<TypeParam>(EmulatedLaunch(3), forward.args);
  for (std::size_t i = 0; i < forward.y.size(); ++i) {
    EXPECT_EQ(std::isnan(value_of(forward.y[i])), i % 8 == 3) << i;
  }
  EXPECT_TRUE(std::isnan(forward.running_variance[3]));
}

TYPED_TEST(BatchNormKernelsTest, ThereAreTheSameBitsInAnyOrderOfBlocks) {
  for (const Shape& shape : {Shape{4, 16, 33, 9}, Shape{2, 520, 9, 2}}) {
    expect_the_same_in_any_order([&](const EmulatedLaunch& launch) {
      Norm<TypeParam> norm(shape);
      Forward<TypeParam> forward(norm, true, true);
      bodies::batch_norm_training<TypeParam>(launch, forward.args);
      Backward<TypeParam> backward(norm, true, true, true);
      backward.mean = forward.mean;
      backward.args.mean = backward.mean.data();
      bodies::batch_norm_backward<TypeParam>(launch, backward.args);
      std::string bytes;
      for (const auto* values : {&forward.y, &backward.dx, &backward.dresidual}) {
        append_bytes(bytes, *values);
      }
      for (const auto* values : {&forward.mean, &forward.inv_deviation, &forward.running_mean,
                                 &forward.running_variance, &backward.dscale, &backward.dbias}) {
        append_bytes(bytes, *values);
      }
      return bytes;
    });
  }
}

/// Every row and column is a thread's, once, and no chunk or strip is empty.
TEST(BatchNormTilingTest, CoversAnyMatrixAndFitsItsScratch) {
  for (const int width : {4, 8}) {
    for (std::int64_t channels = 8; channels <= 2600; channels += 8) {
      for (const std::int64_t rows : {1, 2, 63, 64, 65, 1000, 12544, 802816, 3211264}) {
        const bodies::Tiling tiling({rows, channels}, width);
        ASSERT_GE(tiling.columns * tiling.strips, tiling.vectors);
        ASSERT_LT(tiling.columns * (tiling.strips - 1), tiling.vectors);
        ASSERT_GE(tiling.lanes, 8);
        ASSERT_LE(tiling.lanes * tiling.columns, bodies::Tiling::kThreads);
        ASSERT_GE(tiling.rows_of_chunk * tiling.chunks, rows);
        ASSERT_GT(tiling.rows_of(tiling.chunks - 1), 0);
        ASSERT_LE(static_cast<std::size_t>((2 * tiling.chunks + 3) * channels) * sizeof(float),
                  bodies::Scratch::bytes(channels));
      }
    }
  }
}

TEST(BatchNormTilingTest, LargeLayersHaveBlocksForTheWholeGpu) {
  struct Layer {
    std::int64_t rows, channels;
  };
  for (const Layer& layer :
       {Layer{256 * 112 * 112, 64}, Layer{256 * 56 * 56, 64}, Layer{256 * 56 * 56, 256},
        Layer{256 * 28 * 28, 128}, Layer{256 * 14 * 14, 1024}, Layer{256 * 7 * 7, 2048}}) {
    const bodies::Tiling tiling({layer.rows, layer.channels}, 8);
    EXPECT_GE(tiling.strips * tiling.chunks, 4 * 132) << layer.rows << " x " << layer.channels;
    EXPECT_LE(tiling.strips * tiling.chunks, 8 * 132) << layer.rows << " x " << layer.channels;
  }
}

}  // namespace
}  // namespace slackline::net::cuda
