#include "cudnn/patterns.h"

#include <slackline/error.h>

#include <cassert>
#include <string>
#include <string_view>
#include <utility>

namespace slackline::cudnn {
namespace {

constexpr cudnnDataType_t kFloat = CUDNN_DATA_FLOAT;

std::string_view name_of(cudnnDataType_t type) {
  switch (type) {
    case CUDNN_DATA_HALF:
      return "fp16";
    case CUDNN_DATA_BFLOAT16:
      return "bf16";
    case CUDNN_DATA_FLOAT:
      return "fp32";
    default:
      throw DeviceError(text("cuDNN's data type ", static_cast<int>(type),
                             " is none that networks are computed in"));
  }
}

std::string text_of(const net::Extents& extents) {
  return text(extents[0], "x", extents[1], "x", extents[2], "x", extents[3]);
}

std::string signature_of(std::string_view operation, const ConvShape& shape) {
  const net::Window& window = shape.window;
  return text(operation, " ", name_of(shape.type), " x=", text_of(shape.x),
              " w=", text_of(shape.weight()), " pad=", window.top, ",", window.left, ",",
              window.bottom, ",", window.right, " stride=", window.stride);
}

std::string signature_of(std::string_view operation, const BatchNormShape& shape) {
  return text(operation, " ", name_of(shape.type), " x=", text_of(shape.x),
              shape.has_residual ? " residual" : "", shape.relu ? " relu" : "",
              shape.has_mask ? " mask" : "");
}

net::Extents per_channel(const net::Extents& extents) { return {1, extents[1], 1, 1}; }

/// The tensors of one convolution, and the pieces that graphs around it share.
class ConvGraph {
 public:
  ConvGraph(std::string_view operation, const ConvShape& shape)
      : shape_(shape), graph_(signature_of(operation, shape)) {}

  // Tensors in memory.
  Tensor input(Uid uid) { return graph_.tensor(uid, shape_.x, shape_.type); }
  Tensor output(Uid uid) { return graph_.tensor(uid, shape_.y(), shape_.type); }
  Tensor weight(Uid uid) { return graph_.tensor(uid, shape_.weight(), shape_.type); }
  Tensor input_channels(Uid uid, cudnnDataType_t type) {
    return graph_.tensor(uid, per_channel(shape_.x), type);
  }

  // Values of the input's extents that stay in registers.
  Tensor product(Tensor a, Tensor b) { return passed(CUDNN_POINTWISE_MUL, a, b, 1); }
  Tensor sum(Tensor a, Tensor b) { return passed(CUDNN_POINTWISE_ADD, a, b, 1); }
  Tensor difference(Tensor a, Tensor b) { return passed(CUDNN_POINTWISE_ADD, a, b, -1); }
  Tensor passing_input() { return graph_.virtual_tensor(shape_.x, kFloat); }

  /// x * factor + offset, as batch norm is in front of a convolution.
  Tensor applied(Tensor x, Uid factor, Uid offset) {
    const Tensor multiplied = product(x, input_channels(factor, shape_.type));
    return sum(multiplied, input_channels(offset, shape_.type));
  }

  /// ReLU(X * factor + offset), which is not written.
  Tensor applied_relu() {
    const Tensor x = applied(input(uid::kX), uid::kFactor, uid::kOffset);
    const Tensor y = graph_.virtual_tensor(shape_.x, shape_.type);  // what is multiplied
    graph_.pointwise(CUDNN_POINTWISE_RELU_FWD, x, y);
    return y;
  }

  /// Y and its sums.
  void conv_sums(Tensor x) {
    const Tensor y = output(uid::kY);
    graph_.conv(shape_.window, x, weight(uid::kWeight), y);
    const net::Extents channels = per_channel(shape_.y());
    const Tensor sum = graph_.tensor(uid::kSum, channels, kFloat);
    graph_.channel_sums(y, sum, graph_.tensor(uid::kSquareSum, channels, kFloat));
  }

  GraphBuilder& builder() { return graph_; }
  Graph finish() { return std::move(graph_).finish(); }

