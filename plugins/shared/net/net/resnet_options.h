#pragma once

#include <slackline/host.h>
#include <slackline/model.h>
#include <slackline/options.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "net/reference.h"
#include "net/resnet.h"

/// What models of residual networks have in common, whatever they compute on.
namespace slackline::net {

struct ResnetOptions {
  std::int32_t depth = 50;
  Padding padding = Padding::kSame;
  Fusion fusion = Fusion::kBatchNorm;
  double label_smoothing = 0;
  std::array<double, 3> mean{123.68, 116.78, 103.94};
  std::array<double, 3> std{1, 1, 1};
};

/// The rows of a table of options that has those above among its own.
template <class Options>
struct ResnetRows {
  static Option<Options> depth() {
    return option<Options, std::int32_t>(
               "depth", &Options::depth,
               "18, 34 or 50: ImageNet's networks, with the stride of a bottleneck on its 3x3 "
               "convolution; 20 or 56: CIFAR's")
        .range(18, 56)
        .unit("layers");
  }
  static Option<Options> padding() {
    return choice<Options, Padding>(
        "padding", &Options::padding,
        {{"same", Padding::kSame}, {"symmetric", Padding::kSymmetric}},
        "same: TensorFlow's, the odd pixel at the bottom and the right; symmetric: PyTorch's, "
        "needed for its weights");
  }
  static Option<Options> fusion() {
    return choice<Options, Fusion>(
        "fusion", &Options::fusion,
        {{"none", Fusion::kSeparate}, {"batch_norm", Fusion::kBatchNorm}},
        "none: every operation goes through memory, as upstream without XLA; batch_norm: with its "
        "residual sum and ReLU in one, as upstream with XLA");
  }
  static Option<Options> label_smoothing() {
    return option<Options, double>("label_smoothing", &Options::label_smoothing,
                                   "share of the target that is spread evenly over all classes")
        .range(0.0, 1.0);
  }
  static Option<Options> mean() {
    return option<Options, std::array<double, 3>>("mean", &Options::mean,
                                                  "subtracted from the pixels: of red, green, blue")
        .range(0.0, 255.0);
  }
  static Option<Options> std() {
    return option<Options, std::array<double, 3>>(
               "std", &Options::std, "what the pixels are divided by: of red, green, blue")
        .range(1e-3, 1e3);
  }
};

// `model` is the plugin's name, for messages.

/// Throws ConfigError if there is no network of this depth.
void check_depth(const ResnetOptions& options, const std::string& model);
/// Throws ConfigError if the images are not RGB or too small for the network.
void check_images(const ResnetOptions& options, const ModelSpec& spec, const std::string& model);

[[nodiscard]] Program build_resnet(const ResnetOptions& options, const ModelSpec& spec);
[[nodiscard]] Normalisation normalisation_of(const ResnetOptions& options);

/// Parameters and arithmetic, into the results.
void report_size(Host& host, const Program& program, const ModelSpec& spec);

}  // namespace slackline::net
