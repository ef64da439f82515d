#include "net/resnet_options.h"

#include <slackline/error.h>

#include <cstddef>

namespace slackline::net {

void check_depth(const ResnetOptions& options, const std::string& model) {
  if (is_resnet_depth(options.depth)) return;
  throw ConfigError("depth", text("model ", model, ": there is no network of depth ", options.depth,
                                  ": 18, 34, 50, or CIFAR's 20, 56"));
}

void check_images(const ResnetOptions& options, const ModelSpec& spec, const std::string& model) {
  if (spec.image.channels != 3) {
    throw ConfigError(text("model ", model, ": images have ", spec.image.channels,
                           " channels, and this model takes 3 (RGB)"));
  }
  const std::int64_t smallest = smallest_image(options.depth);
  if (spec.image.height < smallest || spec.image.width < smallest) {
    throw ConfigError(
        "depth", text("model ", model, ": images of ", spec.image.height, " by ", spec.image.width,
                      " pixels are too small for depth ", options.depth, ", which needs ", smallest,
                      " or more ([input] image_size)"));
  }
}

Program build_resnet(const ResnetOptions& options, const ModelSpec& spec) {
  return build_resnet({.depth = options.depth,
                       .batch_size = spec.max_batch_size,
                       .height = spec.image.height,
                       .width = spec.image.width,
                       .classes = spec.num_classes,
                       .padding = options.padding,
                       .fusion = options.fusion,
                       .label_smoothing = static_cast<float>(options.label_smoothing)});
}

Normalisation normalisation_of(const ResnetOptions& options) {
  Normalisation normalisation;
  for (std::size_t c = 0; c < 3; ++c) {
    normalisation.mean[c] = static_cast<float>(options.mean[c]);
    normalisation.inv_deviation[c] = static_cast<float>(1 / options.std[c]);
  }
  return normalisation;
}

void report_size(Host& host, const Program& program, const ModelSpec& spec) {
  std::int64_t flop = 0;
  for (const Op& op : program.ops) flop += flop_of(program, op);
  host.report("parameters", static_cast<double>(program.count(TensorKind::kParameter)), "");
  host.report("flop_per_image",
              1e-9 * static_cast<double>(flop) / static_cast<double>(spec.max_batch_size), "GFLOP");
}

}  // namespace slackline::net