 private:
  Tensor passed(cudnnPointwiseMode_t mode, Tensor a, Tensor b, float b_factor) {
    const Tensor y = passing_input();
    graph_.pointwise(mode, a, b, y, b_factor);
    return y;
  }

  const ConvShape shape_;
  GraphBuilder graph_;
};

/// A batch norm whose output is computed anew in the backward pass, from the tensors with the uids.
struct RecomputedNorm {
  Uid x, scale, bias, mean, inv_deviation;
  Uid dscale, dbias, dy_factor, x_factor, offset;
};
constexpr RecomputedNorm kMainNorm = {
    uid::kX,      uid::kScale, uid::kBias,     uid::kMean,    uid::kInvDeviation,
    uid::kDscale, uid::kDbias, uid::kDyFactor, uid::kXFactor, uid::kDxOffset};
constexpr RecomputedNorm kShortcutNorm = {
    uid::kResidual,         uid::kResidualScale,        uid::kResidualBias,
    uid::kResidualMean,     uid::kResidualInvDeviation, uid::kResidualDscale,
    uid::kResidualDbias,    uid::kResidualDyFactor,     uid::kResidualXFactor,
    uid::kResidualDxOffset,
};

/// Its tensors in a graph.
struct NormTensors {
  Tensor x, scale, mean, inv_deviation;
  Tensor y;  ///< what it computes
};

NormTensors recompute(ConvGraph& graph, const RecomputedNorm& norm) {
  NormTensors out;
  out.x = graph.input(norm.x);
  out.mean = graph.input_channels(norm.mean, kFloat);
  out.inv_deviation = graph.input_channels(norm.inv_deviation, kFloat);
  out.scale = graph.input_channels(norm.scale, kFloat);
  const Tensor centred = graph.difference(out.x, out.mean);
  const Tensor normalised = graph.product(centred, out.inv_deviation);
  const Tensor scaled = graph.product(normalised, out.scale);
  out.y = graph.sum(scaled, graph.input_channels(norm.bias, kFloat));
  return out;
}

void sum_backward(ConvGraph& graph, const RecomputedNorm& norm, const NormTensors& tensors,
                  Tensor dz) {
  const auto written = [&](Uid uid) { return graph.input_channels(uid, kFloat); };
  graph.builder().batch_norm_backward_weights({.dy = dz,
                                               .x = tensors.x,
                                               .scale = tensors.scale,
                                               .mean = tensors.mean,
                                               .inv_deviation = tensors.inv_deviation,
                                               .dscale = written(norm.dscale),
                                               .dbias = written(norm.dbias),
                                               .dy_factor = written(norm.dy_factor),
                                               .x_factor = written(norm.x_factor),
                                               .offset = written(norm.offset)});
}

}  // namespace

ConvShape dense_shape(cudnnDataType_t type, std::int64_t n, std::int64_t in, std::int64_t out) {
  return {.type = type, .x = {n, in, 1, 1}, .out_channels = out, .window = {}};
}

ConvShape space_to_depth_stem_shape(cudnnDataType_t type, std::int64_t n, std::int64_t height,
                                    std::int64_t width) {
  assert(height % 2 == 0 && width % 2 == 0);
  return {.type = type,
          .x = {n, 16, (height + 6) / 2, (width + 6) / 2},
          .out_channels = 64,
          .window = {.height = 4, .width = 4}};
}

Graph conv(const ConvShape& shape) {
  ConvGraph graph("conv_fwd", shape);
  const Tensor x = graph.input(uid::kX), weight = graph.weight(uid::kWeight);
  graph.builder().conv(shape.window, x, weight, graph.output(uid::kY));
  return graph.finish();
}

Graph conv_backward_data(const ConvShape& shape) {
  ConvGraph graph("conv_dgrad", shape);
  const Tensor dy = graph.output(uid::kDy), weight = graph.weight(uid::kWeight);
  graph.builder().conv_backward_data(shape.window, dy, weight, graph.input(uid::kDx));
  return graph.finish();
}

Graph conv_backward_weights(const ConvShape& shape) {
  ConvGraph graph("conv_wgrad", shape);
  const Tensor x = graph.input(uid::kX), dy = graph.output(uid::kDy);
  graph.builder().conv_backward_weights(shape.window, x, dy, graph.weight(uid::kDweight));
  return graph.finish();
}

Graph batch_norm(const BatchNormShape& shape) {
  assert(shape.relu || !shape.has_mask);
  GraphBuilder graph(signature_of("bn_fwd", shape));
  const auto stored = [&](Uid uid) { return graph.tensor(uid, shape.x, shape.type); };
  const auto passing = [&] { return graph.virtual_tensor(shape.x, kFloat); };
  const auto channels = [&](Uid uid) { return graph.tensor(uid, per_channel(shape.x), kFloat); };

  const Tensor x = stored(uid::kX);
  const bool ends_here = !shape.has_residual && !shape.relu;
  Tensor y = ends_here ? stored(uid::kY) : passing();
  graph.batch_norm({.x = x,
                    .scale = channels(uid::kScale),
                    .bias = channels(uid::kBias),
                    .epsilon = graph.scalar(static_cast<float>(shape.epsilon)),
                    .running_mean = channels(uid::kRunningMean),
                    .running_variance = channels(uid::kRunningVariance),
                    .new_running_mean = channels(uid::kNewRunningMean),
                    .new_running_variance = channels(uid::kNewRunningVariance),
                    .momentum = graph.scalar(static_cast<float>(shape.momentum)),
                    .y = y,
                    .mean = channels(uid::kMean),
                    .inv_deviation = channels(uid::kInvDeviation)});
  if (shape.has_residual) {
    const Tensor sum = shape.relu ? passing() : stored(uid::kY);
    graph.pointwise(CUDNN_POINTWISE_ADD, y, stored(uid::kResidual), sum);
    y = sum;
  }
  if (shape.relu) {
    const Tensor positive = stored(uid::kY);
    graph.pointwise(CUDNN_POINTWISE_RELU_FWD, y, positive);
    y = positive;
  }
  if (shape.has_mask) {
    const Tensor mask = graph.tensor(uid::kMask, shape.x, CUDNN_DATA_BOOLEAN);
    graph.pointwise(CUDNN_POINTWISE_CMP_GT, y, graph.scalar(0.0F), mask);
  }
  return std::move(graph).finish();
}

Graph batch_norm_backward(const BatchNormShape& shape) {
  GraphBuilder graph(signature_of("bn_bwd", shape));
  const auto stored = [&](Uid uid) { return graph.tensor(uid, shape.x, shape.type); };
  const auto channels = [&](Uid uid) { return graph.tensor(uid, per_channel(shape.x), kFloat); };

  Tensor dy = stored(uid::kDy);
  if (shape.has_mask) {
    const Tensor mask = graph.tensor(uid::kMask, shape.x, CUDNN_DATA_BOOLEAN);
    // Engines are found only if what passes has the type of what is stored.
    const Tensor dz =
        shape.has_residual ? stored(uid::kDz) : graph.virtual_tensor(shape.x, shape.type);
    graph.pointwise(CUDNN_POINTWISE_MUL, dy, mask, dz);
    dy = dz;
  }
  graph.batch_norm_backward({.dy = dy,
                             .x = stored(uid::kX),
                             .scale = channels(uid::kScale),
                             .mean = channels(uid::kMean),
                             .inv_deviation = channels(uid::kInvDeviation),
                             .dx = stored(uid::kDx),
                             .dscale = channels(uid::kDscale),
                             .dbias = channels(uid::kDbias)});
  return std::move(graph).finish();
}

Graph conv_sums(const ConvShape& shape) {
  ConvGraph graph("conv_sums", shape);
  graph.conv_sums(graph.input(uid::kX));
  return graph.finish();
}

Graph apply_conv_sums(const ConvShape& shape) {
  ConvGraph graph("apply_conv_sums", shape);
  graph.conv_sums(graph.applied_relu());
  return graph.finish();
}

Graph add_apply_conv_sums(const ConvShape& shape, Shortcut shortcut) {
  assert(shortcut != Shortcut::kNone);
  const bool is_projection = shortcut == Shortcut::kProjection;
  ConvGraph graph(is_projection ? "apply_add_apply_conv_sums" : "add_apply_conv_sums", shape);
  const Tensor x = graph.applied(graph.input(uid::kX), uid::kFactor, uid::kOffset);
  Tensor residual = graph.input(uid::kResidual);
  if (is_projection) {
    residual = graph.applied(residual, uid::kResidualFactor, uid::kResidualOffset);
  }
  const Tensor activation = graph.input(uid::kActivation);
  graph.builder().pointwise(CUDNN_POINTWISE_RELU_FWD, graph.sum(x, residual), activation);
  graph.conv_sums(activation);
  return graph.finish();
}

Graph apply_conv_backward_weights(const ConvShape& shape) {
  ConvGraph graph("apply_conv_wgrad", shape);
  const Tensor x = graph.applied_relu(), dy = graph.output(uid::kDy);
  graph.builder().conv_backward_weights(shape.window, x, dy, graph.weight(uid::kDweight));
  return graph.finish();
}

Graph conv_backward_data_sums(const ConvShape& shape, Shortcut shortcut) {
  constexpr std::string_view kNames[] = {"conv_dgrad_sums", "conv_dgrad_add_sums",
                                         "conv_dgrad_add_two_sums"};
  ConvGraph graph(kNames[static_cast<std::size_t>(shortcut)], shape);
  Tensor dy = graph.passing_input();
  graph.builder().conv_backward_data(shape.window, graph.output(uid::kDy),
                                     graph.weight(uid::kWeight), dy);
  if (shortcut != Shortcut::kNone) dy = graph.sum(dy, graph.input(uid::kDyOther));

  const NormTensors main = recompute(graph, kMainNorm);
  NormTensors other;
  Tensor before_relu = main.y;
  if (shortcut == Shortcut::kProjection) {
    other = recompute(graph, kShortcutNorm);
    before_relu = graph.sum(main.y, other.y);
  } else if (shortcut == Shortcut::kIdentity) {
    before_relu = graph.sum(main.y, graph.input(uid::kResidual));
  }
  const Tensor dz = graph.input(uid::kDz);
  graph.builder().relu_backward(dy, before_relu, dz);
  sum_backward(graph, kMainNorm, main, dz);
  if (shortcut == Shortcut::kProjection) sum_backward(graph, kShortcutNorm, other, dz);
  return graph.finish();
}

Graph batch_norm_finalize(const BatchNormFinalizeShape& shape) {
  GraphBuilder graph(text("bn_finalize ", name_of(shape.type), " c=", shape.channels));
  const net::Extents extents = {1, shape.channels, 1, 1};
  const auto channels = [&](Uid uid) { return graph.tensor(uid, extents, kFloat); };
  graph.batch_norm_finalize({.sum = channels(uid::kSum),
                             .square_sum = channels(uid::kSquareSum),
                             .count = graph.scalar(shape.count),
                             .scale = channels(uid::kScale),
                             .bias = channels(uid::kBias),
                             .epsilon = graph.scalar(static_cast<float>(shape.epsilon)),
                             .running_mean = channels(uid::kRunningMean),
                             .running_variance = channels(uid::kRunningVariance),
                             .new_running_mean = channels(uid::kNewRunningMean),
                             .new_running_variance = channels(uid::kNewRunningVariance),
                             .momentum = graph.scalar(static_cast<float>(shape.momentum)),
                             .mean = channels(uid::kMean),
                             .inv_deviation = channels(uid::kInvDeviation),
                             .equivalent_scale = graph.tensor(uid::kFactor, extents, shape.type),
                             .equivalent_bias = graph.tensor(uid::kOffset, extents, shape.type)});
  return std::move(graph).finish();
}

}  // namespace slackline::cudnn
