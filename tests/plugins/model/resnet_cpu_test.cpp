// Residual networks on the CPU, as a user meets them.

#include <slackline/error.h>
#include <slackline/model.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "openmp.h"
#include "owned_batch.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing::HasSubstr;
using testing_support::make_plugin;
using testing_support::OptionArguments;
using testing_support::OwnedBatch;
using testing_support::TestHost;

using Values = std::vector<float>;
using State = std::map<std::string, Values>;

class ResnetCpuTest : public testing::Test {
 protected:
  static constexpr ImageShape kShape{16, 16, 3};
  static constexpr std::int32_t kBatch = 6;

  void SetUp() override { SLACKLINE_SKIP_OPENMP(); }

  static ModelSpec spec(const OptimizerSpec& optimizer = {}) {
    return {.image = kShape,
            .max_batch_size = kBatch,
            .num_classes = 4,
            .seed = 5,
            .device = {},
            .optimizer = optimizer,
            .cpu_threads = 1};
  }

  std::unique_ptr<Model> build(const ModelSpec& with, OptionArguments options = {{"depth", 20}}) {
    auto model = make_plugin<Model>("resnet_cpu", options, host_);
    model->build(with);
    return model;
  }

  std::string complaint(const ModelSpec& with, const OptionArguments& options) {
    try {
      build(with, options);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "none";
  }

  /// Noise, with a brightness that says the class.
  static OwnedBatch batch(std::int32_t size = kBatch) {
    std::mt19937 words(8);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(size) * kShape.size());
    std::vector<std::int32_t> labels;
    for (std::int32_t i = 0; i < size; ++i) labels.push_back(i % 4);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      pixels[i] = static_cast<std::uint8_t>(60 * (i / kShape.size() % 4) + words() % 60);
    }
    return {kShape, std::move(pixels), std::move(labels)};
  }

  static State read(Model& model) {
    State state;
    TensorStore& store = model.state();
    for (std::size_t i = 0; i < store.tensors().size(); ++i) {
      Values& values = state[store.tensors()[i].name];
      values.resize(store.tensors()[i].size());
      store.read(i, values);
    }
    return state;
  }

  static void write(Model& model, const std::string& name, const Values& values) {
    TensorStore& store = model.state();
    for (std::size_t i = 0; i < store.tensors().size(); ++i) {
      if (store.tensors()[i].name == name) return store.write(i, values);
    }
    FAIL() << "no tensor " << name;
  }

  static bool is_kernel(const std::string& name) {
    return name.find("conv") != std::string::npos || name.ends_with("downsample.0.weight") ||
           name == "fc.weight";
  }
  static double sum_of_squares(const Values& values) {
    double sum = 0;
    for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
    return sum;
  }
  static std::vector<std::string> parameters(Model& model) {
    std::vector<std::string> names;
    for (const TensorInfo& info : model.state().tensors()) {
      if (info.role == TensorRole::kParameter) names.push_back(info.name);
    }
    return names;
  }

  /// Three steps, each followed by an update in double from what the model had before it.
  void expect_updates(const OptimizerSpec& optimizer) {
    const auto model = build(spec(optimizer));
    OwnedBatch data = batch();
    const double momentum = static_cast<double>(optimizer.momentum);
    const double decay = static_cast<double>(optimizer.weight_decay);
    std::map<std::string, std::vector<double>> velocities;
    for (int step = 0; step < 3; ++step) {
      StepSums sums;
      model->forward_backward(*data, kBatch, sums);
      const State before = read(*model);
      const double rate = 0.1 / (step + 1);
      model->update({.learning_rate = static_cast<float>(rate)});
      const State after = read(*model);
      for (const std::string& name : parameters(*model)) {
        const Values& w = before.at(name);
        const Values& g = before.at("gradient." + name);
        double of_w = 0, its_rate = rate;
        if (optimizer.decay_form == WeightDecay::kTorch) of_w = decay;
        if (optimizer.decay_form == WeightDecay::kL2Loss &&
            (is_kernel(name) || name == "fc.bias")) {
          of_w = 2 * decay;
        }
        if (optimizer.kind == OptimizerKind::kLars) {
          if (!is_kernel(name)) of_w = 0;
          const double w_norm = std::sqrt(sum_of_squares(w)), g_norm = std::sqrt(sum_of_squares(g));
          if (is_kernel(name)) {
            its_rate *=
                static_cast<double>(optimizer.lars_trust) * w_norm / (g_norm + of_w * w_norm);
          }
        }
        std::vector<double>& v = velocities[name];
        v.resize(w.size());
        double largest = 0;
        for (std::size_t i = 0; i < w.size(); ++i) {
          const double wi = static_cast<double>(w[i]);
          v[i] = momentum * v[i] - its_rate * (static_cast<double>(g[i]) + of_w * wi);
          largest = std::max(largest, std::abs(v[i]));
        }
        for (std::size_t i = 0; i < w.size(); ++i) {
          ASSERT_NEAR(after.at("momentum." + name)[i], v[i], 2e-6 * largest) << name << " " << i;
          ASSERT_NEAR(after.at(name)[i], static_cast<double>(w[i]) + v[i],
                      2e-6 * largest + 2e-7 * std::abs(static_cast<double>(w[i])))
              << name << " " << i << " in step " << step;
        }
      }
    }
  }

  TestHost host_;
};

