// The loss and the bias of the last layer, run on the CPU, against the float64 reference.

#include <slackline/error.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "bodies/dense.h"
#include "bodies/softmax_loss.h"
#include "operation_case.h"

namespace slackline::net::cuda {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A batch's logits and what comes of them.
template <class T>
struct Loss {
  Loss(std::size_t of_samples, std::size_t of_classes, float with_smoothing)
      : samples(of_samples), classes(of_classes), smoothing(with_smoothing) {
    for (std::size_t i = 0; i < samples * classes; ++i) {
      logits.push_back(stored<T>(4 * made_up(words)));
    }
    for (std::size_t i = 0; i < samples; ++i) {
      labels.push_back(static_cast<std::int32_t>(words() % classes));
    }
    per_sample.resize(samples);
    dlogits = poisoned<T>(logits.size());
  }

  void run(const EmulatedLaunch& launch, bool with_derivatives = true) {
    bodies::softmax_loss<T>(launch, {.logits = logits.data(),
                                     .labels = labels.data(),
                                     .n = static_cast<std::int64_t>(samples),
                                     .classes = static_cast<std::int64_t>(classes),
                                     .smoothing = smoothing,
                                     .global_batch_size = kGlobal,
                                     .loss_scale = &loss_scale,
                                     .dlogits = with_derivatives ? dlogits.data() : nullptr,
                                     .per_sample = per_sample.data(),
                                     .sums = &sums,
                                     .penalty = &penalty});
  }
  void run_reference() {
    expected = {};
    expected_dlogits.assign(logits.size(), 0);
    for (std::size_t n = 0; n < samples; ++n) {
      std::vector<double> row;
      for (std::size_t i = 0; i < classes; ++i) row.push_back(value_of(logits[n * classes + i]));
      net::softmax_loss(row, labels[n], static_cast<double>(smoothing),
                        static_cast<double>(loss_scale.scale) / kGlobal,
                        std::span(expected_dlogits).subspan(n * classes, classes), expected);
    }
  }
  void expect() {
    run_reference();
    EXPECT_NEAR(sums.loss, expected.loss, 1e-6 * expected.loss);
    EXPECT_EQ(sums.correct, expected.correct);
    EXPECT_EQ(sums.correct_top5, expected.correct_top5);
    EXPECT_EQ(sums.samples, expected.samples);
    EXPECT_EQ(sums.penalty, penalty * static_cast<double>(samples));
    expect_near(dlogits, expected_dlogits, kBound<T>, "dlogits");
  }

