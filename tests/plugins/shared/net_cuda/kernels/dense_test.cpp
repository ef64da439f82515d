// Dense layers with one input or one output, run on the CPU, against sums in float64.

#include "bodies/dense.h"

#include <string>
#include <vector>

#include "operation_case.h"

namespace slackline::net::cuda {
namespace {

/// A layer with its sums; pixels have a fourth channel that is not a number, so that it is seen if
/// it is read.
template <class T>
struct ThinDense {
  ThinDense(std::int64_t rows, std::int64_t inputs, std::int64_t outputs, bool is_of_pixels = false)
      : args{.rows = rows, .inputs = inputs, .outputs = outputs, .is_of_pixels = is_of_pixels} {
    const auto n = static_cast<std::size_t>(rows), in = static_cast<std::size_t>(inputs),
               out = static_cast<std::size_t>(outputs);
    std::vector<double> values;
    for (std::size_t i = 0; i < n * in; ++i) {
      x.push_back(stored<T>(made_up(words)));
      values.push_back(value_of(x.back()));
      if (is_of_pixels && i % 3 == 2) x.push_back(poisoned<T>(1).front());
    }
    for (std::size_t i = 0; i < in * out; ++i) weight.push_back(stored<T>(made_up(words)));
    for (std::size_t i = 0; i < n * out; ++i) dy.push_back(stored<T>(made_up(words)));
    for (std::size_t i = 0; i < out; ++i) bias.push_back(static_cast<float>(made_up(words)));
    exact_dx.assign(n * in, 0);
    exact_dweight.assign(in * out, 0);
    for (std::size_t row = 0; row < n; ++row) {
      for (std::size_t k = 0; k < out; ++k) {
        double sum = static_cast<double>(bias[k]);
        const double derivative = value_of(dy[row * out + k]);
        for (std::size_t c = 0; c < in; ++c) {
          sum += values[row * in + c] * value_of(weight[k * in + c]);
          exact_dx[row * in + c] += derivative * value_of(weight[k * in + c]);
          exact_dweight[k * in + c] += derivative * values[row * in + c];
        }
        exact_y.push_back(sum);
      }
    }
    y = poisoned<T>(exact_y.size());
    dx = poisoned<T>(exact_dx.size());
    dweight = poisoned<T>(exact_dweight.size());
  }

  void run(const EmulatedLaunch& launch) {
    bodies::thin_dense(launch, args, x.data(), weight.data(), bias.data(), y.data());
    bodies::thin_dense_backward(launch, args, dy.data(), x.data(), weight.data(),
                                args.is_of_pixels ? nullptr : dx.data(), dweight.data());
  }
  void expect() const {
    constexpr double kSumBound = 4 * kBound<T>;  // some sums are nearly 0
    expect_near(y, exact_y, kSumBound, "y");
    if (!args.is_of_pixels) expect_near(dx, exact_dx, kSumBound, "dx");
    expect_near(dweight, exact_dweight, kSumBound, "dweight");
  }

  std::mt19937 words{17};
  ThinDenseArgs args;
  std::vector<T> x, weight, dy, y, dx, dweight;
  std::vector<float> bias;
  std::vector<double> exact_y, exact_dx, exact_dweight;
};

template <class T>
class ThinDenseTest : public testing::Test {};
TYPED_TEST_SUITE(ThinDenseTest, Types);

TYPED_TEST(ThinDenseTest, PixelsGoToOneNumberWithoutTheirFourthChannel) {
  for (const auto& [rows, pixels] : {std::pair{5, 3}, {1, 1}, {3, 300}, {12, 86}}) {
    ThinDense<TypeParam> layer(rows, std::int64_t{3} * pixels, 1, true);
    layer.run(EmulatedLaunch(3));
    layer.expect();
  }
}

TYPED_TEST(ThinDenseTest, AnyNumberOfInputsGoesToOneNumber) {
  for (const auto& [rows, inputs] : {std::pair{5, 3}, {1, 1}, {3, 1000}, {12, 257}}) {
    ThinDense<TypeParam> layer(rows, inputs, 1);
    layer.run(EmulatedLaunch(3));
    layer.expect();
  }
}

TYPED_TEST(ThinDenseTest, OneNumberGoesToAnyNumberOfOutputs) {
  for (const auto& [rows, outputs] : {std::pair{5, 3}, {1, 2}, {3, 1001}, {12, 257}}) {
    ThinDense<TypeParam> layer(rows, 1, outputs);
    layer.run(EmulatedLaunch(3));
    layer.expect();
  }
}

TYPED_TEST(ThinDenseTest, ThereAreTheSameBitsInAnyOrderOfBlocks) {
  for (const bool is_to_one : {false, true}) {
    expect_the_same_in_any_order([&](const EmulatedLaunch& launch) {
      ThinDense<TypeParam> layer(4, is_to_one ? 700 : 1, is_to_one ? 1 : 700);
      layer.run(launch);
      std::string bytes;
      for (const auto* written : {&layer.y, &layer.dx, &layer.dweight}) {
        append_bytes(bytes, *written);
      }
      return bytes;
    });
  }
}

}  // namespace
}  // namespace slackline::net::cuda
