// Batch norm's kernels against plain loops in double.

#include "net_cpu/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "openmp.h"

namespace slackline::net::cpu {
namespace {

constexpr double kEpsilon = 1e-5, kKeep = 0.9;

Planes blocked(std::size_t images, std::size_t blocks, std::size_t pixels, std::size_t lanes) {
  return {images, blocks, pixels, lanes, blocks * pixels * lanes, pixels * lanes, lanes};
}

/// Channels of a pixel beside each other, as in NHWC.
Planes interleaved(std::size_t images, std::size_t blocks, std::size_t pixels, std::size_t lanes) {
  return {images, blocks, pixels, lanes, blocks * pixels * lanes, lanes, blocks * lanes};
}

float made_up(std::mt19937& words) { return static_cast<float>(words()) * 0x1p-31f - 1.0f; }

template <class T>
T stored(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return to_bf16(value);
  }
}

/// All that a batch norm reads and writes.
template <class T>
struct Norm {
  explicit Norm(const Planes& with, std::uint32_t seed = 1, float mean_of_x = 0.3f,
                float deviation_of_x = 1)
      : planes(with) {
    std::mt19937 words(seed);
    const auto fill = [&](std::vector<T>& values, float middle, float reach) {
      values.resize(planes.images * planes.image_stride);
      for (T& value : values) value = stored<T>(middle + reach * made_up(words));
    };
    fill(x, mean_of_x, deviation_of_x);
    for (std::vector<T>* values : {&residual, &y, &dy, &dy_other, &dx, &dresidual}) {
      fill(*values, 0.1f, 1);
    }
    for (std::vector<float>* values : {&scale, &bias, &running_mean, &running_variance, &mean,
                                       &inv_deviation, &dscale, &dbias}) {
      values->resize(planes.channels());
      for (float& value : *values) value = 0.5f + 0.4f * made_up(words);
    }
  }

  typename BatchNormKernels<T>::Forward forward(bool with_residual, bool relu) {
    return {.planes = planes,
            .x = x.data(),
            .residual = with_residual ? residual.data() : nullptr,
            .y = y.data(),
            .scale = scale.data(),
            .bias = bias.data(),
            .running_mean = running_mean.data(),
            .running_variance = running_variance.data(),
            .mean = mean.data(),
            .inv_deviation = inv_deviation.data(),
            .relu = relu,
            .epsilon = kEpsilon,
            .keep = kKeep};
  }
  typename BatchNormKernels<T>::Backward backward(bool with_other, bool relu, bool with_residual) {
    return {.planes = planes,
            .dy = dy.data(),
            .dy_other = with_other ? dy_other.data() : nullptr,
            .y = relu ? y.data() : nullptr,
            .x = x.data(),
            .scale = scale.data(),
            .mean = mean.data(),
            .inv_deviation = inv_deviation.data(),
            .dx = dx.data(),
            .dresidual = with_residual ? dresidual.data() : nullptr,
            .dscale = dscale.data(),
            .dbias = dbias.data()};
  }
  [[nodiscard]] BatchNormKernels<T> kernels(int threads = 2) const {
    return BatchNormKernels<T>(planes.images * planes.blocks, planes.channels(), threads);
  }

  /// f(place in x, channel) for every value.
  template <class Function>
  void for_each(Function f) const {
    for (std::size_t c = 0; c < planes.channels(); ++c) {
      for (std::size_t n = 0; n < planes.images; ++n) {
        for (std::size_t i = 0; i < planes.pixels; ++i) {
          f(planes.at(n, c / planes.lanes) + i * planes.pixel_stride + c % planes.lanes, c);
        }
      }
    }
  }
  [[nodiscard]] double count() const { return static_cast<double>(planes.images * planes.pixels); }

  [[nodiscard]] std::string name() const {
    return std::to_string(planes.lanes) + " lanes, " + std::to_string(planes.pixels) +
           " pixels, stride " + std::to_string(planes.pixel_stride);
  }

