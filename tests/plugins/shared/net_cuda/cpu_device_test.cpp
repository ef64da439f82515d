// Whole steps through the executor as it is, with the GPU's kernels run by the CPU and plain loops
// for cuDNN: that every tensor is where its readers look for it, in the right order and type.

#include "cpu_device.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../cudnn/absent_gpus.h"
#include "../net/comparison.h"
#include "net/resnet.h"
#include "net/training.h"
#include "net_cuda/store.h"
#include "net_cuda/trainer.h"
#include "nn/optimizer.h"

namespace slackline::net::cuda {
namespace {

using slackline::cuda::PinnedBuffer;
using slackline::cuda::Stream;
using testing::IsEmpty;
using testing_support::cosine;
using testing_support::kNormalisation;
using testing_support::made_up_images;
using testing_support::made_up_labels;
using testing_support::relative_error;

constexpr float kMomentum = 0.9f, kDecay = 1e-3f;

struct Case {
  ResnetSpec resnet;
  Precision precision = Precision::kFloat32;
  Launch launch = Launch::kGraph;
  float loss_scale = 1;
  bool is_dynamic = false;
  OptimizerKind optimizer = OptimizerKind::kSgd;
  std::vector<float> rate_table = {};
};

ResnetSpec cifar(Fusion fusion = Fusion::kBatchNorm) {
  return {.depth = 20,
          .batch_size = 5,
          .height = 8,
          .width = 8,
          .classes = 10,
          .fusion = fusion,
          .label_smoothing = 0.1f};
}

class TrainingRun {
 public:
  explicit TrainingRun(const Case& with)
      : target_(cudnn::testing_support::absent("h100")),
        executor_(
            build_resnet(with.resnet),
            {.precision = with.precision,
             .normalisation = kNormalisation,
             .optimizer = {.kind = with.optimizer, .weight_decay = kDecay, .momentum = kMomentum},
             .loss_scale = with.loss_scale,
             .is_loss_scale_dynamic = with.is_dynamic,
             .rate_table = with.rate_table,
             .policy = cudnn::testing_support::precompiled()},
            target_, device, stream_.get()),
        trainer_(executor_, with.launch, device, stream_.get()),
        images_(device, values_of(program().tensor(0).extents)),
        labels_(device, static_cast<std::size_t>(with.resnet.batch_size)),
        sums_(device, 1) {
    device.execute(executor_);
    executor_.set_initial_values(3);
  }

  [[nodiscard]] const Program& program() const { return executor_.program(); }
  Executor& executor() { return executor_; }

  StepSums train(const StepInput& input, float rate) {
    return train(input, UpdateRule{.learning_rate = rate});
  }
  StepSums train(const StepInput& input, const UpdateRule& rule) {
    trainer_.train(upload(input), input.global_batch_size, rule, *sums_.data());
    return *sums_.data();
  }
  StepSums forward_backward(const StepInput& input) {
    trainer_.forward_backward(upload(input), input.global_batch_size, *sums_.data());
    return *sums_.data();
  }
  StepSums evaluate(const StepInput& input) {
    trainer_.evaluate(upload(input), *sums_.data());
    return *sums_.data();
  }
  void update(float rate) { trainer_.update({.learning_rate = rate}); }

  std::vector<float> read(std::span<float> array, TensorId id) {
    std::vector<float> values(values_of(program().tensor(id).extents));
    executor_.read(array, id, values);
    return values;
  }
  DeviceStore store() { return {executor_, device, stream_.get()}; }
  [[nodiscard]] const LossScale& loss_scale() { return *executor_.loss_scale(); }

  CpuDevice device;

 private:
  DeviceBatch upload(const StepInput& input) {
    const PinnedBuffer<std::uint8_t> images(device, input.images.size());
    const PinnedBuffer<std::int32_t> labels(device, input.labels.size());
    std::ranges::copy(input.images, images.data());
    std::ranges::copy(input.labels, labels.data());
    device.copy(images_.data(), images.data(), images.bytes(), stream_.get());
    device.copy(labels_.data(), labels.data(), labels.bytes(), stream_.get());
    device.synchronize(stream_.get());
    return {images_.data(), labels_.data(), static_cast<std::int32_t>(input.labels.size())};
  }

