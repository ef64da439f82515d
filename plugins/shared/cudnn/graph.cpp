#include "cudnn/graph.h"

#include <slackline/error.h>

#include <array>
#include <cassert>
#include <deque>
#include <utility>

#include "descriptor.h"

namespace slackline::cudnn {

struct Graph::Parts {
  std::string signature;
  std::vector<Uid> uids;
  std::vector<Scalar> scalars;
  std::deque<float> floats;             ///< that scalars point to
  std::deque<std::int64_t> integers;    ///< likewise
  std::vector<Descriptor> descriptors;  ///< tensors, and what operations refer to
  std::vector<Descriptor> operations;
  bool has_float32_conv = false;
  Descriptor graph{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
};

const std::string& Graph::signature() const { return parts_->signature; }
const std::vector<Uid>& Graph::uids() const { return parts_->uids; }
const std::vector<Graph::Scalar>& Graph::scalars() const { return parts_->scalars; }
bool Graph::has_float32_conv() const { return parts_->has_float32_conv; }
cudnnBackendDescriptor_t Graph::descriptor() const { return parts_->graph.get(); }

/// An operation while it is described.
class GraphBuilder::Op {
 public:
  Op(const char* what, cudnnBackendDescriptorType_t type) : name(what), descriptor(type) {}

  template <class T>
  Op&& set(cudnnBackendAttributeName_t attribute, const T& value) && {
    descriptor.set(attribute, value);
    return std::move(*this);
  }
  Op&& set(cudnnBackendAttributeName_t attribute, Tensor tensor) && {
    descriptor.set(attribute, tensor.descriptor);
    return std::move(*this);
  }

  const char* name;
  Descriptor descriptor;
};

GraphBuilder::GraphBuilder(std::string signature) : parts_(std::make_unique<Graph::Parts>()) {
  parts_->signature = std::move(signature);
}
GraphBuilder::GraphBuilder(GraphBuilder&&) noexcept = default;
GraphBuilder& GraphBuilder::operator=(GraphBuilder&&) noexcept = default;
GraphBuilder::~GraphBuilder() = default;

Tensor GraphBuilder::add_tensor(Uid uid, const net::Extents& extents, cudnnDataType_t type,
                                bool is_virtual, bool is_by_value) {
  const auto [n, c, h, w] = extents;
  const std::array<std::int64_t, 4> strides = {c * h * w, 1, w * c, c};
  const std::int64_t alignment = is_by_value ? (type == CUDNN_DATA_INT64 ? 8 : 4) : 16;
  Descriptor& tensor = parts_->descriptors.emplace_back(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid)
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const std::int64_t>(extents))
      .set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const std::int64_t>(strides))
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment)
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, is_virtual)
      .set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, is_by_value);
  tensor.finalise(
      text("describe a tensor of ", n, "x", c, "x", h, "x", w, " of ", parts_->signature));
  return {tensor.get(), type};
}

Tensor GraphBuilder::tensor(Uid uid, const net::Extents& extents, cudnnDataType_t type) {
  assert(uid < kFirstOwnUid);
  parts_->uids.push_back(uid);
  return add_tensor(uid, extents, type, false, false);
}

Tensor GraphBuilder::virtual_tensor(const net::Extents& extents, cudnnDataType_t type) {
  return add_tensor(next_own_uid_++, extents, type, true, false);
}

Tensor GraphBuilder::scalar(float value) {
  parts_->scalars.push_back({next_own_uid_, &parts_->floats.emplace_back(value)});
  return add_tensor(next_own_uid_++, {1, 1, 1, 1}, CUDNN_DATA_FLOAT, false, true);
}

Tensor GraphBuilder::scalar(std::int64_t value) {
  parts_->scalars.push_back({next_own_uid_, &parts_->integers.emplace_back(value)});
  return add_tensor(next_own_uid_++, {1, 1, 1, 1}, CUDNN_DATA_INT64, false, true);
}

void GraphBuilder::add(Op op) {
  op.descriptor.finalise(text("describe ", op.name, " of ", parts_->signature));
  parts_->operations.push_back(std::move(op.descriptor));
}

cudnnBackendDescriptor_t GraphBuilder::convolution(const net::Window& window, Tensor weight) {
  parts_->has_float32_conv |= weight.type == CUDNN_DATA_FLOAT;
  using Pair = std::array<std::int64_t, 2>;
  const Pair before = {window.top, window.left}, after = {window.bottom, window.right};
  const Pair strides = {window.stride, window.stride}, dilations = {1, 1};
  Descriptor& out = parts_->descriptors.emplace_back(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  out.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2})
      .set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION)
      .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::span<const std::int64_t>(before))
      .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::span<const std::int64_t>(after))
      .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::span<const std::int64_t>(dilations))
      .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::span<const std::int64_t>(strides));
  out.finalise(text("describe the window of ", parts_->signature));
  return out.get();
}

void GraphBuilder::conv(const net::Window& window, Tensor x, Tensor weight, Tensor y) {
  add(Op("conv", CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution(window, weight))
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weight)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0F)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0F));
}

