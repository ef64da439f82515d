// What an executor does for one batch size and mode: its operations, with plans and pointers.

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <initializer_list>
#include <utility>
#include <variant>

#include "cudnn/patterns.h"
#include "net_cuda/executor.h"

namespace slackline::net::cuda {
namespace {

std::size_t at(TensorId id) { return static_cast<std::size_t>(id); }

cudnnDataType_t type_of(Precision precision) {
  switch (precision) {
    case Precision::kFloat16:
      return CUDNN_DATA_HALF;
    case Precision::kBfloat16:
      return CUDNN_DATA_BFLOAT16;
    case Precision::kFloat32:
      break;
  }
  return CUDNN_DATA_FLOAT;
}

}  // namespace

/// Turns operations into actions for one batch size and mode. In two passes: the first chooses
/// cuDNN's plans, which say how much workspace they need, the second puts pointers in place.
class Executor::Builder {
 public:
  Builder(Executor& executor, const Key& key)
      : e_(executor),
        program_(executor.program_),
        layout_(executor.layout_),
        precision_(executor.spec_.precision),
        mode_(std::get<0>(key)),
        batch_(std::get<1>(key)),
        global_batch_size_(std::get<2>(key)) {}

  /// What the plans of all operations need at most.
  std::size_t choose_plans() {
    visit_ops();
    std::size_t most = 0;
    for (const cudnn::Plan& plan : plans_) most = std::max(most, plan.workspace_bytes());
    return most;
  }

  std::vector<Action> bind(void* workspace) {
    workspace_ = workspace;
    is_binding_ = true;
    visit_ops();
    return std::move(actions_);
  }

 private:
  void visit_ops() {
    next_plan_ = 0;
    const std::size_t end = mode_ == Mode::kTraining ? program_.ops.size() : program_.forward_ops;
    for (std::size_t i = 1; i < end; ++i) {
      op_ = &program_.ops[i];
      std::visit([this](const auto& op) { make(op); }, *op_);
    }
  }

  [[nodiscard]] Place place(TensorId id) const { return e_.place(id, batch_); }
  [[nodiscard]] Place kernel(TensorId id) const { return e_.place_for_cudnn(id, batch_); }
  [[nodiscard]] Place scratch() const { return {e_.scratch_.data(), e_.scratch_.bytes()}; }

  [[nodiscard]] Extents extents(TensorId id) const {
    Extents extents = layout_.extents[at(id)];
    if (program_.tensor(id).kind == TensorKind::kActivation) extents[0] = batch_;
    return extents;
  }

  [[nodiscard]] Rows rows(TensorId id) const {
    const Extents e = extents(id);
    return {e[0] * e[2] * e[3], e[1]};
  }

  // --- actions ----------------------------------------------------------------------------------

  void add(std::initializer_list<Place> reads, std::initializer_list<Place> writes,
           std::function<void(cudaStream_t)> call) {
    if (!is_binding_) return;
    Action action{.op = static_cast<std::size_t>(op_ - program_.ops.data()),
                  .name = name(),
                  .call = std::move(call)};
    const auto fill = [](std::vector<MemoryRange>& ranges, std::initializer_list<Place> places) {
      for (const Place& each : places) {
        if (each.data != nullptr) ranges.push_back({each.data, each.bytes});
      }
    };
    fill(action.reads, reads);
    fill(action.writes, writes);
    actions_.push_back(std::move(action));
  }

  [[nodiscard]] std::string name() const { return label_of(program_, *op_); }

  /// A tensor of one of cuDNN's graphs, and where it lies.
  struct Operand {
    cudnn::Uid uid;
    Place place;
  };

  /// An operation that cuDNN does: `graph` is only asked for in the first pass.
  template <class MakeGraph>
  void add_plan(MakeGraph graph, const Operand& a, const Operand& b, const Operand& written) {
    const std::array bindings{cudnn::Binding{a.uid, a.place.data},
                              cudnn::Binding{b.uid, b.place.data},
                              cudnn::Binding{written.uid, written.place.data}};
    if (!is_binding_) {
      try {
        plans_.push_back(e_.plan(graph(), bindings));
      } catch (const DeviceError& error) {
        throw DeviceError(text(name(), " for batches of ", batch_, ": ", error.what()));
      }
      return;
    }
    const cudnn::Plan& plan = plans_[next_plan_++];
    const Place workspace =
        plan.workspace_bytes() == 0 ? Place{} : Place{workspace_, plan.workspace_bytes()};
    add({a.place, b.place}, {written.place, workspace},
        [bound = plan.bind(e_.target_, bindings, workspace.data)](cudaStream_t stream) {
          bound.run(stream);
        });
  }