  static constexpr std::int32_t kGlobal = 48;
  std::size_t samples, classes;
  float smoothing;
  std::mt19937 words{11};
  std::vector<T> logits, dlogits;
  std::vector<std::int32_t> labels;
  std::vector<StepSums> per_sample;
  LossScale loss_scale{.scale = 1024};
  double penalty = 0.25;
  StepSums sums{.loss = 1e9, .correct = 99, .samples = 99, .correct_top5 = 99, .penalty = 1e9};
  StepSums expected;
  std::vector<double> expected_dlogits;
};

template <class T>
class LossKernelsTest : public testing::Test {};
TYPED_TEST_SUITE(LossKernelsTest, Types);

TYPED_TEST(LossKernelsTest, LossAndDerivativesAreTheReferences) {
  for (const std::size_t classes : {2, 10, 128, 1000, 1001}) {
    for (const float smoothing : {0.0f, 0.1f}) {
      SCOPED_TRACE(text(classes, " classes, smoothing ", smoothing));
      Loss<TypeParam> loss(5, classes, smoothing);
      loss.run(EmulatedLaunch(3));
      loss.expect();
    }
  }
}

TYPED_TEST(LossKernelsTest, BatchesLargerThanABlockAreSummedWhole) {
  Loss<TypeParam> loss(300, 6, 0.1f);
  loss.run(EmulatedLaunch(3));
  loss.expect();
}

/// Logits of three values: most labels are in ties, at the edge of the first and of the first five.
TYPED_TEST(LossKernelsTest, OfEqualLogitsTheFirstGoesFirst) {
  Loss<TypeParam> loss(200, 9, 0);
  for (TypeParam& logit : loss.logits) logit = stored<TypeParam>(std::round(value_of(logit) / 4));
  loss.run(EmulatedLaunch(3));
  loss.expect();
  EXPECT_GT(loss.sums.correct, 0);
  EXPECT_LT(loss.sums.correct_top5, 200);
}

TYPED_TEST(LossKernelsTest, LargeLogitsDoNotOverflow) {
  Loss<TypeParam> loss(4, 10, 0);
  for (TypeParam& logit : loss.logits) logit = stored<TypeParam>(60000 + 64 * value_of(logit));
  loss.run(EmulatedLaunch());
  loss.expect();
}

TYPED_TEST(LossKernelsTest, EvaluationHasNoDerivativesAndNeedsNoPenalty) {
  Loss<TypeParam> loss(4, 10, 0.1f);
  loss.run(EmulatedLaunch(), false);
  for (const TypeParam value : loss.dlogits) EXPECT_TRUE(std::isnan(value_of(value)));
  loss.run_reference();
  EXPECT_NEAR(loss.sums.loss, loss.expected.loss, 1e-6 * loss.expected.loss);
}

TYPED_TEST(LossKernelsTest, LogitsThatAreNotFiniteMakeALossThatIsNot) {
  for (const double bad : {kInfinity, std::numeric_limits<double>::quiet_NaN()}) {
    Loss<TypeParam> loss(3, 10, 0.1f);
    loss.logits[10 + 4] = stored<TypeParam>(bad);
    loss.run(EmulatedLaunch(3));
    EXPECT_FALSE(std::isfinite(loss.sums.loss));
    EXPECT_EQ(loss.sums.samples, 3);
    EXPECT_TRUE(std::isnan(value_of(loss.dlogits[10 + 4]))) << "the loss scale has to see it";
    EXPECT_TRUE(std::isfinite(value_of(loss.dlogits[0]))) << "another sample's";
  }
  Loss<TypeParam> all(1, 10, 0);
  for (TypeParam& logit : all.logits) logit = stored<TypeParam>(-kInfinity);
  all.run(EmulatedLaunch());
  EXPECT_TRUE(std::isnan(all.sums.loss));
}

TYPED_TEST(LossKernelsTest, ALabelThatIsNoClassReadsNothingAndCountsAsWrong) {
  for (const std::int32_t label : {-1, 10, std::numeric_limits<std::int32_t>::min()}) {
    Loss<TypeParam> loss(1, 10, 0);
    loss.labels[0] = label;
    loss.run(EmulatedLaunch());
    EXPECT_TRUE(std::isnan(loss.sums.loss));
    EXPECT_EQ(loss.sums.correct, 0);
    EXPECT_EQ(loss.sums.correct_top5, 0);
  }
}

TYPED_TEST(LossKernelsTest, ThereAreTheSameBitsInAnyOrderOfBlocks) {
  expect_the_same_in_any_order([&](const EmulatedLaunch& launch) {
    Loss<TypeParam> loss(17, 1001, 0.1f);
    loss.run(launch);
    std::string bytes;
    append_bytes(bytes, loss.dlogits);
    append_bytes(bytes, std::vector<StepSums>{loss.sums});
    return bytes;
  });
}

TYPED_TEST(LossKernelsTest, TheBiasAndItsDerivativeAreSumsOverAnyNumberOfChannels) {
  using T = TypeParam;
  for (const auto& [rows, channels] :
       {std::pair<std::size_t, std::size_t>{1, 1}, {3, 10}, {37, 1001}, {256, 32}, {130, 33}}) {
    SCOPED_TRACE(text(rows, " x ", channels));
    std::mt19937 words(3);
    std::vector<T> y(rows * channels);
    for (T& value : y) value = stored<T>(made_up(words));
    std::vector<float> bias(channels);
    for (float& value : bias) value = static_cast<float>(made_up(words));
    std::vector<double> sums(channels), exact(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
      sums[i % channels] += value_of(y[i]);
      exact[i] = value_of(y[i]) + static_cast<double>(bias[i % channels]);
    }
    const Rows size{static_cast<std::int64_t>(rows), static_cast<std::int64_t>(channels)};
    for (const EmulatedLaunch& launch : {EmulatedLaunch(), EmulatedLaunch(3)}) {
      std::vector<float> dbias = poisoned<float>(channels);
      bodies::bias_backward<T>(launch, y.data(), dbias.data(), size);
      expect_near(dbias, sums, 1e-6, "dbias");
    }
    bodies::add_bias<T>(EmulatedLaunch(3), y.data(), bias.data(), size);
    expect_near(y, exact, kBound<T>, "y");
  }
}

}  // namespace
}  // namespace slackline::net::cuda
