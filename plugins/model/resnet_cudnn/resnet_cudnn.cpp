// Residual networks on NVIDIA's GPUs: convolutions by cuDNN, everything else by kernels of our own,
// a whole step as one CUDA graph.

#include <slackline/error.h>
#include <slackline/file_ops.h>
#include <slackline/model.h>
#include <slackline/plugin.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cuda/runtime.h"
#include "cudnn/plan_cache.h"
#include "cudnn/target.h"
#include "net/resnet_options.h"
#include "net_cuda/executor.h"
#include "net_cuda/store.h"
#include "net_cuda/trainer.h"

namespace slackline {
namespace {

using net::cuda::DeviceBatch;
using net::cuda::DeviceStore;
using net::cuda::Executor;
using net::cuda::Launch;
using net::cuda::Precision;
using net::cuda::Trainer;

enum class LossScaling : std::uint8_t { kNone, kFixed, kDynamic };

class ResnetModel final : public Model {
 public:
  struct Options : net::ResnetOptions {
    Precision precision = Precision::kFloat16;
    bool tf32 = true;
    LossScaling loss_scaling = LossScaling::kFixed;
    double loss_scale = 0;
    Launch launch = Launch::kGraph;
    bool deterministic = true;
    Path plan_cache;

    static OptionTable<Options> table() {
      using Rows = net::ResnetRows<Options>;
      return {
          Rows::depth(),
          Rows::padding(),
          choice("precision", &Options::precision,
                 {{"fp32", Precision::kFloat32},
                  {"fp16", Precision::kFloat16},
                  {"bf16", Precision::kBfloat16}},
                 "of activations and of what convolutions read; parameters, gradients and "
                 "statistics are fp32 in any case"),
          option("tf32", &Options::tf32,
                 "with fp32: lets tensor cores round what they multiply to TF32's 10 bits"),
          choice("loss_scaling", &Options::loss_scaling,
                 {{"none", LossScaling::kNone},
                  {"fixed", LossScaling::kFixed},
                  {"dynamic", LossScaling::kDynamic}},
                 "with fp16, what the loss is multiplied by before the backward pass: dynamic "
                 "halves it where a gradient is not finite, leaves that update out, and doubles "
                 "it after 2000 good steps"),
          option("loss_scale", &Options::loss_scale,
                 "to begin with; 0 takes upstream's: 128 fixed, 32768 dynamic")
              .range(0.0, 16777216.0),
          Rows::fusion(),
          choice("launch", &Options::launch,
                 {{"stream", Launch::kStream}, {"graph", Launch::kGraph}},
                 "stream: kernel by kernel, as upstream's eager mode; graph: a step is one CUDA "
                 "graph"),
          option("deterministic", &Options::deterministic,
                 "only engines of cuDNN that give the same bits every time"),
          option("plan_cache", &Options::plan_cache,
                 "file of cuDNN's fastest engines: what is not in it is measured when the model is "
                 "built, and put into it. Empty: cuDNN's first suggestions")
              .example("\"cudnn_plans.json\""),
          Rows::label_smoothing(),
          Rows::mean(),
          Rows::std(),
      };
    }
  };

  static std::string unavailable() { return cuda::why_unavailable(); }

  ResnetModel(const Options& options, Host& host)
      : options_(options), host_(host), runtime_(cuda::runtime()) {
    net::check_depth(options, kName);
  }