  [[nodiscard]] cudnn::ConvShape conv_shape(TensorId x, TensorId weight,
                                            const Window& window) const {
    return {.type = type_of(precision_),
            .x = extents(x),
            .out_channels = layout_.extents[at(weight)][0],
            .window = window};
  }

  void add_forward(TensorId x, TensorId weight, TensorId y, const Window& window) {
    add_plan([&] { return cudnn::conv(conv_shape(x, weight, window)); }, {cudnn::uid::kX, place(x)},
             {cudnn::uid::kWeight, kernel(weight)}, {cudnn::uid::kY, place(y)});
  }
  void add_backward_data(TensorId dy, TensorId weight, TensorId dx, const Window& window) {
    add_plan([&] { return cudnn::conv_backward_data(conv_shape(dx, weight, window)); },
             {cudnn::uid::kDy, place(dy)}, {cudnn::uid::kWeight, kernel(weight)},
             {cudnn::uid::kDx, place(dx)});
  }
  void add_backward_weights(TensorId x, TensorId dy, TensorId dweight, const Window& window) {
    add_plan([&] { return cudnn::conv_backward_weights(conv_shape(x, dweight, window)); },
             {cudnn::uid::kX, place(x)}, {cudnn::uid::kDy, place(dy)},
             {cudnn::uid::kDweight, kernel(dweight)});
  }

  void make(const Ingest&) {}

  void make(const Conv& o) { add_forward(o.x, o.weight, o.y, o.window); }
  void make(const ConvBackwardData& o) { add_backward_data(o.dy, o.weight, o.dx, o.window); }
  void make(const ConvBackwardWeights& o) { add_backward_weights(o.x, o.dy, o.dweight, o.window); }

  /// Not cuDNN's: see ThinDenseArgs.
  [[nodiscard]] bool is_thin(TensorId weight) const {
    const Extents& of = layout_.extents[at(weight)];
    return of[0] == 1 || of[1] == 1;
  }
  [[nodiscard]] ThinDenseArgs thin_args(TensorId x, TensorId weight) const {
    const Extents& of = layout_.extents[at(weight)];
    return {.rows = batch_,
            .inputs = of[1],
            .outputs = of[0],
            .is_of_pixels = x == std::get<Ingest>(program_.ops.front()).y};
  }

  void make(const Dense& o) {
    if (is_thin(o.weight)) {
      return add({place(o.x), kernel(o.weight), place(o.bias)}, {place(o.y)},
                 [precision = precision_, args = thin_args(o.x, o.weight), x = place(o.x).data,
                  weight = kernel(o.weight).data, bias = place(o.bias).as<float>(),
                  y = place(o.y).data](cudaStream_t stream) {
                   thin_dense(precision, args, x, weight, bias, y, stream);
                 });
    }
    assert(extents(o.x)[2] * extents(o.x)[3] == 1);
    add_forward(o.x, o.weight, o.y, {});  // images of one pixel
    add({place(o.y), place(o.bias)}, {place(o.y)},
        [precision = precision_, y = place(o.y).data, bias = place(o.bias).as<float>(),
         size = rows(o.y)](cudaStream_t stream) { add_bias(precision, y, bias, size, stream); });
  }
  void make(const DenseBackward& o) {
    if (is_thin(o.weight)) {
      add({place(o.dy), place(o.x), kernel(o.weight)}, {place(o.dx), kernel(o.dweight)},
          [precision = precision_, args = thin_args(o.x, o.weight), dy = place(o.dy).data,
           x = place(o.x).data, weight = kernel(o.weight).data, dx = place(o.dx).data,
           dweight = kernel(o.dweight).data](cudaStream_t stream) {
            thin_dense_backward(precision, args, dy, x, weight, dx, dweight, stream);
          });
    } else {
      if (o.dx != kNone) add_backward_data(o.dy, o.weight, o.dx, {});
      add_backward_weights(o.x, o.dy, o.dweight, {});
    }
    add({place(o.dy)}, {place(o.dbias)},
        [precision = precision_, dy = place(o.dy).data, dbias = place(o.dbias).as<float>(),
         size = rows(o.dy)](cudaStream_t stream) {
          bias_backward(precision, dy, dbias, size, stream);
        });
  }

