#pragma once

#include <slackline/model.h>

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

#include "net/program.h"

/// The kernels of our own: all operations of a program but convolutions and dense products, and the
/// updates. Each function returns once enqueued; none allocates, waits or uses atomics on floats,
/// so equal inputs give equal bits.
///
/// Activations are NHWC without padding, of one of three types; all arithmetic is float32, sums
/// over a batch included, and a stored value is rounded to nearest even once. Pointers are the
/// device's, 16-byte aligned unless they are to single values. Channels are a multiple of 8 unless
/// it says that any number will do, and no size is 0. What an operation computes is
/// net/program.h's; the names are those of its fields. What is not a number stays that, through
/// ReLUs and pools too, so that a dynamic loss scale gets to see it.
///
/// Errors     DeviceError if a kernel cannot be launched.
namespace slackline::net::cuda {

/// How activations, and the weights that convolutions read, are stored.
enum class Precision : std::uint8_t { kFloat32, kFloat16, kBfloat16 };

[[nodiscard]] constexpr std::size_t bytes_of(Precision precision) {
  return precision == Precision::kFloat32 ? 4 : 2;
}

/// Channels that the pixels have on the device: the fourth is 0.
inline constexpr std::int64_t kPixelChannels = 4;

/// NHWC as a matrix: rows = N * H * W.
struct Rows {
  std::int64_t rows = 0, channels = 0;
};

struct IngestArgs {
  const std::uint8_t* images;  ///< (n, H, W, 3)
  std::int64_t pixels;         ///< n * H * W
  Normalisation normalisation;
  void* y;  ///< (n, H, W, kPixelChannels)
};
void ingest(Precision precision, const IngestArgs& args, cudaStream_t stream);

/// Scratch that batch norm needs for partial sums, for any number of rows.
[[nodiscard]] std::size_t batch_norm_scratch_bytes(std::int64_t channels);

struct BatchNormArgs {
  Rows size;
  const void* x;
  const void* residual;  ///< or null
  bool relu;
  const float *scale, *bias;
  float *running_mean, *running_variance;  ///< read only in inference
  double epsilon, keep;                    ///< Program's
  void* y;
  float *mean, *inv_deviation;  ///< written: the batch's, or in inference the running ones
  void* scratch;                ///< batch_norm_scratch_bytes()
};
/// Means and variances do not lose digits where a mean is large against the deviation.
void batch_norm_training(Precision precision, const BatchNormArgs& args, cudaStream_t stream);
void batch_norm_inference(Precision precision, const BatchNormArgs& args, cudaStream_t stream);

struct BatchNormBackwardArgs {
  Rows size;
  const void* dy;
  const void* dy_other;  ///< or null
  const void* y;         ///< with relu; else null
  const void* x;
  const float *scale, *mean, *inv_deviation;
  void* dx;         ///< may be dy if there is no dresidual
  void* dresidual;  ///< may be dy; or null
  float *dscale, *dbias;
  void* scratch;  ///< batch_norm_scratch_bytes()
};
void batch_norm_backward(Precision precision, const BatchNormBackwardArgs& args,
                         cudaStream_t stream);

void relu(Precision precision, const void* x, void* y, std::int64_t values, cudaStream_t stream);
void add(Precision precision, const void* a, const void* b, void* y, std::int64_t values,
         cudaStream_t stream);
/// dx may be dy.
void relu_backward(Precision precision, const void* dy, const void* y, void* dx,
                   std::int64_t values, cudaStream_t stream);

struct MaxPoolArgs {
  std::int64_t images, channels, height, width;  ///< of x
  std::int64_t out_height, out_width;
  Window window;  ///< at most 255 pixels
};
/// `index` is a byte for each value of y: row * window.width + column of its maximum.
void max_pool(Precision precision, const MaxPoolArgs& args, const void* x, void* y,
              std::uint8_t* index, cudaStream_t stream);
void max_pool_backward(Precision precision, const MaxPoolArgs& args, const void* dy,
                       const std::uint8_t* index, void* dx, cudaStream_t stream);

/// x is (images, pixels, channels), y (images, channels).
void average_pool(Precision precision, const void* x, void* y, std::int64_t images,
                  std::int64_t pixels, std::int64_t channels, cudaStream_t stream);
void average_pool_backward(Precision precision, const void* dy, void* dx, std::int64_t images,
                           std::int64_t pixels, std::int64_t channels, cudaStream_t stream);

/// A dense layer with one input or with one output: what is no product of matrices, and would leave
/// a library's tiles empty. Any number of the others.
struct ThinDenseArgs {
  std::int64_t rows, inputs, outputs;
  bool is_of_pixels;  ///< x has kPixelChannels for three inputs; then there is one output
};
/// y (rows, outputs) = x (rows, inputs) * weight (outputs, inputs)^T + bias (outputs).
void thin_dense(Precision precision, const ThinDenseArgs& args, const void* x, const void* weight,
                const float* bias, void* y, cudaStream_t stream);
/// dx (rows, inputs) may be null, and is if x is pixels.
void thin_dense_backward(Precision precision, const ThinDenseArgs& args, const void* dy,
                         const void* x, const void* weight, void* dx, void* dweight,
                         cudaStream_t stream);

/// y (rows, channels) += bias (channels): what a dense product leaves to do. Any number of
/// channels.
void add_bias(Precision precision, void* y, const float* bias, Rows size, cudaStream_t stream);
/// dbias = sums of dy's columns. Any number of channels.
void bias_backward(Precision precision, const void* dy, float* dbias, Rows size,
                   cudaStream_t stream);

/// What decides, on the device, how gradients are scaled and whether an update happens.
struct LossScale {
  float scale = 1;  ///< the loss is multiplied by this before the backward pass
  std::int32_t good_steps = 0;
  std::int32_t is_finite = 1;  ///< of the last step's gradients; without dynamic scale always 1
  std::int32_t padding = 0;
  std::int64_t skipped_steps = 0;  ///< because they were not finite
};

struct SoftmaxLossArgs {
  const void* logits;          ///< (n, classes)
  const std::int32_t* labels;  ///< (n); one that is no class makes the loss not a number
  std::int64_t n, classes;
  float smoothing;
  std::int32_t global_batch_size;
  const LossScale* loss_scale;  ///< dlogits are multiplied by its scale
  void* dlogits;                ///< (n, classes), or null in evaluation
  StepSums* per_sample;         ///< (n) scratch
  StepSums* sums;               ///< overwritten; `penalty` is *penalty * n
  const double* penalty;        ///< of the parameters as they are now; or null for 0
};
void softmax_loss(Precision precision, const SoftmaxLossArgs& args, cudaStream_t stream);

// --- parameters --------------------------------------------------------------------------------

/// A parameter in the flat arrays of values, gradients and velocities, and how it is trained.
struct TrainedTensor {
  std::int64_t begin = 0, size = 0;  ///< in values; `begin` is a multiple of 64
  float decay = 0;                   ///< what multiplies w in the gradient
  std::int32_t is_kernel = 0;        ///< of a convolution or a dense layer: has a copy to compute
                                     ///< with, a gradient in `Precision`, and LARS's rate
  std::int32_t is_in_penalty = 0;
};

/// A part of a tensor that one block works on, at most kPieceValues long.
struct Piece {
  std::int64_t begin = 0;
  std::int32_t size = 0;
  std::int32_t tensor = 0;  ///< place in the list of tensors
};
inline constexpr std::int64_t kPieceValues = std::int64_t{1} << 14;

/// Where the kernels find the learning rate.
struct Schedule {
  float rate = 0;
  std::int32_t padding = 0;
  std::int64_t step = 0;  ///< the next update's, counted on with skipped ones
};

struct ParameterArgs {
  const TrainedTensor* tensors;
  std::int32_t tensor_count;
  const Piece* pieces;  ///< in the order of `begin`; each tensor's pieces are neighbours
  std::int32_t piece_count;
  float *values, *gradients, *velocities;  ///< float32, flat
  void* copies;        ///< of the values of kernels, in `Precision`, same places; null for fp32
  const void* raw;     ///< gradients of kernels in `Precision`, same places; null for fp32:
                       ///< then they are in `gradients` already
  double* piece_sums;  ///< (piece_count, 3) scratch: of g^2, of w^2, of values not finite
  float* rates;        ///< (tensor_count) scratch
  OptimizerKind optimizer;
  float momentum, lars_trust;
  LossScale* loss_scale;  ///< `scale` above 0
  bool is_dynamic;        ///< loss scale: halve and skip on what is not finite, double after 2000
  Schedule* schedule;
  const float* rate_table = nullptr;  ///< by step, the last one for all behind it, which the update
                                      ///< puts into schedule->rate; or null: it is there
  std::int64_t rate_table_size = 0;
  double weight_decay;  ///< of the penalty: weight_decay * sum of w^2
  double* penalty;      ///< of the values after the update; or null
};
/// After the backward pass: `gradients` of kernels = raw, and all are multiplied by 1 / loss scale.
void gather_gradients(Precision precision, const ParameterArgs& args, cudaStream_t stream);
/// The update with the step's rate, in SGD with the bits of nn::sgd_momentum(), unless a dynamic
/// loss scale finds a gradient that is not finite: then nothing but the loss scale and the step
/// changes. Writes copies and penalty, too.
void update(Precision precision, const ParameterArgs& args, cudaStream_t stream);
/// copies and penalty from values, as after an update: for new values.
void refresh(Precision precision, const ParameterArgs& args, cudaStream_t stream);
}  // namespace slackline::net::cuda
