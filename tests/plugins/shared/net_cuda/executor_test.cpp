// Whole steps on a device that computes nothing, but judges the order of all work and what it reads
// and writes. Plans are cuDNN's own, made from the properties of an H100.

#include "net_cuda/executor.h"

#include <slackline/error.h>

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../cudnn/absent_gpus.h"
#include "fake_cuda.h"
#include "net/resnet.h"
#include "net_cuda/trainer.h"

namespace slackline::net::cuda {
namespace {

using slackline::cuda::FakeRuntime;
using slackline::cuda::PinnedBuffer;
using slackline::cuda::Stream;
using testing::HasSubstr;
using testing::IsEmpty;

const cudnn::Target& h100() {
  static const cudnn::Target target = cudnn::testing_support::absent("h100");
  return target;
}

struct Case {
  ResnetSpec resnet{.depth = 20, .batch_size = 16, .height = 32, .width = 32, .classes = 10};
  Precision precision = Precision::kFloat16;
  Launch launch = Launch::kGraph;
  std::vector<float> rate_table = {};
};

/// A trainer with a batch in the device's memory.
class Fixture {
 public:
  explicit Fixture(const Case& with = {})
      : with_(with),
        executor_(build_resnet(with.resnet),
                  {.precision = with.precision,
                   .optimizer = {.weight_decay = 1e-4f, .momentum = 0.9f},
                   .loss_scale = 128,
                   .rate_table = with.rate_table,
                   .policy = cudnn::testing_support::precompiled()},
                  h100(), cuda, stream_.get()),
        trainer_(executor_, with.launch, cuda, stream_.get()),
        images_(cuda, static_cast<std::size_t>(with.resnet.batch_size * with.resnet.height *
                                               with.resnet.width * 3)),
        labels_(cuda, static_cast<std::size_t>(with.resnet.batch_size)),
        sums_(cuda, 1) {
    cuda.fill(images_.data(), 0, images_.bytes(), stream_.get());
    cuda.fill(labels_.data(), 0, labels_.bytes(), stream_.get());
    cuda.synchronize(stream_.get());
    cuda.clear();
  }

  /// Begins another step: activations of the last one count no more.
  void forget_activations() { cuda.forget(executor_.layout().arena_bytes); }

  void train(std::int32_t size, const UpdateRule& rule = {.learning_rate = 0.1f}) {
    forget_activations();
    trainer_.train({images_.data(), labels_.data(), size}, size, rule, *sums_.data());
  }
  void evaluate(std::int32_t size) {
    forget_activations();
    trainer_.evaluate({images_.data(), labels_.data(), size}, *sums_.data());
  }
  Executor& executor() { return executor_; }
  Trainer& trainer() { return trainer_; }
  DeviceBatch batch(std::int32_t size) { return {images_.data(), labels_.data(), size}; }
  StepSums& sums() { return *sums_.data(); }

  FakeRuntime cuda;