  void make(const BatchNorm& o) {
    const BatchNormArgs args{.size = rows(o.x),
                             .x = place(o.x).data,
                             .residual = place(o.residual).data,
                             .relu = o.relu,
                             .scale = place(o.scale).as<float>(),
                             .bias = place(o.bias).as<float>(),
                             .running_mean = place(o.running_mean).as<float>(),
                             .running_variance = place(o.running_variance).as<float>(),
                             .epsilon = program_.epsilon,
                             .keep = program_.keep,
                             .y = place(o.y).data,
                             .mean = place(o.mean).as<float>(),
                             .inv_deviation = place(o.inv_deviation).as<float>(),
                             .scratch = e_.scratch_.data()};
    if (mode_ == Mode::kTraining) {
      add({place(o.x), place(o.residual), place(o.scale), place(o.bias), place(o.running_mean),
           place(o.running_variance)},
          {place(o.y), place(o.mean), place(o.inv_deviation), place(o.running_mean),
           place(o.running_variance), scratch()},
          [precision = precision_, args](cudaStream_t stream) {
            batch_norm_training(precision, args, stream);
          });
    } else {
      add({place(o.x), place(o.residual), place(o.scale), place(o.bias), place(o.running_mean),
           place(o.running_variance)},
          {place(o.y), place(o.mean), place(o.inv_deviation)},
          [precision = precision_, args](cudaStream_t stream) {
            batch_norm_inference(precision, args, stream);
          });
    }
  }

  void make(const BatchNormBackward& o) {
    const BatchNormBackwardArgs args{.size = rows(o.x),
                                     .dy = place(o.dy).data,
                                     .dy_other = place(o.dy_other).data,
                                     .y = place(o.y).data,
                                     .x = place(o.x).data,
                                     .scale = place(o.scale).as<float>(),
                                     .mean = place(o.mean).as<float>(),
                                     .inv_deviation = place(o.inv_deviation).as<float>(),
                                     .dx = place(o.dx).data,
                                     .dresidual = place(o.dresidual).data,
                                     .dscale = place(o.dscale).as<float>(),
                                     .dbias = place(o.dbias).as<float>(),
                                     .scratch = e_.scratch_.data()};
    add({place(o.dy), place(o.dy_other), place(o.y), place(o.x), place(o.scale), place(o.mean),
         place(o.inv_deviation)},
        {place(o.dx), place(o.dresidual), place(o.dscale), place(o.dbias), scratch()},
        [precision = precision_, args](cudaStream_t stream) {
          batch_norm_backward(precision, args, stream);
        });
  }

  void make(const Relu& o) {
    add({place(o.x)}, {place(o.y)},
        [precision = precision_, x = place(o.x).data, y = place(o.y).data,
         values = values(o.y)](cudaStream_t stream) { relu(precision, x, y, values, stream); });
  }
  void make(const ReluBackward& o) {
    add({place(o.dy), place(o.y)}, {place(o.dx)},
        [precision = precision_, dy = place(o.dy).data, y = place(o.y).data, dx = place(o.dx).data,
         values = values(o.y)](cudaStream_t stream) {
          relu_backward(precision, dy, y, dx, values, stream);
        });
  }
  void make(const Add& o) { make_sum(o.a, o.b, o.y); }
  void make(const Accumulate& o) { make_sum(o.into, o.from, o.into); }
  void make_sum(TensorId a, TensorId b, TensorId y) {
    add({place(a), place(b)}, {place(y)},
        [precision = precision_, a = place(a).data, b = place(b).data, y = place(y).data,
         values = values(y)](cudaStream_t stream) {
          net::cuda::add(precision, a, b, y, values, stream);
        });
  }