// --- what is refused
// ------------------------------------------------------------------------------

TEST_F(ResnetCpuTest, AnUnknownDepthIsNamedWithThoseThatThereAre) {
  EXPECT_EQ(complaint(spec(), {{"depth", 19}}),
            "model resnet_cpu: there is no network of depth 19: 18, 34, 50, or CIFAR's 20, 56");
}

TEST_F(ResnetCpuTest, AnImageThatIsTooSmallIsNamedWithTheSmallest) {
  ModelSpec small = spec();
  small.image = {40, 31, 3};
  EXPECT_EQ(
      complaint(small, {{"depth", 50}}),
      "model resnet_cpu: images of 40 by 31 pixels are too small for depth 50, which needs 32 "
      "or more ([input] image_size)");
  small.image = {7, 8, 3};
  EXPECT_THAT(complaint(small, {{"depth", 20}}), HasSubstr("7 by 8 pixels"));
  EXPECT_THAT(complaint(small, {{"depth", 20}}), HasSubstr("needs 8 or more"));
}

TEST_F(ResnetCpuTest, AGpuAndImagesWithoutThreeChannelsAreRefused) {
  ModelSpec with = spec();
  with.device = {DeviceKind::kCuda, 3, nullptr};
  EXPECT_EQ(complaint(with, {{"depth", 20}}),
            "model resnet_cpu: device 3 is a GPU, and this model computes on the CPU only");
  with = spec();
  with.image.channels = 1;
  EXPECT_EQ(complaint(with, {{"depth", 20}}),
            "model resnet_cpu: images have 1 channels, and this model takes 3 (RGB)");
}

TEST_F(ResnetCpuTest, ALabelOutsideTheClassesIsNamedWithItsPlace) {
  const auto model = build(spec());
  OwnedBatch data{kShape, std::vector<std::uint8_t>(2 * kShape.size()), {3, 4}};
  StepSums sums;
  const auto expect_refused = [](const auto& call) {
    try {
      call();
      FAIL() << "accepted label 4";
    } catch (const DataError& error) {
      EXPECT_STREQ(error.what(),
                   "epoch 0, batch 0, sample 1: label 4 is not in 0..3 (num_classes is 4)");
    }
  };
  expect_refused([&] { model->forward_backward(*data, 2, sums); });
  expect_refused([&] { model->evaluate(*data, sums); });
}

TEST_F(ResnetCpuTest, Bf16TrainsOrIsRefusedWithWhatItNeeds) {
  const OptionArguments options = {{"depth", 20}, {"precision", "bf16"}};
  const std::string refusal = complaint(spec(), options);
  if (refusal != "none") {
    EXPECT_EQ(refusal, "oneDNN has no convolutions in bf16 for this CPU: bf16 needs AVX-512");
    return;
  }
  const auto model = build(spec(), options);
  OwnedBatch data = batch();
  StepSums first, last;
  model->forward_backward(*data, kBatch, first);
  for (int step = 0; step < 30; ++step) {
    model->forward_backward(*data, kBatch, last);
    model->update({.learning_rate = 0.05f});
  }
  EXPECT_LT(last.loss, 0.5 * first.loss);
}

// --- the state
// ------------------------------------------------------------------------------------