 private:
  const Case with_;
  const Stream stream_ = slackline::cuda::make_stream(cuda);
  Executor executor_;
  Trainer trainer_;
  DeviceBuffer<std::uint8_t> images_;
  DeviceBuffer<std::int32_t> labels_;
  PinnedBuffer<StepSums> sums_;
};

class CudaStepTest : public testing::TestWithParam<Case> {};

TEST_P(CudaStepTest, StepsOfEveryKindAreInOrderAndNeitherWaitNorAllocate) {
  Fixture fixture(GetParam());
  for (int round = 0; round < 4; ++round) {
    // The first round makes what a batch size needs, the second its graph.
    if (round > 0) fixture.cuda.begin_step();
    fixture.train(16);
    fixture.train(7);
    fixture.evaluate(16);
    fixture.trainer().forward_backward(fixture.batch(16), 32, fixture.sums());
    fixture.trainer().update({.learning_rate = 0.1f});
    fixture.cuda.end_step();
  }
  EXPECT_THAT(fixture.cuda.violations(), IsEmpty());
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const Precision precision :
       {Precision::kFloat32, Precision::kFloat16, Precision::kBfloat16}) {
    for (const Fusion fusion : {Fusion::kSeparate, Fusion::kBatchNorm}) {
      for (const Launch launch : {Launch::kStream, Launch::kGraph}) {
        Case made{.precision = precision, .launch = launch};
        made.resnet.fusion = fusion;
        all.push_back(made);
      }
    }
  }
  all.push_back({.resnet = {.depth = 18,
                            .batch_size = 16,
                            .height = 64,
                            .width = 64,
                            .classes = 11,
                            .padding = Padding::kSymmetric}});
  all.push_back(
      {.resnet = {.depth = 50, .batch_size = 16, .height = 64, .width = 64, .classes = 1001}});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, CudaStepTest, testing::ValuesIn(all_cases()), [](const auto& test) {
  const Case& of = test.param;
  return text("resnet", of.resnet.depth,
              of.precision == Precision::kFloat32   ? "_fp32"
              : of.precision == Precision::kFloat16 ? "_fp16"
                                                    : "_bf16",
              of.resnet.fusion == Fusion::kSeparate ? "_separate" : "_fused",
              of.launch == Launch::kStream ? "_stream" : "_graph");
});

TEST(CudaExecutorTest, AGraphDoesWhatAStreamDoes) {
  Fixture stream({.launch = Launch::kStream}), graph({.launch = Launch::kGraph});
  for (Fixture* fixture : {&stream, &graph}) {
    fixture->train(16);
    fixture->train(16);
    fixture->evaluate(16);
  }
  std::vector<std::string> launched = graph.cuda.work();
  EXPECT_EQ(std::erase(launched, "graph"), 1u);  // the others came for the first time
  EXPECT_EQ(launched, stream.cuda.work());
}

TEST(CudaExecutorTest, AWholeStepIsOneGraphBehindWhatBringsTheBatch) {
  Fixture fixture;
  fixture.train(16);
  EXPECT_EQ(fixture.cuda.work()[0], "refresh");  // values were written
  EXPECT_EQ(std::ranges::count(fixture.cuda.work(), "graph"), 0);
  fixture.cuda.clear();
  fixture.train(16, {.learning_rate = 0.2f});
  const std::vector<std::string>& work = fixture.cuda.work();
  ASSERT_GT(work.size(), 100u);
  // ingest, the labels' copy, the rate's copy; and the sums' at the end
  EXPECT_EQ(work[0], "ingest");
  EXPECT_EQ(work[3], "graph");
  EXPECT_EQ(std::ranges::count(work, "graph"), 1);
  EXPECT_EQ(std::ranges::count(work, "copy"), 3);
  EXPECT_EQ(work.back(), "copy");
  EXPECT_EQ(work[work.size() - 2], "update");
}

TEST(CudaExecutorTest, ARateIsWrittenWhenItChanges) {
  Fixture fixture;
  const auto copies = [&](float rate) {
    fixture.cuda.clear();
    fixture.train(16, {.learning_rate = rate});
    return std::ranges::count(fixture.cuda.work(), "copy");
  };
  EXPECT_EQ(copies(0.1f), 3);  // labels, rate, sums
  EXPECT_EQ(fixture.executor().schedule()->rate, 0.1f);
  EXPECT_EQ(copies(0.1f), 2);
  EXPECT_EQ(copies(0.2f), 3);
  EXPECT_EQ(fixture.executor().schedule()->rate, 0.2f);
  // More than can be on their way.
  for (int step = 0; step < 300; ++step) EXPECT_EQ(copies(1.0f / static_cast<float>(step + 7)), 3);
  EXPECT_EQ(fixture.executor().schedule()->rate, 1.0f / 306);
  EXPECT_THAT(fixture.cuda.violations(), IsEmpty());
}

TEST(CudaExecutorTest, WithATableNothingIsCopiedButWhereStepsDoNotFollowEachOther) {
  for (const Launch launch : {Launch::kStream, Launch::kGraph}) {
    Fixture fixture({.launch = launch, .rate_table = {0, 0.1f, 0.2f}});
    const auto copies = [&](std::uint64_t step) {
      fixture.cuda.clear();
      fixture.train(16, {.learning_rate = 1.0f / static_cast<float>(step + 1), .step = step});
      return std::ranges::count(fixture.cuda.work(), "copy") - 2;  // labels, sums
    };
    EXPECT_EQ(copies(0), 1);
    for (std::uint64_t step = 1; step < 6; ++step) EXPECT_EQ(copies(step), 0) << step;
    EXPECT_EQ(copies(1000), 1);
    EXPECT_EQ(fixture.executor().schedule()->step, 1000);
    EXPECT_EQ(copies(1001), 0);
    fixture.evaluate(16);
    EXPECT_EQ(copies(1002), 0) << "an evaluation is no step";
    EXPECT_EQ(copies(1004), 1) << "one was left out";
    EXPECT_EQ(copies(1004), 1) << "the device has counted on";
    fixture.cuda.clear();
    fixture.trainer().forward_backward(fixture.batch(16), 32, fixture.sums());
    fixture.trainer().update({.learning_rate = 1, .step = 1005});
    EXPECT_EQ(std::ranges::count(fixture.cuda.work(), "copy"), 2);
    EXPECT_EQ(copies(1006), 0);
    EXPECT_THAT(fixture.cuda.violations(), IsEmpty());
  }
}

TEST(CudaExecutorTest, EveryOperationHasItsWork) {
  Fixture fixture({.resnet = {.depth = 50, .batch_size = 2, .height = 64, .width = 64}});
  fixture.train(2);
  const std::vector<std::string>& work = fixture.cuda.work();
  const auto count = [&](const std::string& name) { return std::ranges::count(work, name); };
  const Program& program = fixture.executor().program();
  for (const TensorId id : program.all(TensorKind::kParameter)) {
    const Tensor& tensor = program.tensor(id);
    if (!tensor.is_kernel || tensor.name == "fc.weight") continue;
    const std::string layer = tensor.name.substr(0, tensor.name.rfind('.'));
    EXPECT_EQ(count("conv " + layer), 1) << layer;
    EXPECT_EQ(count("conv weight grad " + layer), 1) << layer;
    EXPECT_EQ(count("conv data grad " + layer), layer == "conv1" ? 0 : 1) << layer;
  }
  EXPECT_EQ(count("dense fc"), 2);       // the product, the bias
  EXPECT_EQ(count("dense grad fc"), 3);  // by data, weights and bias
  EXPECT_EQ(count("softmax loss d logits"), 1);
  EXPECT_EQ(count("gather gradients"), 1);
}

TEST(CudaExecutorTest, AnyBatchSizeHasItsWorkspace) {
  // With cuDNN 9.19, 61 images take more workspace here than 64 do.
  Fixture fixture(
      {.resnet = {.depth = 18, .batch_size = 64, .height = 64, .width = 64, .classes = 1001},
       .precision = Precision::kBfloat16});
  for (int round = 0; round < 2; ++round) {
    for (const std::int32_t size : {64, 61, 1}) {
      fixture.train(size);
      fixture.evaluate(size);
    }
  }
  EXPECT_THAT(fixture.cuda.violations(), IsEmpty());
}

TEST(CudaExecutorTest, NewBatchSizesArePlannedAndCapturedOnce) {
  Fixture fixture;
  for (int round = 0; round < 2; ++round) {
    fixture.train(16);
    fixture.train(5);
  }
  const std::size_t bytes = fixture.cuda.allocated_bytes(), graphs = fixture.cuda.graphs();
  fixture.train(5);
  fixture.train(16);
  EXPECT_EQ(fixture.cuda.allocated_bytes(), bytes);
  EXPECT_EQ(fixture.cuda.graphs(), graphs);
  EXPECT_EQ(graphs, 2u);
}

TEST(CudaExecutorTest, AStepThatFailedIsNoReasonToCaptureTheNext) {
  Fixture fixture;
  fixture.cuda.refuse("update");
  EXPECT_THROW(fixture.train(16), DeviceError);
  EXPECT_THROW(fixture.train(16), DeviceError);
  fixture.cuda.refuse("");
  const auto graphs_in_a_step = [&] {
    fixture.cuda.clear();
    fixture.train(16);
    return std::ranges::count(fixture.cuda.work(), "graph");
  };
  EXPECT_EQ(graphs_in_a_step(), 0) << "this is the first whole one";
  EXPECT_EQ(graphs_in_a_step(), 1);
  EXPECT_THAT(fixture.cuda.violations(), IsEmpty());
}

TEST(CudaExecutorTest, WhatIsWrittenIsReadAndThePixelsFourthChannelIsZero) {
  Fixture fixture;
  Executor& executor = fixture.executor();
  for (const TensorId id : executor.program().all(TensorKind::kParameter)) {
    std::vector<float> values(values_of(executor.program().tensor(id).extents));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) + 0.5f;
    executor.write(executor.values(), id, values);
    std::vector<float> back(values.size());
    executor.read(executor.values(), id, back);
    ASSERT_EQ(back, values) << executor.program().tensor(id).name;
  }
  const std::span<float> first = executor.values().subspan(
      executor.layout().offset(executor.program().all(TensorKind::kParameter).front()), 16);
  EXPECT_EQ(first[3], 0);
  EXPECT_NE(first[2], 0);
  EXPECT_EQ(first[7], 0);
}

