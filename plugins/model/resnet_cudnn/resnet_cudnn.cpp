// Residual networks on NVIDIA's GPUs: convolutions by cuDNN, everything else by kernels of our own,
// a whole step as one CUDA graph.

#include <slackline/file_ops.h>
#include <slackline/model.h>
#include <slackline/plugin.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "cudnn/plan_cache.h"
#include "cudnn/target.h"
#include "loss_scaling.h"
#include "net/resnet_options.h"
#include "net_cuda/program_model.h"

namespace slackline {
namespace {

using net::cuda::Launch;
using net::cuda::Precision;

class ResnetModel final : public net::cuda::ProgramModel {
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
                 "file of cuDNN's fastest engines for full batches: what is not in it is measured "
                 "when the model is built, and put into it. Empty: cuDNN's first suggestions")
              .example("\"cudnn_plans.json\""),
          Rows::label_smoothing(),
          Rows::mean(),
          Rows::std(),
      };
    }
  };

  ResnetModel(const Options& options, Host& host)
      : ProgramModel(kName), options_(options), host_(host) {
    net::check_depth(options, kName);
  }

  void build(const ModelSpec& spec) override {
    require_gpu(spec);
    net::check_images(options_, spec, kName);
    std::optional<cudnn::PlanCache> plans;
    if (has_plan_cache()) plans = cudnn::PlanCache::load(options_.plan_cache.value);
    const bool is_fp16 = options_.precision == Precision::kFloat16;
    assemble(net::build_resnet(options_, spec),
             {.precision = options_.precision,
              .normalisation = net::normalisation_of(options_),
              .loss_scale = initial_loss_scale(options_.precision, options_.loss_scaling,
                                               options_.loss_scale),
              .is_loss_scale_dynamic = is_fp16 && options_.loss_scaling == LossScaling::kDynamic,
              .policy = {.deterministic = options_.deterministic,
                         .tf32 = options_.tf32,
                         .runtime_compiled = false}},  // seconds each, and none is needed
             options_.launch, spec, std::move(plans));
    save_plans();
    executor().set_initial_values(spec.seed);
    tell(spec);
  }

 private:
  static constexpr const char* kName = "resnet_cudnn";

  [[nodiscard]] bool has_plan_cache() const { return !options_.plan_cache.value.empty(); }

  void save_plans() {
    if (!has_plan_cache()) return;
    const cudnn::PlanCache::Account& account = plans().account();
    for (const std::string& stale : account.stale) {
      host_.warn(text("plan_cache ", options_.plan_cache.value, ": ", stale));
    }
    for (const std::string& failed : executor().failed_plans()) {
      host_.warn(text("plan_cache ", options_.plan_cache.value, ": not measured: ", failed));
    }
    host_.report("plans_measured", static_cast<double>(account.absent + account.stale.size()), "");
    if (account.absent + account.stale.size() == 0) return;
    plans().save(system_file_ops(), options_.plan_cache.value);
  }

  void tell(const ModelSpec& spec) {
    net::report_size(host_, executor().program(), spec);
    host_.report("activations", 1e-6 * static_cast<double>(executor().layout().arena_bytes), "MB");
    host_.report("workspace", 1e-6 * static_cast<double>(executor().workspace_bytes()), "MB");
    const std::size_t version = cudnn::library_version();  // a number, and behind it to be read
    host_.report("cudnn", static_cast<double>(version),
                 text("(", cudnn::version_text(version), ")"));
  }

  const Options options_;
  Host& host_;
};

}  // namespace

SLACKLINE_PLUGIN(Model, ResnetModel, "resnet_cudnn",
                 "residual networks for ImageNet and CIFAR, trained on an NVIDIA GPU with cuDNN");

}  // namespace slackline