TEST_F(ResnetCpuTest, TensorsHaveTorchvisionsNamesAndShapesAndTheirRoles) {
  const auto model = build(spec());
  std::map<std::string, TensorInfo> infos;
  std::map<TensorRole, int> counts;
  for (const TensorInfo& info : model->state().tensors()) {
    EXPECT_TRUE(infos.emplace(info.name, info).second) << info.name << " comes twice";
    ++counts[info.role];
  }
  // 19 + 3 convolutions, as many batch norms with two parameters, and the dense layer with two.
  EXPECT_EQ(counts[TensorRole::kParameter], 22 + 44 + 2);
  EXPECT_EQ(counts[TensorRole::kStatistic], 44);
  EXPECT_EQ(counts[TensorRole::kSlot], 68);
  EXPECT_EQ(counts[TensorRole::kGradient], 68);
  const auto expect_is = [&](const std::string& name, TensorRole role,
                             const std::vector<std::int64_t>& shape) {
    ASSERT_TRUE(infos.contains(name)) << name;
    EXPECT_EQ(infos[name].role, role) << name;
    EXPECT_EQ(infos[name].shape, shape) << name;
  };
  expect_is("conv1.weight", TensorRole::kParameter, {16, 3, 3, 3});
  expect_is("layer2.0.downsample.0.weight", TensorRole::kParameter, {32, 16, 1, 1});
  expect_is("layer3.2.bn2.bias", TensorRole::kParameter, {64});
  expect_is("layer3.2.bn2.running_var", TensorRole::kStatistic, {64});
  expect_is("fc.weight", TensorRole::kParameter, {4, 64});
  expect_is("fc.bias", TensorRole::kParameter, {4});
  expect_is("momentum.fc.weight", TensorRole::kSlot, {4, 64});
  expect_is("gradient.conv1.weight", TensorRole::kGradient, {16, 3, 3, 3});
}

TEST_F(ResnetCpuTest, WritingWhatWasReadChangesNoBitAndNoStep) {
  const OptimizerSpec optimizer{.momentum = 0.9f};
  const auto model = build(spec(optimizer)), other = build(spec(optimizer));
  OwnedBatch data = batch();
  StepSums sums;
  const auto step = [&](Model& of) {
    of.forward_backward(*data, kBatch, sums);
    of.update({.learning_rate = 0.1f});
  };
  step(*model);
  const State before = read(*model);
  for (const auto& [name, values] : before) {
    if (!name.starts_with("gradient.")) write(*model, name, values);
    if (!name.starts_with("gradient.")) write(*other, name, values);
  }
  const auto expect_same = [](const State& one, const State& another) {
    ASSERT_EQ(one.size(), another.size());
    for (const auto& [name, values] : one) {
      if (name.starts_with("gradient.")) continue;
      EXPECT_TRUE(std::ranges::equal(values, another.at(name), {},
                                     std::bit_cast<std::uint32_t, float>,
                                     std::bit_cast<std::uint32_t, float>))
          << name;
    }
  };
  expect_same(read(*model), before);
  step(*model);
  step(*other);
  expect_same(read(*model), read(*other));
}

TEST_F(ResnetCpuTest, APenaltyAndAnUpdateHaveTheSameBitsWithAnyNumberOfThreads) {
  State expected;
  double penalty = 0;
  for (const std::int32_t threads : {1, 2, 3}) {
    ModelSpec with = spec({.weight_decay = 1e-3f, .momentum = 0.9f});
    with.cpu_threads = threads;
    const auto model = build(with);
    EXPECT_EQ(host_.reports.at("threads"), threads);
    std::mt19937 words(4);  // those of a step may depend on the number of threads
    for (float& value : model->gradients()) value = static_cast<float>(words()) * 0x1p-31f;
    model->update({.learning_rate = 0.1f});
    OwnedBatch data = batch(1);
    StepSums sums;
    model->evaluate(*data, sums);
    State found = read(*model);
    if (threads == 1) {
      expected = found;
      penalty = sums.penalty;
    }
    EXPECT_EQ(sums.penalty, penalty) << threads;
    EXPECT_EQ(found, expected) << threads;
  }
}

