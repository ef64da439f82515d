#include "net/resnet.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>
#include <vector>

namespace slackline::net {
namespace {

struct Stage {
  std::int64_t width;   ///< channels of a block's 3x3 convolutions
  std::int64_t stride;  ///< of its first block
  int blocks;
};

/// What a depth stands for.
struct Architecture {
  std::int32_t depth;
  bool is_cifar;
  bool has_bottlenecks;
  std::vector<Stage> stages;
};

std::vector<Architecture> architectures() {
  const auto imagenet = [](std::array<int, 4> blocks) {
    return std::vector<Stage>{
        {64, 1, blocks[0]}, {128, 2, blocks[1]}, {256, 2, blocks[2]}, {512, 2, blocks[3]}};
  };
  const auto cifar = [](int blocks) {
    return std::vector<Stage>{{16, 1, blocks}, {32, 2, blocks}, {64, 2, blocks}};
  };
  return {{18, false, false, imagenet({2, 2, 2, 2})},
          {34, false, false, imagenet({3, 4, 6, 3})},
          {50, false, true, imagenet({3, 4, 6, 3})},
          {20, true, false, cifar(3)},
          {56, true, false, cifar(9)}};
}

const Architecture* find_architecture(std::int32_t depth) {
  static const std::vector<Architecture> all = architectures();
  const auto found = std::ranges::find(all, depth, &Architecture::depth);
  return found == all.end() ? nullptr : &*found;
}

class Builder {
 public:
  explicit Builder(const ResnetSpec& spec)
      : spec_(spec), architecture_(*find_architecture(spec.depth)) {
    program_.label_smoothing = spec.label_smoothing;
  }

  Program build() {
    TensorId x = activation("images", {spec_.batch_size, 3, spec_.height, spec_.width});
    program_.ops.emplace_back(Ingest{.y = x});
    x = architecture_.is_cifar ? cifar_stem(x) : imagenet_stem(x);
    for (std::size_t i = 0; i < architecture_.stages.size(); ++i) {
      x = stage(x, architecture_.stages[i], "layer" + std::to_string(i + 1));
    }
    head(x);
    add_gradients();
    append_backward(program_, spec_.fusion);
    return std::move(program_);
  }

 private:
  TensorId imagenet_stem(TensorId x) {
    const Window window{
        .height = 7, .width = 7, .stride = 2, .top = 3, .left = 3, .bottom = 3, .right = 3};
    x = conv(x, 64, window, "conv1");
    x = batch_norm(x, "bn1", kNone, true);
    return max_pool(x, window_for(x, 3, 2));
  }

  TensorId cifar_stem(TensorId x) {
    x = conv(x, architecture_.stages.front().width, window_for(x, 3, 1), "conv1");
    return batch_norm(x, "bn1", kNone, true);
  }

  TensorId stage(TensorId x, const Stage& stage, const std::string& name) {
    for (int i = 0; i < stage.blocks; ++i) {
      x = block(x, stage.width, i == 0 ? stage.stride : 1, name + "." + std::to_string(i));
    }
    return x;
  }

  TensorId block(TensorId input, std::int64_t width, std::int64_t stride, const std::string& name) {
    const bool is_first = name.ends_with(".0");
    const std::int64_t out_channels = architecture_.has_bottlenecks ? 4 * width : width;
    const auto layer = [&](TensorId x, int i, std::int64_t channels, std::int64_t size,
                           std::int64_t with_stride) {
      return conv(x, channels, window_for(x, size, with_stride),
                  name + ".conv" + std::to_string(i));
    };
    const auto normalised = [&](TensorId x, int i) {
      return batch_norm(x, name + ".bn" + std::to_string(i), kNone, true);
    };
    TensorId x = input;
    int last = 2;
    if (architecture_.has_bottlenecks) {
      x = normalised(layer(x, 1, width, 1, 1), 1);
      x = normalised(layer(x, 2, width, 3, stride), 2);
      x = layer(x, 3, out_channels, 1, 1);
      last = 3;
    } else {
      x = normalised(layer(x, 1, width, 3, stride), 1);
      x = layer(x, 2, out_channels, 3, 1);
    }
    // torchvision's order of parameters has the projection behind the last batch norm.
    const auto norm = add_batch_norm_parameters(out_channels, name + ".bn" + std::to_string(last));
    const bool changes_shape = stride != 1 || program_.tensor(input).extents[1] != out_channels;
    TensorId shortcut = input;
    if (is_first && (changes_shape || architecture_.is_cifar)) {
      shortcut = conv(input, out_channels, window_for(input, 1, stride), name + ".downsample.0");
      shortcut = batch_norm(shortcut, name + ".downsample.1", kNone, false);
    }
    return batch_norm(x, norm, shortcut, true);
  }

  void head(TensorId x) {
    const Extents in = program_.tensor(x).extents;
    const TensorId pooled = activation("pooled", {in[0], in[1], 1, 1});
    program_.ops.emplace_back(AveragePool{.x = x, .y = pooled});
    const TensorId weight = parameter("fc.weight", {spec_.classes, in[1], 1, 1}, true, true);
    const TensorId bias = parameter("fc.bias", {spec_.classes, 1, 1, 1}, false, true);
    const TensorId logits = activation("logits", {in[0], spec_.classes, 1, 1});
    program_.ops.emplace_back(Dense{.x = pooled, .weight = weight, .bias = bias, .y = logits});
    const TensorId dlogits = activation("d logits", {in[0], spec_.classes, 1, 1});
    program_.ops.emplace_back(SoftmaxLoss{.logits = logits, .dlogits = dlogits});
  }

