#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <cudnn_graph.h>

#include "net/program.h"

namespace slackline::cudnn {

/// What a graph's user calls a tensor of it. Below kFirstOwnUid; those above are the builder's.
using Uid = std::int64_t;
inline constexpr Uid kFirstOwnUid = 1 << 20;

/// Operations of cuDNN that run as one. A value: copies share what is in it.
class Graph {
 public:
  /// What it computes, of which sizes and types, canonically: the same text, the same graph but for
  /// the values of scalars.
  /// "conv_fwd fp16 x=256x64x56x56 w=64x64x3x3 pad=1,1,1,1 stride=1".
  [[nodiscard]] const std::string& signature() const;
  /// Of the tensors that lie in memory, in the order in which they were described.
  [[nodiscard]] const std::vector<Uid>& uids() const;

  /// A number that kernels take by value; it lies in the host's memory, as long as the graph.
  struct Scalar {
    Uid uid;
    const void* value;
  };
  [[nodiscard]] const std::vector<Scalar>& scalars() const;

  /// Whether it has a convolution of float32 tensors, which TF32 could compute.
  [[nodiscard]] bool has_float32_conv() const;

  /// For cuDNN's attributes; borrowed.
  [[nodiscard]] cudnnBackendDescriptor_t descriptor() const;

 private:
  friend class GraphBuilder;
  struct Parts;
  explicit Graph(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const Parts> parts_;
};

/// A tensor of the builder that made it; invalid once the graph is gone.
struct Tensor {
  cudnnBackendDescriptor_t descriptor = nullptr;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
};

/// Describes the operations of a graph, in the order of the data. Tensors are NHWC, weights KRSC,
/// without padding and 16-byte aligned; extents are in the order (N, C, H, W), (K, C, R, S) or, for
/// what is per channel, (1, C, 1, 1). All arithmetic is float32.
///
/// Lifecycle  tensors, operations, finish() once.
/// Threads    one caller.
/// Errors     DeviceError with the signature, where cuDNN finds that an operation makes no sense.
///            Whether there is an engine is not known before plans are made.
class GraphBuilder {
 public:
  explicit GraphBuilder(std::string signature);
  GraphBuilder(GraphBuilder&&) noexcept;
  GraphBuilder& operator=(GraphBuilder&&) noexcept;
  ~GraphBuilder();

  /// In memory.
  Tensor tensor(Uid uid, const net::Extents& extents, cudnnDataType_t type);
  /// Only from one operation to the next.
  Tensor virtual_tensor(const net::Extents& extents, cudnnDataType_t type);
  Tensor scalar(float value);
  Tensor scalar(std::int64_t value);

  void conv(const net::Window& window, Tensor x, Tensor weight, Tensor y);
  void conv_backward_data(const net::Window& window, Tensor dy, Tensor weight, Tensor dx);
  void conv_backward_weights(const net::Window& window, Tensor x, Tensor dy, Tensor dweight);

  /// y = mode(a) or mode(a, b_factor * b); b is broadcast.
  void pointwise(cudnnPointwiseMode_t mode, Tensor a, Tensor y);
  void pointwise(cudnnPointwiseMode_t mode, Tensor a, Tensor b, Tensor y, float b_factor = 1);
  /// dx = dy where x > 0, else 0.
  void relu_backward(Tensor dy, Tensor x, Tensor dx);

  /// Sums over all but the channels, of values and of their squares.
  void channel_sums(Tensor x, Tensor sum, Tensor square_sum);

  struct BatchNormForward {
    Tensor x, scale, bias, epsilon;
    Tensor running_mean, running_variance, new_running_mean, new_running_variance;
    Tensor momentum;  ///< running = (1 - momentum) * running + momentum * batch's
    Tensor y, mean, inv_deviation;
  };
  void batch_norm(const BatchNormForward& op);

  struct BatchNormBackward {
    Tensor dy, x, scale, mean, inv_deviation;
    Tensor dx, dscale, dbias;
  };
  void batch_norm_backward(const BatchNormBackward& op);

  /// From channel_sums() to what batch norm multiplies and adds.
  struct BatchNormFinalize {
    Tensor sum, square_sum;
    Tensor count;  ///< values a channel, int64
    Tensor scale, bias, epsilon;
    Tensor running_mean, running_variance, new_running_mean, new_running_variance;
    Tensor momentum;
    Tensor mean, inv_deviation;
    Tensor equivalent_scale, equivalent_bias;  ///< y = x * equivalent_scale + equivalent_bias
  };
  void batch_norm_finalize(const BatchNormFinalize& op);

  /// The sums of a batch norm's backward pass, and with them
  /// dx = dy * dy_factor + x * x_factor + offset.
  struct BatchNormBackwardWeights {
    Tensor dy, x, scale, mean, inv_deviation;
    Tensor dscale, dbias;
    Tensor dy_factor, x_factor, offset;
  };
  void batch_norm_backward_weights(const BatchNormBackwardWeights& op);

  [[nodiscard]] Graph finish() &&;

 private:
  class Op;

  Tensor add_tensor(Uid uid, const net::Extents& extents, cudnnDataType_t type, bool is_virtual,
                    bool is_by_value);
  void add(Op op);
  cudnnBackendDescriptor_t convolution(const net::Window& window, Tensor weight);
  cudnnBackendDescriptor_t pointwise_mode(cudnnPointwiseMode_t mode);

  std::unique_ptr<Graph::Parts> parts_;
  Uid next_own_uid_ = kFirstOwnUid;
};

}  // namespace slackline::cudnn