TEST_F(ResnetCpuTest, ReportsItsSizeAndItsWork) {
  build(spec(), {{"depth", 20}, {"threads", 3}});
  // 272,762 with ten classes; the dense layer has 65 for each.
  EXPECT_EQ(host_.reports.at("parameters"), 272'762 - 6 * 65);
  EXPECT_EQ(host_.reports.at("threads"), 3) << "not what the strategy gives";
  EXPECT_GT(host_.reports.at("flop_per_image"), 0.05);
  EXPECT_LT(host_.reports.at("flop_per_image"), 0.07);
  EXPECT_GT(host_.reports.at("activations"), 0);
}

// --- initial weights
// ------------------------------------------------------------------------------

TEST_F(ResnetCpuTest, KernelsStartAsKerassHeNormalCutOffAtTwoDeviations) {
  const State state = read(*build(spec()));
  for (const auto& [name, fan_in] : std::map<std::string, double>{
           {"layer3.0.conv1.weight", 32 * 9}, {"layer3.2.conv2.weight", 64 * 9}}) {
    const Values& w = state.at(name);
    const double variance = sum_of_squares(w) / static_cast<double>(w.size());
    EXPECT_NEAR(variance * fan_in / 2, 1, 0.03) << name;
    double sum = 0, highest = 0;
    for (const float value : w) {
      sum += static_cast<double>(value);
      highest = std::max(highest, std::abs(static_cast<double>(value)));
    }
    const double bound = 2 * std::sqrt(2 / fan_in) / 0.87962566103423978;
    EXPECT_LE(highest, bound * 1.000001) << name;
    EXPECT_GT(highest, bound * 0.98) << name;
    const auto count = static_cast<double>(w.size());
    EXPECT_LT(std::abs(sum / count), 4 * std::sqrt(2 / fan_in / count)) << name;
  }
}

TEST_F(ResnetCpuTest, TheDenseKernelStartsAsGlorotsUniformOneAndAllElseAsItDoesNothing) {
  const State state = read(*build(spec()));
  const double bound = std::sqrt(6.0 / (64 + 4));
  const Values& w = state.at("fc.weight");
  for (const float value : w) EXPECT_LE(std::abs(static_cast<double>(value)), bound * 1.000001);
  EXPECT_NEAR(sum_of_squares(w) / static_cast<double>(w.size()) * 3 / (bound * bound), 1, 0.25);
  for (const auto& [name, values] : state) {
    if (is_kernel(name.substr(name.find('.') + 1)) || is_kernel(name)) continue;
    const bool is_one = !name.starts_with("momentum.") && !name.starts_with("gradient.") &&
                        (name.ends_with(".weight") || name.ends_with(".running_var"));
    EXPECT_EQ(values, Values(values.size(), is_one ? 1.0f : 0.0f)) << name;
  }
}

TEST_F(ResnetCpuTest, ReplicasStartAlikeAndOtherSeedsAndTensorsDoNot) {
  ModelSpec other = spec();
  other.seed = 6;
  const State one = read(*build(spec())), same = read(*build(spec())),
              differs = read(*build(other));
  EXPECT_EQ(one, same);
  EXPECT_NE(one.at("layer1.1.conv1.weight"), one.at("layer1.1.conv2.weight"));
  for (const auto& [name, values] : one) {
    if (name.starts_with("momentum.") || name.starts_with("gradient.")) continue;
    EXPECT_EQ(values != differs.at(name), is_kernel(name)) << name;
  }
}

// --- steps
// ----------------------------------------------------------------------------------------

TEST_F(ResnetCpuTest, SgdWithMomentumAndWithDecayInTheLossIsAHandWrittenLoop) {
  expect_updates({.decay_form = WeightDecay::kL2Loss, .weight_decay = 1e-2f, .momentum = 0.9f});
}

TEST_F(ResnetCpuTest, SgdWithMomentumAndTorchsDecayIsAHandWrittenLoop) {
  expect_updates({.decay_form = WeightDecay::kTorch, .weight_decay = 1e-2f, .momentum = 0.9f});
}

TEST_F(ResnetCpuTest, LarsIsAHandWrittenLoop) {
  expect_updates({.kind = OptimizerKind::kLars,
                  .decay_form = WeightDecay::kTorch,
                  .weight_decay = 1e-2f,
                  .momentum = 0.9f,
                  .lars_trust = 0.02f});
  expect_updates({.kind = OptimizerKind::kLars,
                  .decay_form = WeightDecay::kL2Loss,
                  .weight_decay = 1e-2f,
                  .momentum = 0.9f,
                  .lars_trust = 0.02f});
}

TEST_F(ResnetCpuTest, ThePenaltyIsTheSquaresOfKernelsAndTheDenseBiasOnceASample) {
  const auto model = build(spec({.weight_decay = 1e-4f, .momentum = 0.9f}));
  OwnedBatch data = batch();
  const auto expected = [&] {
    double sum = 0;
    for (const auto& [name, values] : read(*model)) {
      if (name.starts_with("momentum.") || name.starts_with("gradient.")) continue;
      if (is_kernel(name) || name == "fc.bias") sum += sum_of_squares(values);
    }
    return static_cast<double>(1e-4f) * sum * kBatch;
  };
  StepSums sums;
  model->forward_backward(*data, kBatch, sums);
  EXPECT_NEAR(sums.penalty, expected(), 1e-12 * sums.penalty);
  EXPECT_GT(sums.penalty, 0);
  model->forward_backward(*data, kBatch, sums);  // nobody looks at the state in between
  model->update({.learning_rate = 0.5f});
  model->evaluate(*data, sums);
  EXPECT_NEAR(sums.penalty, expected(), 1e-12 * sums.penalty) << "of the parameters of now";
  write(*model, "fc.bias", Values(4, 100.0f));
  model->evaluate(*data, sums);
  EXPECT_NEAR(sums.penalty, expected(), 1e-12 * sums.penalty) << "after somebody wrote";
  const auto torch = build(spec({.decay_form = WeightDecay::kTorch, .weight_decay = 1e-4f}));
  torch->forward_backward(*data, kBatch, sums);
  EXPECT_EQ(sums.penalty, 0);
}

TEST_F(ResnetCpuTest, GradientsAreDividedByTheSamplesOfTheWholeStep) {
  const auto model = build(spec());
  OwnedBatch data = batch();
  StepSums sums;
  model->forward_backward(*data, kBatch, sums);
  const Values one(model->gradients().begin(), model->gradients().end());
  model->forward_backward(*data, 4 * kBatch, sums);
  double error = 0, size = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    error +=
        std::pow(static_cast<double>(model->gradients()[i]) - static_cast<double>(one[i]) / 4, 2);
    size += std::pow(static_cast<double>(one[i]) / 4, 2);
  }
  EXPECT_GT(size, 0);
  EXPECT_LT(std::sqrt(error / size), 1e-5);
}