  void build(const ModelSpec& spec) override {
    check(spec);
    auto* const stream = static_cast<cudaStream_t>(spec.device.stream);
    target_.emplace(cudnn::Target::of_device());
    const bool is_fp16 = options_.precision == Precision::kFloat16;
    const bool is_dynamic = is_fp16 && options_.loss_scaling == LossScaling::kDynamic;
    if (!options_.plan_cache.value.empty())
      plan_cache_ = cudnn::PlanCache::load(options_.plan_cache.value);
    executor_ = std::make_unique<Executor>(
        net::build_resnet(options_, spec),
        net::cuda::ExecutorSpec{
            .precision = options_.precision,
            .normalisation = net::normalisation_of(options_),
            .optimizer = spec.optimizer,
            .loss_scale = initial_loss_scale(),
            .is_loss_scale_dynamic = is_dynamic,
            .rate_table = spec.learning_rates,
            .policy = {.deterministic = options_.deterministic,
                       .tf32 = options_.tf32,
                       .runtime_compiled = false},  // seconds each, and none is needed
            .plan_cache = options_.plan_cache.value.empty() ? nullptr : &plan_cache_},
        *target_, runtime_, stream);
    save_plans();
    trainer_ = std::make_unique<Trainer>(*executor_, options_.launch, runtime_, stream);
    store_.emplace(*executor_, runtime_, stream);
    executor_->set_initial_values(spec.seed);
    tell(spec);
  }

  void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                        StepSums& sums) override {
    trainer_->forward_backward(on_device(batch), global_batch_size, sums);
  }
  void update(const UpdateRule& rule) override { trainer_->update(rule); }
  void train(const ReplicaStep& step, StepSums& sums) override {
    const DeviceBatch batch = step.batch == nullptr ? DeviceBatch{} : on_device(*step.batch);
    if (step.exchange == nullptr) {
      return trainer_->train(batch, step.global_batch_size, step.rule, sums);
    }
    trainer_->train(batch, step.global_batch_size, step.rule, sums, *step.exchange, step.replicas);
  }
  void evaluate(const Batch& batch, StepSums& sums) override {
    trainer_->evaluate(on_device(batch), sums);
  }

  std::span<float> gradients() override { return executor_->gradients(); }
  std::span<float> statistics() override { return executor_->statistics(); }
  TensorStore& state() override { return *store_; }

 private:
  static constexpr const char* kName = "resnet_cudnn";

  void check(const ModelSpec& spec) const {
    if (spec.device.kind != DeviceKind::kCuda) {
      throw ConfigError(text("model ", kName, ": device ", spec.device.index,
                             " is no GPU; it needs a strategy with GPUs, as one_gpu"));
    }
    net::check_images(options_, spec, kName);
  }

  [[nodiscard]] float initial_loss_scale() const {
    if (options_.precision != Precision::kFloat16 || options_.loss_scaling == LossScaling::kNone) {
      return 1;
    }
    if (options_.loss_scale > 0) return static_cast<float>(options_.loss_scale);
    return options_.loss_scaling == LossScaling::kDynamic ? 32768 : 128;
  }

  void save_plans() {
    if (options_.plan_cache.value.empty()) return;
    const cudnn::PlanCache::Account& account = plan_cache_.account();
    for (const std::string& stale : account.stale) {
      host_.warn(text("plan_cache ", options_.plan_cache.value, ": ", stale));
    }
    host_.report("plans_measured", static_cast<double>(account.absent + account.stale.size()), "");
    if (account.absent + account.stale.size() == 0) return;
    plan_cache_.save(system_file_ops(), options_.plan_cache.value);
  }

  static DeviceBatch on_device(const Batch& batch) {
    return {.images = batch.images.data(), .labels = batch.labels.data(), .size = batch.size};
  }

  void tell(const ModelSpec& spec) {
    net::report_size(host_, executor_->program(), spec);
    host_.report("activations", 1e-6 * static_cast<double>(executor_->layout().arena_bytes), "MB");
    host_.report("workspace", 1e-6 * static_cast<double>(executor_->workspace_bytes()), "MB");
  }

  const Options options_;
  Host& host_;
  cuda::Runtime& runtime_;
  std::optional<cudnn::Target> target_;
  cudnn::PlanCache plan_cache_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<DeviceStore> store_;
};

}  // namespace

SLACKLINE_PLUGIN(Model, ResnetModel, "resnet_cudnn",
                 "residual networks for ImageNet and CIFAR, trained on an NVIDIA GPU with cuDNN");

}  // namespace slackline
