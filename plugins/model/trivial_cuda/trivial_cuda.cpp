// The model of upstream's input-ceiling benchmark on an NVIDIA GPU: the upload of the pixels is
// most of its step, so the input sets the pace.

#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/plugin.h>

#include "net/resnet_options.h"
#include "net/trivial.h"
#include "net_cuda/program_model.h"

namespace slackline {
namespace {

class TrivialModel final : public net::cuda::ProgramModel {
 public:
  explicit TrivialModel(Host& host) : ProgramModel(kName), host_(host) {}

  void build(const ModelSpec& spec) override {
    require_gpu(spec);
    if (spec.image.channels != 3) {
      throw ConfigError(text("model ", kName, ": images have ", spec.image.channels,
                             " channels, and this model takes 3 (RGB)"));
    }
    assemble(net::build_trivial({.batch_size = spec.max_batch_size,
                                 .height = spec.image.height,
                                 .width = spec.image.width,
                                 .classes = spec.num_classes}),
             {.normalisation = net::trivial_normalisation()}, net::cuda::Launch::kGraph, spec);
    const net::Program& program = executor().program();
    for (const net::TensorId id : program.all(net::TensorKind::kParameter)) {
      executor().write(executor().values(), id,
                       net::trivial_initial_values(program, id, spec.seed));
    }
    net::report_size(host_, program, spec);
  }

 private:
  static constexpr const char* kName = "trivial_cuda";

  Host& host_;
};

}  // namespace

SLACKLINE_PLUGIN(Model, TrivialModel, "trivial_cuda",
                 "all pixels to one number, that to the classes, on an NVIDIA GPU: shows what the "
                 "input can give");

}  // namespace slackline