TEST_F(ResnetCpuTest, EvaluationUsesTheRunningStatistics) {
  const auto model = build(spec());
  OwnedBatch data = batch();
  StepSums before, after;
  model->evaluate(*data, before);
  EXPECT_EQ(before.samples, kBatch);
  // One sample alone has the loss that it has among others: nothing depends on the batch.
  OwnedBatch all = batch();
  StepSums alone;
  for (std::size_t i = 0; i < kBatch; ++i) {
    const auto begin = all.pixels().begin() + static_cast<std::ptrdiff_t>(i * kShape.size());
    OwnedBatch one{kShape,
                   {begin, begin + static_cast<std::ptrdiff_t>(kShape.size())},
                   {static_cast<std::int32_t>(i % 4)}};
    StepSums sums;
    model->evaluate(*one, sums);
    alone += sums;
  }
  EXPECT_NEAR(alone.loss, before.loss, 1e-5 * before.loss);
  for (float& value : model->statistics()) value = value == 0 ? 0 : 4 * value;
  model->evaluate(*data, after);
  EXPECT_NE(after.loss, before.loss) << "what a strategy writes is used";
}

TEST_F(ResnetCpuTest, TrainingLowersTheLossInEitherFusionAndTheseAgree) {
  OwnedBatch data = batch();
  std::vector<double> first;
  for (const char* fusion : {"batch_norm", "none"}) {
    const auto model =
        build(spec({.momentum = 0.9f}),
              {{"depth", 20}, {"fusion", fusion}, {"std", std::vector<double>{60, 60, 60}}});
    StepSums sums;
    for (int step = 0; step < 10; ++step) {
      model->forward_backward(*data, kBatch, sums);
      if (step == 0) first.push_back(sums.loss);
      model->update({.learning_rate = 0.02f});
    }
    EXPECT_LT(sums.loss, 0.5 * first.back()) << fusion;
  }
  EXPECT_NEAR(first[0], first[1], 1e-4 * first[0]);
}

TEST_F(ResnetCpuTest, MeanAndDeviationOfThePixelsAreThoseOfTheOptions) {
  const auto loss = [&](double mean, double std, int times, int more) {
    const auto model = build(spec(), {{"depth", 20},
                                      {"mean", std::vector<double>(3, mean)},
                                      {"std", std::vector<double>(3, std)}});
    OwnedBatch data = batch(2);
    for (std::uint8_t& pixel : data.pixels()) {
      pixel = static_cast<std::uint8_t>(pixel / 4 * times + more);
    }
    StepSums sums;
    model->evaluate(*data, sums);
    return sums.loss;
  };
  EXPECT_EQ(loss(100, 50, 2, 0), loss(120, 50, 2, 20)) << "moved together";
  EXPECT_EQ(loss(100, 50, 2, 0), loss(50, 25, 1, 0)) << "scaled together";
  EXPECT_NE(loss(100, 50, 2, 0), loss(100, 50, 2, 20));
  EXPECT_NE(loss(100, 50, 2, 0), loss(100, 40, 2, 0));
}

}  // namespace
}  // namespace slackline
