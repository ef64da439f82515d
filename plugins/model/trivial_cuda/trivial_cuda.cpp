// The model of upstream's input-ceiling benchmark on an NVIDIA GPU: the upload of the pixels is
// most of its step, so the input sets the pace.

#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/plugin.h>

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cuda/runtime.h"
#include "cudnn/target.h"
#include "net/resnet_options.h"
#include "net/trivial.h"
#include "net_cuda/executor.h"
#include "net_cuda/store.h"
#include "net_cuda/trainer.h"

namespace slackline {
namespace {

using net::cuda::DeviceBatch;
using net::cuda::DeviceStore;
using net::cuda::Executor;
using net::cuda::Launch;
using net::cuda::Trainer;

class TrivialModel final : public Model {
 public:
  static std::string unavailable() { return cuda::why_unavailable(); }

  explicit TrivialModel(Host& host) : host_(host), runtime_(cuda::runtime()) {}

  void build(const ModelSpec& spec) override {
    check(spec);
    auto* const stream = static_cast<cudaStream_t>(spec.device.stream);
    target_.emplace(cudnn::Target::of_device());
    executor_ = std::make_unique<Executor>(
        net::build_trivial({.batch_size = spec.max_batch_size,
                            .height = spec.image.height,
                            .width = spec.image.width,
                            .classes = spec.num_classes}),
        net::cuda::ExecutorSpec{.normalisation = net::trivial_normalisation(),
                                .optimizer = spec.optimizer,
                                .rate_table = spec.learning_rates},
        *target_, runtime_, stream);
    trainer_ = std::make_unique<Trainer>(*executor_, Launch::kGraph, runtime_, stream);
    store_.emplace(*executor_, runtime_, stream);
    for (const net::TensorId id : executor_->program().all(net::TensorKind::kParameter)) {
      executor_->write(executor_->values(), id,
                       net::trivial_initial_values(executor_->program(), id, spec.seed));
    }
    net::report_size(host_, executor_->program(), spec);
  }

  void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                        StepSums& sums) override {
    trainer_->forward_backward(on_device(batch), global_batch_size, sums);
  }
  void update(const UpdateRule& rule) override { trainer_->update(rule); }
  void train(const ReplicaStep& step, StepSums& sums) override {
    trainer_->train(on_device(*step.batch), step.global_batch_size, step.rule, sums);
  }
  void evaluate(const Batch& batch, StepSums& sums) override {
    trainer_->evaluate(on_device(batch), sums);
  }

  std::span<float> gradients() override { return executor_->gradients(); }
  std::span<float> statistics() override { return executor_->statistics(); }
  TensorStore& state() override { return *store_; }

 private:
  static constexpr const char* kName = "trivial_cuda";

  static void check(const ModelSpec& spec) {
    if (spec.device.kind != DeviceKind::kCuda) {
      throw ConfigError(text("model ", kName, ": device ", spec.device.index,
                             " is no GPU; it needs a strategy with GPUs, as one_gpu"));
    }
    if (spec.image.channels != 3) {
      throw ConfigError(text("model ", kName, ": images have ", spec.image.channels,
                             " channels, and this model takes 3 (RGB)"));
    }
  }

  static DeviceBatch on_device(const Batch& batch) {
    return {.images = batch.images.data(), .labels = batch.labels.data(), .size = batch.size};
  }

  Host& host_;
  cuda::Runtime& runtime_;
  std::optional<cudnn::Target> target_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<DeviceStore> store_;
};

}  // namespace

SLACKLINE_PLUGIN(Model, TrivialModel, "trivial_cuda",
                 "all pixels to one number, that to the classes, on an NVIDIA GPU: shows what the "
                 "input can give");

}  // namespace slackline