  [[nodiscard]] MaxPoolArgs pool_args(TensorId x, TensorId y, const Window& window) const {
    const Extents in = extents(x), out = extents(y);
    return {.images = in[0],
            .channels = in[1],
            .height = in[2],
            .width = in[3],
            .out_height = out[2],
            .out_width = out[3],
            .window = window};
  }
  void make(const MaxPool& o) {
    add({place(o.x)}, {place(o.y), place(o.index)},
        [precision = precision_, args = pool_args(o.x, o.y, o.window), x = place(o.x).data,
         y = place(o.y).data, index = place(o.index).as<std::uint8_t>()](cudaStream_t stream) {
          max_pool(precision, args, x, y, index, stream);
        });
  }
  void make(const MaxPoolBackward& o) {
    add({place(o.dy), place(o.index)}, {place(o.dx)},
        [precision = precision_, args = pool_args(o.dx, o.dy, o.window), dy = place(o.dy).data,
         index = place(o.index).as<std::uint8_t>(), dx = place(o.dx).data](cudaStream_t stream) {
          max_pool_backward(precision, args, dy, index, dx, stream);
        });
  }
  void make(const AveragePool& o) {
    const Extents in = extents(o.x);
    add({place(o.x)}, {place(o.y)},
        [precision = precision_, x = place(o.x).data, y = place(o.y).data,
         in](cudaStream_t stream) {
          average_pool(precision, x, y, in[0], in[2] * in[3], in[1], stream);
        });
  }
  void make(const AveragePoolBackward& o) {
    const Extents in = extents(o.dx);
    add({place(o.dy)}, {place(o.dx)},
        [precision = precision_, dy = place(o.dy).data, dx = place(o.dx).data,
         in](cudaStream_t stream) {
          average_pool_backward(precision, dy, dx, in[0], in[2] * in[3], in[1], stream);
        });
  }

  void make(const SoftmaxLoss& o) {
    const bool is_training = mode_ == Mode::kTraining;
    const SoftmaxLossArgs args{.logits = place(o.logits).data,
                               .labels = e_.labels_.data(),
                               .n = batch_,
                               .classes = extents(o.logits)[1],
                               .smoothing = program_.label_smoothing,
                               .global_batch_size = global_batch_size_,
                               .loss_scale = e_.loss_scale_.data(),
                               .dlogits = is_training ? place(o.dlogits).data : nullptr,
                               .per_sample = e_.per_sample_.data(),
                               .sums = e_.sums_.data(),
                               .penalty = e_.penalty_.data()};
    const auto samples = static_cast<std::size_t>(batch_);
    add({place(o.logits),
         {e_.labels_.data(), samples * sizeof(std::int32_t)},
         {e_.loss_scale_.data(), e_.loss_scale_.bytes()},
         {e_.penalty_.data(), e_.penalty_.bytes()}},
        {is_training ? place(o.dlogits) : Place{},
         {e_.per_sample_.data(), samples * sizeof(StepSums)},
         {e_.sums_.data(), e_.sums_.bytes()}},
        [precision = precision_, args](cudaStream_t stream) {
          softmax_loss(precision, args, stream);
        });
  }

  [[nodiscard]] std::int64_t values(TensorId id) const {
    return static_cast<std::int64_t>(layout_.size(program_, id, batch_));
  }

  Executor& e_;
  const Program& program_;
  const Layout& layout_;
  const Precision precision_;
  const Mode mode_;
  const std::int32_t batch_, global_batch_size_;

  const Op* op_ = nullptr;
  std::vector<cudnn::Plan> plans_;  ///< in the order in which operations ask
  std::size_t next_plan_ = 0;
  bool is_binding_ = false;
  void* workspace_ = nullptr;
  std::vector<Action> actions_;
};

Executor::Instance Executor::build(const Key& key) {
  Builder builder(*this, key);
  const std::size_t bytes = builder.choose_plans();
  Instance made;
  if (bytes > workspace_.bytes()) {
    DeviceBuffer<std::byte> larger(runtime_, bytes);
    // The first instance's is for all; plans and graphs of others already hold it.
    (instances_.empty() ? workspace_ : made.workspace) = std::move(larger);
  }
  made.actions =
      builder.bind(made.workspace.size() > 0 ? made.workspace.data() : workspace_.data());
  return made;
}

}  // namespace slackline::net::cuda
