#pragma once

#include <cstdint>

#include <cudnn_graph.h>

#include "cudnn/graph.h"
#include "net/program.h"

/// The graphs that residual networks are made of. Whether a type, a size or a device has an engine
/// for one is for plans to find out: on SM 9.0, cuDNN 9.19 has all of them precompiled for float16,
/// and only plain convolutions for the other types.
namespace slackline::cudnn {

/// What the tensors of the graphs below are called, for binding. Activations and weights are of the
/// graph's type and per-channel values are float32, unless it says otherwise.
namespace uid {
enum : Uid {
  kX = 1,  ///< input of a convolution or batch norm; where one is fused in front, that one's
  kWeight,
  kY,
  kDy,
  kDx,
  kDweight,

  kSum,  ///< over a channel of Y
  kSquareSum,
  kFactor,  ///< batch norm as X * factor + offset; both of the graph's type
  kOffset,

  kResidual,
  kResidualFactor,
  kResidualOffset,
  kActivation,  ///< ReLU(X * factor + offset + residual), which is a block's output

  kScale,  ///< of batch norm
  kBias,
  kMean,
  kInvDeviation,
  kDscale,
  kDbias,
  kRunningMean,
  kRunningVariance,
  kNewRunningMean,
  kNewRunningVariance,
  kMask,  ///< a bit a value: whether ReLU let it pass

  kDyOther,   ///< gradient that is added to the convolution's
  kDz,        ///< gradient in front of the ReLU
  kDyFactor,  ///< dx of batch norm = dz * dy factor + x * x factor + offset
  kXFactor,
  kDxOffset,

  kResidualScale,  ///< of the batch norm on the shortcut
  kResidualBias,
  kResidualMean,
  kResidualInvDeviation,
  kResidualDscale,
  kResidualDbias,
  kResidualDyFactor,
  kResidualXFactor,
  kResidualDxOffset,
};
}  // namespace uid

/// A convolution, whichever of its derivatives is computed.
struct ConvShape {
  cudnnDataType_t type = CUDNN_DATA_HALF;
  net::Extents x{};
  std::int64_t out_channels = 0;
  net::Window window{};

  [[nodiscard]] net::Extents weight() const {
    return {out_channels, x[1], window.height, window.width};
  }
  [[nodiscard]] net::Extents y() const {
    return {x[0], out_channels, window.out_height(x[2]), window.out_width(x[3])};
  }
};

/// A dense layer without its bias: a 1x1 convolution of images of one pixel.
[[nodiscard]] ConvShape dense_shape(cudnnDataType_t type, std::int64_t n, std::int64_t in,
                                    std::int64_t out);

/// A 7x7 convolution with stride 2 and padding 3 on n images of 4 channels, as one with stride 1:
/// the image is padded, and each 2x2 pixels of it become one with 16 channels. `height` and `width`
/// are the image's, and even.
[[nodiscard]] ConvShape space_to_depth_stem_shape(cudnnDataType_t type, std::int64_t n,
                                                  std::int64_t height, std::int64_t width);

// Convolutions alone.

/// X, Weight -> Y.
[[nodiscard]] Graph conv(const ConvShape& shape);
/// Dy, Weight -> Dx.
[[nodiscard]] Graph conv_backward_data(const ConvShape& shape);
/// X, Dy -> Dweight.
[[nodiscard]] Graph conv_backward_weights(const ConvShape& shape);

// Batch norm in one.

struct BatchNormShape {
  cudnnDataType_t type = CUDNN_DATA_HALF;
  net::Extents x{};
  bool has_residual = false;
  bool relu = false;
  bool has_mask = false;  ///< with ReLU: the forward pass writes it, the backward pass reads it
  double epsilon = 1e-5;
  double momentum = 0.1;  ///< running = (1 - momentum) * running + momentum * batch's
};
/// X, Scale, Bias, RunningMean, RunningVariance [, Residual] -> Y, Mean, InvDeviation,
/// NewRunningMean, NewRunningVariance [, Mask].
[[nodiscard]] Graph batch_norm(const BatchNormShape& shape);
/// Dy, X, Scale, Mean, InvDeviation [, Mask] -> Dx, Dscale, Dbias. With has_residual and a mask,
/// also -> Dz, which is the residual's gradient.
[[nodiscard]] Graph batch_norm_backward(const BatchNormShape& shape);

// Convolutions with the parts of batch norm before and behind them.

/// X, Weight -> Y, Sum, SquareSum.
[[nodiscard]] Graph conv_sums(const ConvShape& shape);
/// X, Factor, Offset, Weight -> Y, Sum, SquareSum: of ReLU(X * factor + offset).
[[nodiscard]] Graph apply_conv_sums(const ConvShape& shape);

/// What is added in front of a block's last ReLU.
enum class Shortcut : std::uint8_t {
  kNone,
  kIdentity,    ///< Residual as it is
  kProjection,  ///< Residual * factor + offset
};
/// X, Factor, Offset, Residual [, ResidualFactor, ResidualOffset], Weight -> Activation, Y, Sum,
/// SquareSum. For 1x1 windows with stride 1.
[[nodiscard]] Graph add_apply_conv_sums(const ConvShape& shape, Shortcut shortcut);

/// X, Factor, Offset, Dy -> Dweight.
[[nodiscard]] Graph apply_conv_backward_weights(const ConvShape& shape);

/// The gradient of a convolution's input, taken through the ReLU and summed for the batch norm in
/// front of it, whose input is X: Dy, Weight, X, Scale, Bias, Mean, InvDeviation -> Dz, Dscale,
/// Dbias, DyFactor, XFactor, DxOffset. With a shortcut, DyOther is added to the gradient and
/// Residual is what was added in front of the ReLU; a projection's batch norm has its own
/// Residual... in and out.
[[nodiscard]] Graph conv_backward_data_sums(const ConvShape& shape, Shortcut shortcut);

struct BatchNormFinalizeShape {
  cudnnDataType_t type = CUDNN_DATA_HALF;  ///< of Factor and Offset
  std::int64_t channels = 0;
  std::int64_t count = 0;  ///< values a channel
  double epsilon = 1e-5;
  double momentum = 0.1;
};
/// Sum, SquareSum, Scale, Bias, RunningMean, RunningVariance -> Factor, Offset, Mean, InvDeviation,
/// NewRunningMean, NewRunningVariance.
[[nodiscard]] Graph batch_norm_finalize(const BatchNormFinalizeShape& shape);

}  // namespace slackline::cudnn