void GraphBuilder::conv_backward_data(const net::Window& window, Tensor dy, Tensor weight,
                                      Tensor dx) {
  add(Op("conv_backward_data", CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution(window, weight))
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, dy)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, weight)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, dx)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0F)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0F));
}

void GraphBuilder::conv_backward_weights(const net::Window& window, Tensor x, Tensor dy,
                                         Tensor dweight) {
  add(Op("conv_backward_weights", CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution(window, dweight))
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, x)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, dy)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, dweight)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1.0F)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0.0F));
}

cudnnBackendDescriptor_t GraphBuilder::pointwise_mode(cudnnPointwiseMode_t mode) {
  Descriptor& out = parts_->descriptors.emplace_back(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  out.set(CUDNN_ATTR_POINTWISE_MODE, mode).set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  out.finalise(text("describe pointwise mode ", static_cast<int>(mode), " of ", parts_->signature));
  return out.get();
}

void GraphBuilder::pointwise(cudnnPointwiseMode_t mode, Tensor a, Tensor y) {
  add(Op("pointwise", CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise_mode(mode))
          .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y));
}

void GraphBuilder::pointwise(cudnnPointwiseMode_t mode, Tensor a, Tensor b, Tensor y,
                             float b_factor) {
  add(Op("pointwise", CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise_mode(mode))
          .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, b_factor));
}

void GraphBuilder::relu_backward(Tensor dy, Tensor x, Tensor dx) {
  add(Op("relu_backward", CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
               pointwise_mode(CUDNN_POINTWISE_RELU_BWD))
          .set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, dy)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, dx));
}

void GraphBuilder::channel_sums(Tensor x, Tensor sum, Tensor square_sum) {
  add(Op("channel_sums", CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_GENSTATS_SUM_SQSUM)
          .set(CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_DATA_FLOAT)
          .set(CUDNN_ATTR_OPERATION_GENSTATS_XDESC, x)
          .set(CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, sum)
          .set(CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, square_sum));
}

void GraphBuilder::batch_norm(const BatchNormForward& op) {
  add(Op("batch_norm", CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_BATCH_NORM)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_NORM_FWD_TRAINING)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, op.x)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, op.scale)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, op.bias)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, op.epsilon)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC, op.running_mean)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC, op.running_variance)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC, op.new_running_mean)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC, op.new_running_variance)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC, op.momentum)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, op.y)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, op.mean)
          .set(CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, op.inv_deviation));
}

void GraphBuilder::batch_norm_backward(const BatchNormBackward& op) {
  add(Op("batch_norm_backward", CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_BATCH_NORM)
          .set(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, op.dy)
          .set(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, op.x)
          .set(CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, op.scale)
          .set(CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, op.mean)
          .set(CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, op.inv_deviation)
          .set(CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, op.dx)
          .set(CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, op.dscale)
          .set(CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, op.dbias));
}

void GraphBuilder::batch_norm_finalize(const BatchNormFinalize& op) {
  add(Op("batch_norm_finalize", CUDNN_BACKEND_OPERATION_BN_FINALIZE_STATISTICS_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_STATS_MODE, CUDNN_BN_FINALIZE_STATISTICS_TRAINING)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_MATH_PREC, CUDNN_DATA_FLOAT)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_Y_SUM_DESC, op.sum)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_Y_SQ_SUM_DESC, op.square_sum)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_ACCUM_COUNT_DESC, op.count)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_SCALE_DESC, op.scale)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_BIAS_DESC, op.bias)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_EPSILON_DESC, op.epsilon)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_PREV_RUNNING_MEAN_DESC, op.running_mean)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_PREV_RUNNING_VAR_DESC, op.running_variance)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_UPDATED_RUNNING_MEAN_DESC, op.new_running_mean)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_UPDATED_RUNNING_VAR_DESC, op.new_running_variance)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_EXP_AVERATE_FACTOR_DESC, op.momentum)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_SAVED_MEAN_DESC, op.mean)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_SAVED_INV_STD_DESC, op.inv_deviation)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_EQ_SCALE_DESC, op.equivalent_scale)
          .set(CUDNN_ATTR_OPERATION_BN_FINALIZE_EQ_BIAS_DESC, op.equivalent_bias));
}

void GraphBuilder::batch_norm_backward_weights(const BatchNormBackwardWeights& op) {
  add(Op("batch_norm_backward_weights", CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MATH_PREC, CUDNN_DATA_FLOAT)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, op.dy)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC, op.x)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC, op.scale)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, op.mean)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC, op.inv_deviation)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC, op.dscale)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC, op.dbias)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC, op.dy_factor)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC, op.x_factor)
          .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS, op.offset));
}

Graph GraphBuilder::finish() && {
  std::vector<cudnnBackendDescriptor_t> operations;
  for (const Descriptor& each : parts_->operations) operations.push_back(each.get());
  parts_->graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS,
                    std::span<const cudnnBackendDescriptor_t>(operations));
  parts_->graph.finalise(text("join the operations of ", parts_->signature));
  return Graph(std::move(parts_));
}

}  // namespace slackline::cudnn