  /// TensorFlow's SAME: out = ceil(in / stride), with just the pixels that this needs.
  [[nodiscard]] Window window_for(TensorId x, std::int64_t size, std::int64_t stride) const {
    const Extents& in = program_.tensor(x).extents;
    Window window{.height = size, .width = size, .stride = stride};
    if (spec_.padding == Padding::kSymmetric) {
      window.top = window.left = window.bottom = window.right = size / 2;
      return window;
    }
    const auto needed = [&](std::int64_t extent) {
      const std::int64_t out = (extent + stride - 1) / stride;
      return std::max<std::int64_t>(0, (out - 1) * stride + size - extent);
    };
    window.top = needed(in[2]) / 2;
    window.bottom = needed(in[2]) - window.top;
    window.left = needed(in[3]) / 2;
    window.right = needed(in[3]) - window.left;
    return window;
  }

  [[nodiscard]] Extents extents_behind(TensorId x, std::int64_t channels,
                                       const Window& window) const {
    const Extents& in = program_.tensor(x).extents;
    return {in[0], channels, window.out_height(in[2]), window.out_width(in[3])};
  }

  TensorId conv(TensorId x, std::int64_t channels, const Window& window, const std::string& name) {
    const std::int64_t in_channels = program_.tensor(x).extents[1];
    const TensorId weight = parameter(
        name + ".weight", {channels, in_channels, window.height, window.width}, true, true);
    const TensorId y = activation(name, extents_behind(x, channels, window));
    program_.ops.emplace_back(Conv{.x = x, .weight = weight, .y = y, .window = window});
    return y;
  }

  TensorId max_pool(TensorId x, const Window& window) {
    const Extents extents = extents_behind(x, program_.tensor(x).extents[1], window);
    const TensorId y = activation("maxpool", extents);
    const TensorId index =
        add({.name = "maxpool index", .kind = TensorKind::kIndex, .extents = extents});
    program_.ops.emplace_back(MaxPool{.x = x, .y = y, .index = index, .window = window});
    return y;
  }

  struct BatchNormParameters {
    std::string name;
    TensorId scale, bias, running_mean, running_variance;
  };

  BatchNormParameters add_batch_norm_parameters(std::int64_t channels, const std::string& name) {
    const Extents extents{channels, 1, 1, 1};
    const auto statistic = [&](const char* what) {
      return add({.name = name + what, .kind = TensorKind::kStatistic, .extents = extents});
    };
    return {.name = name,
            .scale = parameter(name + ".weight", extents, false, false),
            .bias = parameter(name + ".bias", extents, false, false),
            .running_mean = statistic(".running_mean"),
            .running_variance = statistic(".running_var")};
  }

  TensorId batch_norm(TensorId x, const std::string& name, TensorId residual, bool relu) {
    return batch_norm(x, add_batch_norm_parameters(program_.tensor(x).extents[1], name), residual,
                      relu);
  }

  TensorId batch_norm(TensorId x, const BatchNormParameters& of, TensorId residual, bool relu) {
    const Extents extents = program_.tensor(x).extents;
    const Extents channel{extents[1], 1, 1, 1};
    const bool is_fused = spec_.fusion == Fusion::kBatchNorm;
    const auto saved = [&](const char* what) {
      return add({.name = of.name + what, .kind = TensorKind::kChannel, .extents = channel});
    };
    TensorId y = activation(of.name, extents);
    program_.ops.emplace_back(BatchNorm{.x = x,
                                        .scale = of.scale,
                                        .bias = of.bias,
                                        .running_mean = of.running_mean,
                                        .running_variance = of.running_variance,
                                        .residual = is_fused ? residual : kNone,
                                        .y = y,
                                        .mean = saved(" mean"),
                                        .inv_deviation = saved(" 1/deviation"),
                                        .relu = is_fused && relu});
    if (is_fused) return y;
    if (residual != kNone) {
      const TensorId sum = activation(of.name + " sum", extents);
      program_.ops.emplace_back(Add{.a = y, .b = residual, .y = sum});
      y = sum;
    }
    if (relu) {
      const TensorId rectified = activation(of.name + " relu", extents);
      program_.ops.emplace_back(Relu{.x = y, .y = rectified});
      y = rectified;
    }
    return y;
  }

  TensorId add(Tensor tensor) {
    program_.tensors.push_back(std::move(tensor));
    return static_cast<TensorId>(program_.tensors.size()) - 1;
  }
  TensorId activation(std::string name, const Extents& extents) {
    return add({.name = std::move(name), .kind = TensorKind::kActivation, .extents = extents});
  }
  TensorId parameter(std::string name, const Extents& extents, bool is_kernel, bool is_decayed) {
    return add({.name = std::move(name),
                .kind = TensorKind::kParameter,
                .extents = extents,
                .is_kernel = is_kernel,
                .is_decayed = is_decayed});
  }

  void add_gradients() {
    for (const TensorId id : program_.all(TensorKind::kParameter)) {
      const Tensor of = program_.tensor(id);
      const TensorId gradient = add({.name = "gradient." + of.name,
                                     .kind = TensorKind::kGradient,
                                     .extents = of.extents,
                                     .is_kernel = of.is_kernel});
      program_.tensors[static_cast<std::size_t>(id)].gradient = gradient;
    }
  }

  const ResnetSpec spec_;
  const Architecture& architecture_;
  Program program_;
};

}  // namespace

bool is_resnet_depth(std::int32_t depth) { return find_architecture(depth) != nullptr; }

// With less, a convolution of the last stage would look at padding alone, or batch norm at one
// value.
std::int64_t smallest_image(std::int32_t depth) {
  return find_architecture(depth)->is_cifar ? 8 : 32;
}

Program build_resnet(const ResnetSpec& spec) {
  assert(is_resnet_depth(spec.depth));
  return Builder(spec).build();
}

}  // namespace slackline::net