  const Stream stream_ = slackline::cuda::make_stream(device);
  const cudnn::Target target_;
  Executor executor_;
  Trainer trainer_;
  DeviceBuffer<std::uint8_t> images_;
  DeviceBuffer<std::int32_t> labels_;
  PinnedBuffer<StepSums> sums_;
};

Reference reference_of(const Program& program) {
  Reference reference(program, kNormalisation);
  for (const TensorKind kind : {TensorKind::kParameter, TensorKind::kStatistic}) {
    for (const TensorId id : program.all(kind)) {
      std::ranges::copy(initial_values(program, id, 3), reference.tensor(id).begin());
    }
  }
  return reference;
}

/// A step, and then an evaluation, against the reference.
void expect_the_reference(const Case& with, std::int64_t batch) {
  TrainingRun run(with);
  const Program& program = run.program();
  Reference reference = reference_of(program);
  const auto images = made_up_images(program, batch);
  const auto labels = made_up_labels(batch, static_cast<std::int32_t>(with.resnet.classes));
  const StepInput input{images, labels, 7};
  const bool is_exact = with.precision == Precision::kFloat32;
  const double loss_bound = is_exact ? 1e-5 : with.precision == Precision::kFloat16 ? 1e-2 : 5e-2;
  StepSums expected;
  reference.train(input, expected);
  const StepSums found = run.forward_backward(input);
  EXPECT_NEAR(found.loss, expected.loss, loss_bound * expected.loss);
  EXPECT_EQ(found.samples, batch);
  for (const TensorId id : program.all(TensorKind::kStatistic)) {
    EXPECT_LT(relative_error(run.read(run.executor().statistics(), id), reference.tensor(id)),
              is_exact ? 1e-5 : 0.1)
        << program.tensor(id).name;
  }
  for (const TensorId id : program.all(TensorKind::kParameter)) {
    const std::vector<float> gradient = run.read(run.executor().gradients(), id);
    const auto of_reference = reference.tensor(program.tensor(id).gradient);
    if (is_exact) {
      EXPECT_LT(relative_error(gradient, of_reference), 1e-4) << program.tensor(id).name;
    } else {
      // So small a network is rough: a value that rounds to the other side of 0 is seen.
      const bool is_fp16 = with.precision == Precision::kFloat16;
      EXPECT_GT(cosine(gradient, of_reference), is_fp16 ? 0.98 : 0.9) << program.tensor(id).name;
      EXPECT_LT(relative_error(gradient, of_reference), is_fp16 ? 0.2 : 0.5)
          << program.tensor(id).name;
    }
  }
  const StepSums evaluated = run.evaluate(input);
  reference.evaluate(input, expected);
  EXPECT_NEAR(evaluated.loss, expected.loss, loss_bound * expected.loss);
  EXPECT_THAT(run.device.violations(), IsEmpty());
}

TEST(CpuDeviceTest, AStepOfFusedOperationsIsThatOfTheReference) {
  expect_the_reference({.resnet = cifar()}, 5);
}

TEST(CpuDeviceTest, AStepOfSeparateOperationsIsThatOfTheReference) {
  expect_the_reference({.resnet = cifar(Fusion::kSeparate), .launch = Launch::kStream}, 5);
}

TEST(CpuDeviceTest, AStepOfASmallerBatchIsThatOfTheReference) {
  expect_the_reference({.resnet = cifar()}, 3);
}

TEST(CpuDeviceTest, AStepWithAPoolAndAStemIsThatOfTheReference) {
  expect_the_reference(
      {.resnet = {.depth = 18, .batch_size = 2, .height = 33, .width = 32, .classes = 11}}, 2);
}

TEST(CpuDeviceTest, AStepInFp16WithAScaledLossIsNearTheReference) {
  expect_the_reference({.resnet = cifar(), .precision = Precision::kFloat16, .loss_scale = 128}, 5);
}

TEST(CpuDeviceTest, AStepInBf16IsNearTheReference) {
  expect_the_reference({.resnet = cifar(), .precision = Precision::kBfloat16}, 5);
}

/// Values of all parameters behind some steps.
std::vector<std::vector<float>> trained(const Case& with, int steps) {
  TrainingRun run(with);
  const auto images = made_up_images(run.program(), 5);
  const auto labels = made_up_labels(5, 10);
  for (int step = 0; step < steps; ++step) (void)run.train({images, labels, 5}, 0.1f);
  std::vector<std::vector<float>> all;
  for (const TensorId id : run.program().all(TensorKind::kParameter)) {
    all.push_back(run.read(run.executor().values(), id));
  }
  return all;
}

TEST(CpuDeviceTest, AGraphGivesTheBitsOfAStream) {
  for (const Precision precision : {Precision::kFloat32, Precision::kFloat16}) {
    Case with{.resnet = cifar(), .precision = precision};
    const auto graph = trained(with, 3);
    with.launch = Launch::kStream;
    EXPECT_EQ(trained(with, 3), graph);
  }
}

TEST(CpuDeviceTest, UpdatesAreTheCpusToTheBit) {
  for (const OptimizerKind optimizer : {OptimizerKind::kSgd, OptimizerKind::kLars}) {
    TrainingRun run({.resnet = cifar(), .optimizer = optimizer});
    const Program& program = run.program();
    const auto images = made_up_images(program, 5);
    const auto labels = made_up_labels(5, 10);
    std::vector<std::vector<float>> velocities;
    for (int step = 0; step < 2; ++step) {
      std::vector<std::vector<float>> values;
      for (const TensorId id : program.all(TensorKind::kParameter)) {
        values.push_back(run.read(run.executor().values(), id));
        if (step == 0) velocities.emplace_back(values.back().size());
      }
      (void)run.forward_backward({images, labels, 5});
      run.update(0.1f);
      std::size_t i = 0;
      for (const TensorId id : program.all(TensorKind::kParameter)) {
        const OptimizerSpec spec{.kind = optimizer, .weight_decay = kDecay, .momentum = kMomentum};
        const float decay = decay_of(program.tensor(id), spec);
        const std::vector<float> gradient = run.read(run.executor().gradients(), id);
        float rate = 0.1f;
        if (optimizer == OptimizerKind::kLars && program.tensor(id).is_kernel) {
          rate = nn::lars_rate(gradient, values[i], rate, spec.lars_trust, decay);
        }
        nn::sgd_momentum(gradient, rate, kMomentum, decay, velocities[i], values[i]);
        if (optimizer == OptimizerKind::kSgd) {
          EXPECT_EQ(run.read(run.executor().values(), id), values[i]) << program.tensor(id).name;
        } else {  // norms are added up in another order
          const std::vector<double> expected(values[i].begin(), values[i].end());
          EXPECT_LT(relative_error(run.read(run.executor().values(), id), expected), 1e-6)
              << program.tensor(id).name;
        }
        ++i;
      }
    }
  }
}

TEST(CpuDeviceTest, AScaleThatOverflowsIsHalvedAndItsUpdateLeftOut) {
  TrainingRun run({.resnet = cifar(),
                   .precision = Precision::kFloat16,
                   .loss_scale = 0x1p24f,
                   .is_dynamic = true});
  const auto images = made_up_images(run.program(), 5);
  const auto labels = made_up_labels(5, 10);
  const TensorId first = run.program().all(TensorKind::kParameter).front();
  const std::vector<float> before = run.read(run.executor().values(), first);
  (void)run.train({images, labels, 5}, 0.1f);
  EXPECT_EQ(run.read(run.executor().values(), first), before);
  EXPECT_EQ(run.loss_scale().scale, 0x1p23f);
  EXPECT_EQ(run.loss_scale().skipped_steps, 1);
  int steps = 1;
  while (run.loss_scale().good_steps == 0 && steps < 30) {
    (void)run.train({images, labels, 5}, 0.1f);
    ++steps;
  }
  EXPECT_NE(run.read(run.executor().values(), first), before);
  EXPECT_EQ(run.executor().schedule()->step, steps);
}

/// Values of all parameters behind these steps of a run, each with its rate of `rates`.
std::vector<std::vector<float>> trained_with_rates(const Case& with, std::span<const float> rates,
                                                   std::span<const std::uint64_t> steps) {
  TrainingRun run(with);
  const auto images = made_up_images(run.program(), 5);
  const auto labels = made_up_labels(5, 10);
  for (const std::uint64_t step : steps) {
    // Without a table the device is told the rate, with one nothing that is of use to it.
    const float rate = with.rate_table.empty() ? rates[step] : -1;
    (void)run.train({images, labels, 5}, UpdateRule{.learning_rate = rate, .step = step});
    if (step == 2) (void)run.evaluate({images, labels, 5});
    EXPECT_EQ(run.executor().schedule()->rate, rates[step]) << step;
  }
  EXPECT_THAT(run.device.violations(), IsEmpty());
  std::vector<std::vector<float>> all;
  for (const TensorId id : run.program().all(TensorKind::kParameter)) {
    all.push_back(run.read(run.executor().values(), id));
  }
  return all;
}

TEST(CpuDeviceTest, ATableOfRatesTrainsAsRatesThatComeWithEachStep) {
  std::vector<float> rates(1004);
  for (std::size_t step = 0; step < rates.size(); ++step) {
    rates[step] = 0.1f / static_cast<float>(1 + step % 5);
  }
  constexpr std::uint64_t kFromTheBegin[] = {0, 1, 2, 3}, kResumed[] = {1000, 1001, 1002};
  for (const std::span<const std::uint64_t> steps :
       {std::span<const std::uint64_t>(kFromTheBegin), std::span<const std::uint64_t>(kResumed)}) {
    for (Case with : {Case{.resnet = cifar(), .launch = Launch::kStream},
                      Case{.resnet = cifar(), .optimizer = OptimizerKind::kLars}}) {
      const auto expected = trained_with_rates(with, rates, steps);
      with.rate_table = rates;
      EXPECT_EQ(trained_with_rates(with, rates, steps), expected) << "from " << steps.front();
    }
  }
}

TEST(CpuDeviceTest, AStepWhoseUpdateIsLeftOutHasUsedItsRate) {
  const std::vector<float> table = {0.1f, 0.05f, 0.02f, 0.01f};
  TrainingRun run({.resnet = cifar(),
                   .precision = Precision::kFloat16,
                   .loss_scale = 0x1p24f,
                   .is_dynamic = true,
                   .rate_table = table});
  const auto images = made_up_images(run.program(), 5);
  const auto labels = made_up_labels(5, 10);
  for (std::uint64_t step = 0; step < table.size(); ++step) {
    (void)run.train({images, labels, 5}, UpdateRule{.learning_rate = -1, .step = step});
    EXPECT_EQ(run.executor().schedule()->rate, table[step]);
  }
  EXPECT_GT(run.loss_scale().skipped_steps, 0);
}

TEST(CpuDeviceTest, AStoreGoesOnToTheBit) {
  const Case with{
      .resnet = cifar(), .precision = Precision::kFloat16, .loss_scale = 1024, .is_dynamic = true};
  TrainingRun first(with), second(with);
  const auto images = made_up_images(first.program(), 5);
  const auto labels = made_up_labels(5, 10);
  const StepInput input{images, labels, 5};
  for (int step = 0; step < 2; ++step) (void)first.train(input, 0.1f);
  DeviceStore from = first.store(), to = second.store();
  std::vector<float> values;
  for (std::size_t i = 0; i < from.tensors().size(); ++i) {
    if (from.tensors()[i].role == TensorRole::kGradient) continue;
    values.resize(from.tensors()[i].size());
    from.read(i, values);
    to.write(i, values);
  }
  const StepSums expected = first.evaluate(input), found = second.evaluate(input);
  EXPECT_EQ(found.loss, expected.loss);
  EXPECT_EQ(found.penalty, expected.penalty);
  EXPECT_GT(found.penalty, 0);
  (void)first.train(input, 0.1f);
  (void)second.train(input, 0.1f);
  for (std::size_t i = 0; i < from.tensors().size(); ++i) {
    std::vector<float> ours(from.tensors()[i].size()), theirs(ours.size());
    from.read(i, theirs);
    to.read(i, ours);
    EXPECT_EQ(ours, theirs) << from.tensors()[i].name;
  }
  EXPECT_EQ(from.tensors().back().name, "loss_scale");
  values.resize(3);
  from.read(from.tensors().size() - 1, values);
  EXPECT_EQ(values[0], first.loss_scale().scale);
  EXPECT_EQ(values[1], 3);  // good steps
}

TEST(CpuDeviceTest, ALearnedBatchHasASmallLossAndItsPenalty) {
  TrainingRun run({.resnet = cifar(), .precision = Precision::kFloat16, .loss_scale = 128});
  const auto images = made_up_images(run.program(), 5);
  const auto labels = made_up_labels(5, 10);
  const StepSums first = run.train({images, labels, 5}, 0.05f);
  StepSums last;
  for (int step = 0; step < 8; ++step) last = run.train({images, labels, 5}, 0.05f);
  EXPECT_LT(last.loss, 0.7 * first.loss);
  double squares = 0;
  for (const TensorId id : run.program().all(TensorKind::kParameter)) {
    if (!run.program().tensor(id).is_decayed) continue;
    squares += nn::sum_of_squares(run.read(run.executor().values(), id));
  }
  const StepSums evaluated = run.evaluate({images, labels, 5});
  EXPECT_NEAR(evaluated.penalty, 5 * static_cast<double>(kDecay) * squares, 1e-6 * squares);
}

}  // namespace
}  // namespace slackline::net::cuda
