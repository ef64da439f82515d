#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// Networks as flat lists of typed operations on tensors: built once, then planned and executed by
/// whatever has an implementation of each. Nothing here knows a layout, a type of number or a
/// device.
namespace slackline::net {

/// Logical extents, in PyTorch's order: (N, C, H, W) for activations, (K, C, R, S) for the weights
/// of convolutions, (out, in, 1, 1) for those of a dense layer, (C, 1, 1, 1) for what is per
/// channel.
using Extents = std::array<std::int64_t, 4>;

[[nodiscard]] constexpr std::size_t values_of(const Extents& extents) {
  return static_cast<std::size_t>(extents[0] * extents[1] * extents[2] * extents[3]);
}

/// Place in Program::tensors.
using TensorId = std::int32_t;
inline constexpr TensorId kNone = -1;

enum class TensorKind : std::uint8_t {
  kActivation,  ///< written and read within a step: what the planner places. N is the batch's
  kChannel,     ///< likewise, one value a channel: a batch's mean or 1/deviation
  kIndex,       ///< likewise: which of its inputs a pooled maximum was; any type the executor likes
  kParameter,   ///< trained; persistent
  kGradient,    ///< of a parameter; persistent, as replicas exchange it after the step
  kStatistic,   ///< running mean or variance; persistent
};

struct Tensor {
  std::string name;  ///< parameters and statistics: torchvision's; else for people
  TensorKind kind = TensorKind::kActivation;
  Extents extents{};
  bool is_kernel =
      false;  ///< parameter and gradient: of a convolution's or a dense layer's weights
  bool is_decayed = false;    ///< parameter: in Keras's L2 loss, that is kernels and the dense bias
  TensorId gradient = kNone;  ///< parameter: its gradient's tensor
};

/// What a convolution or a pool looks through. Padding is zeros, or nothing at all for a maximum.
struct Window {
  std::int64_t height = 1, width = 1;
  std::int64_t stride = 1;
  std::int64_t top = 0, left = 0, bottom = 0, right = 0;  ///< padding, in pixels

  [[nodiscard]] std::int64_t out_height(std::int64_t in) const {
    return (in + top + bottom - height) / stride + 1;
  }
  [[nodiscard]] std::int64_t out_width(std::int64_t in) const {
    return (in + left + right - width) / stride + 1;
  }
};

/// How pixels become a network's input: (pixel - mean) / deviation by channel, in float32 on every
/// device and in the reference, so that all start from the same bits.
struct Normalisation {
  std::array<float, 3> mean{};
  std::array<float, 3> inv_deviation{1, 1, 1};

  [[nodiscard]] float apply(std::uint8_t pixel, std::size_t channel) const {
    return (static_cast<float>(pixel) - mean[channel]) * inv_deviation[channel];
  }
};

// The operations. Fields are tensors unless they say otherwise. `y` is written, `x` read; `dy` is
// the derivative of the loss by y, and so on. Where a field says "may be dy", the operation works
// in place. Every operation overwrites what it writes.

/// y = Normalisation of the batch's uint8 (N, H, W, 3).
struct Ingest {
  TensorId y;
};
struct Conv {
  TensorId x, weight, y;
  Window window;
};
/// With the batch's own statistics in training, and the running ones in evaluation:
/// y = (x - mean) * inv_deviation * scale + bias [+ residual] [, then max(y, 0)].
/// Training also moves the statistics, with the unbiased variance, as PyTorch and TensorFlow do.
struct BatchNorm {
  TensorId x, scale, bias, running_mean, running_variance;
  TensorId residual;  ///< or kNone
  TensorId y;
  TensorId mean, inv_deviation;  ///< written, for the backward pass
  bool relu;
};
struct Relu {
  TensorId x, y;
};
struct Add {
  TensorId a, b, y;
};
/// Padding does not take part. Of equal values the first one counts, row by row.
struct MaxPool {
  TensorId x, y, index;
  Window window;
};
/// (N, C, H, W) to (N, C, 1, 1).
struct AveragePool {
  TensorId x, y;
};
/// x's values of a sample are taken in the order (H, W, C), as TensorFlow flattens them.
struct Dense {
  TensorId x, weight, bias, y;
};
/// Softmax cross-entropy with the batch's labels. In training, writes the derivative by the logits
/// of the summed loss over `global_batch_size`.
struct SoftmaxLoss {
  TensorId logits;
  TensorId dlogits;
};

struct ConvBackwardData {
  TensorId dy, weight, dx;
  Window window;
};
struct ConvBackwardWeights {
  TensorId x, dy, dweight;
  Window window;
};
/// The derivative by y is dy [+ dy_other] [, where y > 0]; that is dz, which goes to the residual.
struct BatchNormBackward {
  TensorId dy;
  TensorId dy_other;  ///< or kNone
  TensorId y;         ///< with relu; else kNone
  TensorId x, scale, mean, inv_deviation;
  TensorId dx;         ///< may be dy if there is no dresidual
  TensorId dresidual;  ///< dz; may be dy; or kNone
  TensorId dscale, dbias;
};
struct ReluBackward {
  TensorId dy, y;
  TensorId dx;  ///< may be dy
};
/// into += from.
struct Accumulate {
  TensorId from, into;
};
struct MaxPoolBackward {
  TensorId dy, index, dx;
  Window window;
};
struct AveragePoolBackward {
  TensorId dy, dx;
};
struct DenseBackward {
  TensorId dy, x, weight;
  TensorId dx;  ///< or kNone
  TensorId dweight, dbias;
};

using Op =
    std::variant<Ingest, Conv, BatchNorm, Relu, Add, MaxPool, AveragePool, Dense, SoftmaxLoss,
                 ConvBackwardData, ConvBackwardWeights, BatchNormBackward, ReluBackward, Accumulate,
                 MaxPoolBackward, AveragePoolBackward, DenseBackward>;

[[nodiscard]] std::string_view name_of(const Op& op);

/// What an operation touches. Persistent tensors are listed too; kNone is not.
struct Accesses {
  std::vector<TensorId> reads, writes;
};
[[nodiscard]] Accesses accesses_of(const Op& op);

/// How much of batch norm, its sum and its ReLU is one operation.
enum class Fusion : std::uint8_t {
  kSeparate,   ///< everything apart
  kBatchNorm,  ///< batch norm, residual sum and ReLU in one; sums of gradients in its backward
};

struct Program {
  std::vector<Tensor> tensors;
  std::vector<Op> ops;  ///< the forward pass, then the backward pass
  std::size_t forward_ops = 0;
  double epsilon = 1e-5;  ///< of every batch norm
  double keep = 0.9;      ///< running = keep * running + (1 - keep) * batch's
  float label_smoothing = 0;

  [[nodiscard]] const Tensor& tensor(TensorId id) const {
    return tensors[static_cast<std::size_t>(id)];
  }
  /// Tensors of a kind, in order.
  [[nodiscard]] std::vector<TensorId> all(TensorKind kind) const;
  /// Values of all tensors of a kind.
  [[nodiscard]] std::size_t count(TensorKind kind) const;
};

/// What an operation does and of which layer, for people: "conv data grad layer1.0.conv2". No two
/// convolutions, batch norms or dense layers of a program have the same.
[[nodiscard]] std::string label_of(const Program& program, const Op& op);

/// Multiplications and additions of the operation, each counted, of convolutions and dense layers;
/// 0 for the others, whose time is their memory's.
[[nodiscard]] std::int64_t flop_of(const Program& program, const Op& op);

/// Appends the backward pass of everything before it, in reverse order.
void append_backward(Program& program, Fusion fusion);

}  // namespace slackline::net