TEST(CudaExecutorTest, AMeasuredEngineIsPreferred) {
  const ResnetSpec spec{.depth = 20, .batch_size = 16, .height = 32, .width = 32, .classes = 10};
  const cudnn::Policy policy = cudnn::testing_support::precompiled();
  // What asks for most workspace, as if it had been measured to be fastest.
  const cudnn::Graph graph = cudnn::conv_backward_weights(
      {.type = CUDNN_DATA_HALF,
       .x = {16, 64, 8, 8},
       .out_channels = 64,
       .window = {.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1}});
  const cudnn::Candidates candidates = cudnn::candidates(graph, h100(), policy, 60);
  const auto larger = std::ranges::max_element(
      candidates.plans, {}, [](const cudnn::Plan& plan) { return plan.workspace_bytes(); });
  ASSERT_NE(larger, candidates.plans.end());
  cudnn::PlanCache cache;
  cache.put(graph, h100(), policy, *larger, 12.5);

  FakeRuntime cuda;
  const Stream stream = slackline::cuda::make_stream(cuda);
  const auto workspace_with = [&](cudnn::PlanCache* plan_cache) {
    const Executor executor(
        build_resnet(spec),
        {.precision = Precision::kFloat16, .policy = policy, .plan_cache = plan_cache}, h100(),
        cuda, stream.get());
    return executor.workspace_bytes();
  };
  EXPECT_LT(workspace_with(nullptr), larger->workspace_bytes());
  EXPECT_GE(workspace_with(&cache), larger->workspace_bytes());
  EXPECT_EQ(cache.account().found, 1u);
}

TEST(CudaExecutorTest, AnOperationWithoutAnEngineIsNamed) {
  // A chip that has no bf16.
  std::string properties = cudnn::testing_support::properties_of("h100");
  const std::string chip = "\"deviceVer\": 900";
  ASSERT_NE(properties.find(chip), std::string::npos);
  properties.replace(properties.find(chip), chip.size(), "\"deviceVer\": 750");
  const cudnn::Target target = cudnn::Target::of_properties(properties);
  FakeRuntime cuda;
  const Stream stream = slackline::cuda::make_stream(cuda);
  try {
    const Executor executor(build_resnet({.depth = 20, .batch_size = 4, .height = 32, .width = 32}),
                            {.precision = Precision::kBfloat16}, target, cuda, stream.get());
    FAIL() << "nothing was thrown";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), HasSubstr("conv conv1 for batches of 4: "));
  }
}

}  // namespace
}  // namespace slackline::net::cuda