  /// The bytes of everything.
  [[nodiscard]] std::string bytes() const {
    std::string all;
    const auto add = [&](const auto& values) {
      all.append(reinterpret_cast<const char*>(values.data()),
                 values.size() * sizeof(values.front()));
    };
    for (const auto* values : {&y, &dx, &dresidual}) add(*values);
    for (const auto* values :
         {&running_mean, &running_variance, &mean, &inv_deviation, &dscale, &dbias}) {
      add(*values);
    }
    return all;
  }

  Planes planes;
  std::vector<T> x, residual, y, dy, dy_other, dx, dresidual;
  std::vector<float> scale, bias, running_mean, running_variance, mean, inv_deviation;
  std::vector<float> dscale, dbias;
};

/// What a result may be off by: half a step of the type, beside what float arithmetic costs.
template <class T>
double allowed(double value, double float_error) {
  return float_error + (std::is_same_v<T, float> ? 0 : 0x1p-8 * (std::abs(value) + 1e-3));
}

double value_of(float value) { return static_cast<double>(value); }
double value_of(Bf16 value) { return static_cast<double>(to_float(value)); }

struct Statistics {
  std::vector<double> mean, squares;
};
template <class T>
Statistics statistics_of(const Norm<T>& norm) {
  Statistics found{std::vector<double>(norm.planes.channels()),
                   std::vector<double>(norm.planes.channels())};
  norm.for_each([&](std::size_t i, std::size_t c) { found.mean[c] += value_of(norm.x[i]); });
  for (double& mean : found.mean) mean /= norm.count();
  norm.for_each([&](std::size_t i, std::size_t c) {
    found.squares[c] += std::pow(value_of(norm.x[i]) - found.mean[c], 2);
  });
  return found;
}

template <class T>
void expect_train_is_a_plain_loop(const Planes& planes, bool with_residual, bool relu) {
  Norm<T> norm(planes);
  SCOPED_TRACE(norm.name());
  const Norm<T> before = norm;
  BatchNormKernels<T> kernels = norm.kernels();
  kernels.train(norm.forward(with_residual, relu));
  const auto [mean, squares] = statistics_of(before);
  for (std::size_t c = 0; c < planes.channels(); ++c) {
    const double inv_deviation = 1 / std::sqrt(squares[c] / norm.count() + kEpsilon);
    const double unbiased = squares[c] / std::max(1.0, norm.count() - 1);
    ASSERT_NEAR(norm.mean[c], mean[c], 1e-6);
    ASSERT_NEAR(norm.inv_deviation[c], inv_deviation, 2e-6 * inv_deviation);
    ASSERT_NEAR(norm.running_mean[c], 0.9 * value_of(before.running_mean[c]) + 0.1 * mean[c], 1e-6);
    ASSERT_NEAR(norm.running_variance[c],
                0.9 * value_of(before.running_variance[c]) + 0.1 * unbiased, 1e-6);
  }
  norm.for_each([&](std::size_t i, std::size_t c) {
    const double inv_deviation = 1 / std::sqrt(squares[c] / norm.count() + kEpsilon);
    double y = (value_of(norm.x[i]) - mean[c]) * inv_deviation * value_of(norm.scale[c]) +
               value_of(norm.bias[c]);
    if (with_residual) y += value_of(norm.residual[i]);
    if (relu) y = std::max(y, 0.0);
    ASSERT_NEAR(value_of(norm.y[i]), y, allowed<T>(y, 1e-5)) << i;
  });
}

template <class T>
void expect_backward_is_a_plain_loop(const Planes& planes, bool with_other, bool relu,
                                     bool with_residual) {
  Norm<T> norm(planes);
  SCOPED_TRACE(norm.name());
  BatchNormKernels<T> kernels = norm.kernels();
  kernels.train(norm.forward(true, relu));
  kernels.backward(norm.backward(with_other, relu, with_residual));
  const std::size_t channels = planes.channels();
  std::vector<double> sum(channels), with_x(channels), dz(norm.x.size());
  const auto x_hat = [&](std::size_t i, std::size_t c) {
    return (value_of(norm.x[i]) - value_of(norm.mean[c])) * value_of(norm.inv_deviation[c]);
  };
  norm.for_each([&](std::size_t i, std::size_t c) {
    dz[i] = value_of(norm.dy[i]) + (with_other ? value_of(norm.dy_other[i]) : 0);
    if (relu && !(value_of(norm.y[i]) > 0)) dz[i] = 0;
    sum[c] += dz[i];
    with_x[c] += dz[i] * x_hat(i, c);
    if (with_residual) {
      ASSERT_NEAR(value_of(norm.dresidual[i]), dz[i], allowed<T>(dz[i], 1e-6));
    }
  });
  const double size = std::sqrt(norm.count());
  for (std::size_t c = 0; c < channels; ++c) {
    ASSERT_NEAR(norm.dbias[c], sum[c], 2e-6 * size);
    ASSERT_NEAR(norm.dscale[c], with_x[c], 5e-6 * size);
  }
  norm.for_each([&](std::size_t i, std::size_t c) {
    const double factor = value_of(norm.scale[c]) * value_of(norm.inv_deviation[c]);
    const double dx =
        factor * (dz[i] - sum[c] / norm.count() - x_hat(i, c) * with_x[c] / norm.count());
    // Where dz was stored, it was rounded before.
    const double rounding = allowed<T>(factor * dz[i], 0);
    ASSERT_NEAR(value_of(norm.dx[i]), dx, allowed<T>(dx, 1e-5 * factor) + rounding) << i;
  });
}

std::vector<Planes> all_planes() {
  std::vector<Planes> all;
  for (const std::size_t lanes : {1u, 8u, 16u}) {
    for (const std::size_t pixels : {1u, 3u, 49u, 127u, 129u, 300u}) {
      all.push_back(blocked(3, 2, pixels, lanes));
      all.push_back(interleaved(3, 5, pixels, lanes));
    }
  }
  return all;
}

TEST(BatchNormKernelsTest, TrainingIsAPlainLoop) {
  SLACKLINE_SKIP_OPENMP();
  for (const Planes& planes : all_planes()) {
    expect_train_is_a_plain_loop<float>(planes, false, false);
    expect_train_is_a_plain_loop<float>(planes, true, true);
    expect_train_is_a_plain_loop<Bf16>(planes, false, true);
    expect_train_is_a_plain_loop<Bf16>(planes, true, false);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(BatchNormKernelsTest, TheBackwardPassIsAPlainLoop) {
  SLACKLINE_SKIP_OPENMP();
  int extras = 0;
  for (const Planes& planes : all_planes()) {
    for (int i = 0; i < 3; ++i, ++extras) {  // 3 does not divide 8: all pairs come
      const bool other = (extras & 1) != 0, relu = (extras & 2) != 0, residual = (extras & 4) != 0;
      expect_backward_is_a_plain_loop<float>(planes, other, relu, residual);
      expect_backward_is_a_plain_loop<Bf16>(planes, other, relu, residual);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(BatchNormKernelsTest, EvaluationUsesTheRunningStatisticsAndMovesNone) {
  SLACKLINE_SKIP_OPENMP();
  for (const Planes& planes : {blocked(2, 3, 49, 8), interleaved(3, 1, 5, 16)}) {
    Norm<float> norm(planes);
    const Norm<float> before = norm;
    BatchNormKernels<float> kernels = norm.kernels();
    kernels.evaluate(norm.forward(true, true));
    EXPECT_EQ(norm.running_mean, before.running_mean);
    EXPECT_EQ(norm.running_variance, before.running_variance);
    EXPECT_EQ(norm.mean, before.running_mean);
    norm.for_each([&](std::size_t i, std::size_t c) {
      const double y = (value_of(norm.x[i]) - value_of(before.running_mean[c])) /
                           std::sqrt(value_of(before.running_variance[c]) + kEpsilon) *
                           value_of(norm.scale[c]) +
                       value_of(norm.bias[c]) + value_of(norm.residual[i]);
      ASSERT_NEAR(norm.y[i], std::max(y, 0.0), 1e-5) << i;
    });
  }
}

TEST(BatchNormKernelsTest, AnyNumberOfThreadsHasTheSameBits) {
  SLACKLINE_SKIP_OPENMP();
  // Few blocks for the threads, and many: the loops go round in another way.
  for (const Planes& planes : {blocked(3, 1, 129, 16), blocked(4, 5, 49, 8), blocked(2, 11, 3, 1),
                               interleaved(3, 4, 300, 16)}) {
    std::string expected;
    for (const int threads : {1, 2, 3}) {
      Norm<float> norm(planes);
      BatchNormKernels<float> kernels = norm.kernels(threads);
      kernels.train(norm.forward(true, true));
      kernels.backward(norm.backward(true, true, true));
      if (threads == 1) expected = norm.bytes();
      EXPECT_TRUE(norm.bytes() == expected) << norm.name() << ", " << threads << " threads";
    }
  }
}

TEST(BatchNormKernelsTest, ALargeMeanLeavesASmallDeviationAccurate) {
  SLACKLINE_SKIP_OPENMP();
  for (const Planes& planes : {blocked(4, 2, 300, 8), interleaved(4, 4, 129, 16)}) {
    Norm<float> norm(planes, 1, 1e4f, 0.5f);
    BatchNormKernels<float> kernels = norm.kernels();
    kernels.train(norm.forward(false, false));
    const auto [mean, squares] = statistics_of(norm);
    for (std::size_t c = 0; c < planes.channels(); ++c) {
      // A float near 1e4 is a multiple of 0.001.
      EXPECT_NEAR(norm.mean[c], mean[c], 1.5e-3);
      EXPECT_NEAR(value_of(norm.inv_deviation[c]) * std::sqrt(squares[c] / norm.count() + kEpsilon),
                  1, 1e-3)
          << c;
    }
  }
}

TEST(BatchNormKernelsTest, AConstantChannelHasTheDeviationOfEpsilon) {
  SLACKLINE_SKIP_OPENMP();
  Norm<float> norm(blocked(3, 1, 49, 8));
  std::ranges::fill(norm.x, 3.0f);
  BatchNormKernels<float> kernels = norm.kernels();
  kernels.train(norm.forward(false, false));
  for (std::size_t c = 0; c < 8; ++c) {
    EXPECT_FLOAT_EQ(norm.inv_deviation[c], static_cast<float>(1 / std::sqrt(kEpsilon)));
    EXPECT_EQ(norm.mean[c], 3.0f);
  }
  EXPECT_EQ(norm.y[0], norm.bias[0]);
}

TEST(BatchNormKernelsTest, TheBackwardPassMayWriteOverItsInput) {
  SLACKLINE_SKIP_OPENMP();
  for (const Planes& planes : {blocked(3, 2, 129, 8), interleaved(3, 5, 49, 16)}) {
    for (const bool with_residual : {false, true}) {
      Norm<float> apart(planes);
      Norm<float> in_place = apart;
      BatchNormKernels<float> kernels = apart.kernels();
      kernels.backward(apart.backward(true, true, with_residual));
      auto args = in_place.backward(true, true, with_residual);
      (with_residual ? args.dresidual : args.dx) = in_place.dy.data();
      kernels.backward(args);
      EXPECT_EQ(with_residual ? in_place.dx : in_place.dy, apart.dx);
      if (with_residual) {
        EXPECT_EQ(in_place.dy, apart.dresidual);
      }
      EXPECT_EQ(in_place.dscale, apart.dscale);
      EXPECT_EQ(in_place.dbias, apart.dbias);
    }
  }
}

TEST(BatchNormKernelsTest, ASmallerActivationLeavesNothingOfALargerOneBehind) {
  SLACKLINE_SKIP_OPENMP();
  Norm<float> large(blocked(4, 4, 49, 16));
  Norm<float> fresh(blocked(2, 3, 5, 8), 9);
  Norm<float> after = fresh;
  BatchNormKernels<float> kernels = large.kernels();
  kernels.train(large.forward(false, false));
  kernels.train(after.forward(false, true));
  BatchNormKernels<float> of_its_own = fresh.kernels();
  of_its_own.train(fresh.forward(false, true));
  EXPECT_TRUE(after.bytes() == fresh.bytes());
}

}  // namespace
}  // namespace slackline::net::cpu
