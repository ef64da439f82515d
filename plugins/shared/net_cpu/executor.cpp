#include "net_cpu/executor.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

#include "net/plan.h"
#include "net_cpu/batch_norm.h"
#include "net_cpu/memory.h"

namespace slackline::net::cpu {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using DataType = memory::data_type;

/// The layouts of activations that the kernels here can work with.
constexpr std::array kLayouts = {Tag::nChw16c, Tag::nChw8c, Tag::nhwc, Tag::nchw};

/// Sets how many threads OpenMP uses for this caller, until its end.
class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(threads);
  }
  ~ThreadScope() { omp_set_num_threads(before_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  const int before_;
};

memory::dims dims_of(const Extents& extents) {
  return {extents[0], extents[1], extents[2], extents[3]};
}

bool is_activation(TensorKind kind) { return kind == TensorKind::kActivation; }

Planes planes_of(const Extents& extents, Tag layout) {
  const auto images = static_cast<std::size_t>(extents[0]);
  const auto channels = static_cast<std::size_t>(extents[1]);
  const auto pixels = static_cast<std::size_t>(extents[2] * extents[3]);
  const auto blocked = [&](std::size_t lanes) {
    return Planes{images, channels / lanes, pixels, lanes, channels * pixels, pixels * lanes,
                  lanes};
  };
  if (layout == Tag::nChw16c && channels % 16 == 0) return blocked(16);
  if (layout == Tag::nChw8c && channels % 8 == 0) return blocked(8);
  if (layout == Tag::nchw) return blocked(1);
  const std::size_t lanes = channels % 16 == 0 ? 16 : channels % 8 == 0 ? 8 : 1;
  if (layout == Tag::nhwc) {
    return {images, channels / lanes, pixels, lanes, channels * pixels, lanes, channels};
  }
  throw DeviceError(text("batch norm of ", channels,
                         " channels: this layout would pad them, which is not supported"));
}

/// One call of oneDNN, with its arguments in place.
struct Call {
  dnnl::primitive primitive;
  std::vector<memory> memories;  ///< keeps the handles in `arguments` alive
  std::vector<dnnl_exec_arg_t> arguments;

  void add(int what, memory with) {
    arguments.push_back({what, with.get()});
    memories.push_back(std::move(with));
  }
  void operator()(const dnnl::stream& stream) const {
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive.get(), stream.get(), static_cast<int>(arguments.size()),
                               arguments.data()),
        "cannot execute");
  }
};

/// What an operation needs beside the tensors.
struct StepContext {
  const StepInput& input;
  Mode mode;
  StepSums& sums;
};
using Action = std::function<void(const StepContext&)>;

/// The program's operations for one batch size.
struct Instance {
  std::vector<Action> actions;
  std::vector<std::string> implementations;
};

template <class T>
constexpr DataType type_of() {
  return std::is_same_v<T, float> ? DataType::f32 : DataType::bf16;
}

}  // namespace

class Executor::Impl {
 public:
  virtual ~Impl() = default;
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  virtual const Program& program() const = 0;
  virtual void run_ops(std::size_t begin, std::size_t end, Mode mode, const StepInput& input,
                       StepSums& sums) = 0;
  virtual std::span<float> array(TensorKind kind) = 0;
  virtual std::span<float> part(std::span<float> array, TensorId id) const = 0;
  virtual void read(std::span<float> array, TensorId id, std::span<float> values) = 0;
  virtual void write(std::span<float> array, TensorId id, std::span<const float> values) = 0;
  virtual void read(TensorId id, std::span<float> values) = 0;
  virtual void write(TensorId id, std::span<const float> values) = 0;

  virtual std::vector<OpTime> op_times() const = 0;
  virtual std::size_t arena_bytes() const = 0;
  virtual std::vector<std::string> slow_operations() const = 0;
  bool is_profiling = false;
};

namespace {

template <class T>
class TypedExecutor final : public Executor::Impl {
 public:
  TypedExecutor(Program program, const ExecutorSpec& spec)
      : program_(std::move(program)),
        spec_(spec),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {
    const ThreadScope threads(spec.threads);
    max_batch_ = batch_size_of(program_);
    choose_layouts();
    place_persistent();
    place_activations();
    batch_norms_.emplace(most_planes_, most_channels_, spec.threads);
    seconds_.assign(program_.ops.size(), 0);
    calls_.assign(program_.ops.size(), 0);
    instance(max_batch_);
  }

  const Program& program() const override { return program_; }

  void run_ops(std::size_t begin, std::size_t end, Mode mode, const StepInput& input,
               StepSums& sums) override {
    const ThreadScope threads(spec_.threads);
    const Instance& ops = instance(static_cast<std::int64_t>(input.labels.size()));
    const StepContext context{input, mode, sums};
    using Clock = std::chrono::steady_clock;
    for (std::size_t i = begin; i < end; ++i) {
      const auto start = is_profiling ? Clock::now() : Clock::time_point{};
      ops.actions[i](context);
      if (is_profiling) {
        seconds_[i] += std::chrono::duration<double>(Clock::now() - start).count();
        ++calls_[i];
      }
    }
  }

  std::span<float> array(TensorKind kind) override {
    Memory& memory = kind == TensorKind::kParameter  ? parameters_
                     : kind == TensorKind::kGradient ? gradients_
                                                     : statistics_;
    return {reinterpret_cast<float*>(memory.data()), memory.size() / sizeof(float)};
  }

  std::span<float> part(std::span<float> array, TensorId id) const override {
    return array.subspan(offset_[at(id)], desc_[at(id)].get_size() / sizeof(float));
  }

  void read(std::span<float> array, TensorId id, std::span<float> values) override {
    copy(desc_[at(id)], part(array, id).data(), dense_desc(id), values.data());
  }
  void write(std::span<float> array, TensorId id, std::span<const float> values) override {
    copy(dense_desc(id), const_cast<float*>(values.data()), desc_[at(id)], part(array, id).data());
  }
  void read(TensorId id, std::span<float> values) override {
    copy(desc_[at(id)], data(id), dense_desc(id), values.data());
  }
  void write(TensorId id, std::span<const float> values) override {
    copy(dense_desc(id), const_cast<float*>(values.data()), desc_[at(id)], data(id));
  }

  std::vector<Executor::OpTime> op_times() const override {
    std::vector<Executor::OpTime> times;
    const Instance& ops = instances_.at(max_batch_);
    for (std::size_t i = 0; i < program_.ops.size(); ++i) {
      times.push_back({.name = label_of(program_, program_.ops[i]),
                       .implementation = ops.implementations[i],
                       .seconds = seconds_[i],
                       .calls = calls_[i],
                       .flop = flop_of(program_, program_.ops[i])});
    }
    return times;
  }

  std::size_t arena_bytes() const override { return arena_.size(); }

  std::vector<std::string> slow_operations() const override {
    std::vector<std::string> slow;
    const Instance& ops = instances_.at(max_batch_);
    for (std::size_t i = 0; i < program_.ops.size(); ++i) {
      if (ops.implementations[i].starts_with("ref"))
        slow.push_back(label_of(program_, program_.ops[i]));
    }
    return slow;
  }

 private:
  static std::size_t at(TensorId id) { return static_cast<std::size_t>(id); }

  static std::int64_t batch_size_of(const Program& program) {
    return program.tensor(std::get<Ingest>(program.ops.front()).y).extents[0];
  }

  // --- layouts and places -----------------------------------------------------------------------

  [[nodiscard]] Extents extents(TensorId id, std::int64_t batch) const {
    Extents extents = program_.tensor(id).extents;
    if (is_activation(program_.tensor(id).kind)) extents[0] = batch;
    return extents;
  }

  [[nodiscard]] bool is_image(TensorId id) const {
    const Extents& e = program_.tensor(id).extents;
    return is_activation(program_.tensor(id).kind) && (is_dense_[at(id)] == 0) && e[1] > 0;
  }

  memory::desc activation_desc(TensorId id, std::int64_t batch) const {
    const Extents e = extents(id, batch);
    if (is_dense_[at(id)] != 0) return {{e[0], e[1]}, DataType::f32, Tag::ab};
    return {dims_of(e), type_of<T>(), id == input_ ? input_layout_ : layout_};
  }

  memory::desc dense_desc(TensorId id) const {
    const Tensor& tensor = program_.tensor(id);
    const Extents& e = tensor.extents;
    if (desc_[at(id)].dims().size() == 1) return {{e[0]}, DataType::f32, Tag::a};
    if (desc_[at(id)].dims().size() == 2) return {{e[0], e[1]}, DataType::f32, Tag::ab};
    return {dims_of(e), DataType::f32, Tag::abcd};
  }

  static dnnl::convolution_forward::desc conv_desc(const memory::desc& x, const memory::desc& w,
                                                   const memory::desc& y, const Window& window) {
    return {dnnl::prop_kind::forward_training,
            dnnl::algorithm::convolution_direct,
            x,
            w,
            y,
            {window.stride, window.stride},
            {window.top, window.left},
            {window.bottom, window.right}};
  }

  memory::desc any_weights(TensorId id) const {
    return {dims_of(program_.tensor(id).extents), type_of<T>(), Tag::any};
  }

  dnnl::primitive_attr attributes() const {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attributes;
  }

  /// Which of our layouts is this, for these extents.
  static std::optional<Tag> layout_of(const memory::desc& desc, const Extents& extents) {
    for (const Tag tag : kLayouts) {
      if (memory::desc(dims_of(extents), type_of<T>(), tag) == desc) return tag;
    }
    return std::nullopt;
  }

  /// Lets the second convolution choose the layout of all activations, and the first that of the
  /// pixels.
  void choose_layouts() {
    desc_.resize(program_.tensors.size());
    offset_.resize(program_.tensors.size());
    is_dense_.assign(program_.tensors.size(), 0);
    for (const Op& op : program_.ops) mark_dense(op);
    input_ = std::get<Ingest>(program_.ops.front()).y;

    std::vector<const Conv*> convs;
    for (const Op& op : program_.ops) {
      if (const auto* conv = std::get_if<Conv>(&op)) convs.push_back(conv);
    }
    assert(convs.size() >= 2);
    const auto any = [&](TensorId id) {
      return memory::desc(dims_of(program_.tensor(id).extents), type_of<T>(), Tag::any);
    };
    try {
      const Conv& second = *convs[1];
      const dnnl::convolution_forward::primitive_desc chosen(
          conv_desc(any(second.x), any_weights(second.weight), any(second.y), second.window),
          attributes(), engine_);
      layout_ = layout_of(chosen.dst_desc(), program_.tensor(second.y).extents).value_or(Tag::nchw);
      const Conv& first = *convs[0];
      const memory::desc y(dims_of(program_.tensor(first.y).extents), type_of<T>(), layout_);
      const dnnl::convolution_forward::primitive_desc of_pixels(
          conv_desc(any(first.x), any_weights(first.weight), y, first.window), attributes(),
          engine_);
      input_layout_ =
          layout_of(of_pixels.src_desc(), program_.tensor(first.x).extents).value_or(Tag::nchw);
      for (const Conv* conv : convs) choose_weights(*conv);
    } catch (const dnnl::error& error) {
      if (error.status == dnnl_unimplemented) {
        throw ConfigError(
            "precision",
            text("oneDNN has no convolutions in ", type_of<T>() == DataType::f32 ? "fp32" : "bf16",
                 " for this CPU", type_of<T>() == DataType::f32 ? "" : ": bf16 needs AVX-512"));
      }
      throw;
    }
  }

  /// The weights of a convolution lie as its forward pass wants them.
  void choose_weights(const Conv& conv) {
    if (!std::is_same_v<T, float>) {  // each pass makes its own of these
      desc_[at(conv.weight)] = {dims_of(program_.tensor(conv.weight).extents), DataType::f32,
                                Tag::abcd};
      return;
    }
    const dnnl::convolution_forward::primitive_desc forward(
        conv_desc(activation_desc(conv.x, max_batch_), any_weights(conv.weight),
                  activation_desc(conv.y, max_batch_), conv.window),
        attributes(), engine_);
    desc_[at(conv.weight)] = forward.weights_desc();
  }

  /// What the dense layer works with: (N, values), float32.
  void mark_dense(const Op& op) {
    const auto mark = [this](TensorId id) { is_dense_[at(id)] = 1; };
    if (const auto* o = std::get_if<AveragePool>(&op)) mark(o->y);
    if (const auto* o = std::get_if<Dense>(&op)) mark(o->y);
    if (const auto* o = std::get_if<SoftmaxLoss>(&op)) mark(o->dlogits);
    if (const auto* o = std::get_if<DenseBackward>(&op)) mark(o->dx);
  }

  void place_persistent() {
    constexpr std::size_t kAlignment = 64 / sizeof(float);
    const auto place = [&](std::size_t& end, TensorId id) {
      offset_[at(id)] = end;
      end += (desc_[at(id)].get_size() / sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
    };
    std::size_t parameters = 0, statistics = 0;
    for (const TensorId id : program_.all(TensorKind::kParameter)) {
      const Tensor& tensor = program_.tensor(id);
      if (desc_[at(id)].dims().empty()) {  // not a convolution's
        desc_[at(id)] = tensor.is_kernel ? memory::desc({tensor.extents[0], tensor.extents[1]},
                                                        DataType::f32, Tag::ab)
                                         : memory::desc({tensor.extents[0]}, DataType::f32, Tag::a);
      }
      place(parameters, id);
      desc_[at(tensor.gradient)] = desc_[at(id)];
      offset_[at(tensor.gradient)] = offset_[at(id)];
      staging_bytes_ = std::max(staging_bytes_, desc_[at(id)].get_size());
    }
    for (const TensorId id : program_.all(TensorKind::kStatistic)) {
      desc_[at(id)] = {{program_.tensor(id).extents[0]}, DataType::f32, Tag::a};
      place(statistics, id);
    }
    parameters_ = Memory(parameters * sizeof(float));
    gradients_ = Memory(parameters * sizeof(float));
    statistics_ = Memory(statistics * sizeof(float));
  }

  void place_activations() {
    std::vector<std::size_t> bytes(program_.tensors.size());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const auto id = static_cast<TensorId>(i);
      const Tensor& tensor = program_.tensors[i];
      if (is_activation(tensor.kind)) desc_[i] = activation_desc(id, max_batch_);
      if (tensor.kind == TensorKind::kChannel) {
        desc_[i] = {{tensor.extents[0]}, DataType::f32, Tag::a};
      }
      if (is_activation(tensor.kind) || tensor.kind == TensorKind::kChannel) {
        bytes[i] = desc_[i].get_size();
      }
    }
    for (const Op& op : program_.ops) {
      if (const auto* pool = std::get_if<MaxPool>(&op)) {
        desc_[at(pool->index)] = pool_desc(*pool, max_batch_).workspace_desc();
        bytes[at(pool->index)] = desc_[at(pool->index)].get_size();
      }
      if (const auto* norm = std::get_if<BatchNorm>(&op)) {
        const Planes planes = planes_of(extents(norm->x, max_batch_), layout_);
        most_planes_ = std::max(most_planes_, planes.blocks * planes.images);
        most_channels_ = std::max(most_channels_, planes.channels());
      }
    }
    const ArenaPlan plan = plan_arena(lifetimes_of(program_), bytes);
    arena_ = Memory(plan.bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] > 0) offset_[i] = plan.offsets[i];
    }
  }

  [[nodiscard]] void* data(TensorId id) const {
    const auto floats = [&](const Memory& memory) -> void* {
      return memory.data() + offset_[at(id)] * sizeof(float);
    };
    switch (program_.tensor(id).kind) {
      case TensorKind::kParameter:
        return floats(parameters_);
      case TensorKind::kGradient:
        return floats(gradients_);
      case TensorKind::kStatistic:
        return floats(statistics_);
      default:
        return arena_.data() + offset_[at(id)];
    }
  }
  /// Null for kNone.
  [[nodiscard]] T* values(TensorId id) const {
    return id == kNone ? nullptr : static_cast<T*>(data(id));
  }
  [[nodiscard]] float* floats(TensorId id) const { return static_cast<float*>(data(id)); }

  // --- operations -------------------------------------------------------------------------------

  Instance& instance(std::int64_t batch) {
    assert(batch > 0 && batch <= max_batch_);
    const auto found = instances_.find(batch);
    if (found != instances_.end()) return found->second;
    Instance made;
    batch_ = batch;
    for (std::size_t i = 0; i < program_.ops.size(); ++i) {
      implementation_ = "own";
      try {
        made.actions.push_back(std::visit([&](const auto& o) { return make(o); }, program_.ops[i]));
      } catch (const dnnl::error& error) {
        throw DeviceError(text("oneDNN: ", label_of(program_, program_.ops[i]), " for batches of ",
                               batch, ": ", error.what()));
      }
      made.implementations.push_back(implementation_);
    }
    reserve_scratch();
    return instances_.emplace(batch, std::move(made)).first->second;
  }

  /// Calls were made with the scratch memory of now; if it has to grow, they are told.
  void reserve_scratch() {
    if (scratch_bytes_ > scratch_.size()) {
      scratch_ = Memory(scratch_bytes_);
      for (memory& scratchpad : scratchpads_) scratchpad.set_data_handle(scratch_.data());
    }
    if (staging_.size() < staging_bytes_) {
      staging_ = Memory(staging_bytes_);
      for (memory& staged : staged_) staged.set_data_handle(staging_.data());
    }
  }

  memory tensor_memory(TensorId id) {
    const memory::desc desc =
        is_activation(program_.tensor(id).kind) ? activation_desc(id, batch_) : desc_[at(id)];
    return {desc, engine_, data(id)};
  }

  memory scratchpad(const memory::desc& desc) {
    scratch_bytes_ = std::max(scratch_bytes_, desc.get_size());
    scratchpads_.emplace_back(desc, engine_, nullptr);
    scratchpads_.back().set_data_handle(scratch_.data());
    return scratchpads_.back();
  }

  memory staged(const memory::desc& desc) {
    staging_bytes_ = std::max(staging_bytes_, desc.get_size());
    staged_.emplace_back(desc, engine_, nullptr);
    staged_.back().set_data_handle(staging_.data());
    return staged_.back();
  }

  template <class Primitive>
  Call call_of(const typename Primitive::primitive_desc& desc) {
    implementation_ = desc.impl_info_str();
    Call call{.primitive = Primitive(desc), .memories = {}, .arguments = {}};
    call.add(DNNL_ARG_SCRATCHPAD, scratchpad(desc.scratchpad_desc()));
    return call;
  }

  Call reorder(const memory& from, const memory& to) {
    const dnnl::reorder::primitive_desc desc(engine_, from.get_desc(), engine_, to.get_desc(),
                                             attributes());
    Call call{.primitive = dnnl::reorder(desc), .memories = {}, .arguments = {}};
    call.add(DNNL_ARG_SCRATCHPAD, scratchpad(desc.scratchpad_desc()));
    call.add(DNNL_ARG_FROM, from);
    call.add(DNNL_ARG_TO, to);
    return call;
  }

  /// `call`, with `first` before it if there is one.
  Action action(std::optional<Call> first, Call call) {
    if (!first.has_value()) {
      return [this, call = std::move(call)](const StepContext&) { call(stream_); };
    }
    return [this, first = std::move(*first), call = std::move(call)](const StepContext&) {
      first(stream_);
      call(stream_);
    };
  }

  dnnl::convolution_forward::primitive_desc forward_desc(TensorId x, TensorId weight, TensorId y,
                                                         const Window& window) {
    // The stored layout first: for other batch sizes another one might be chosen.
    if (std::is_same_v<T, float>) {
      dnnl::convolution_forward::primitive_desc same(
          conv_desc(activation_desc(x, batch_), desc_[at(weight)], activation_desc(y, batch_),
                    window),
          attributes(), engine_, true);
      if (same && !is_reference(same)) return same;
    }
    return {conv_desc(activation_desc(x, batch_), any_weights(weight), activation_desc(y, batch_),
                      window),
            attributes(), engine_};
  }

  template <class Desc>
  static bool is_reference(const Desc& desc) {
    return std::string_view(desc.impl_info_str()).starts_with("ref");
  }

  /// The weights as `wanted`, for a call that reads them: in place, or reordered before it.
  memory weights_as(const memory::desc& wanted, TensorId weight, std::optional<Call>& first) {
    memory stored = tensor_memory(weight);
    if (stored.get_desc() == wanted) return stored;
    memory made = staged(wanted);
    first = reorder(stored, made);
    return made;
  }

  Action make(const Conv& o) {
    const auto desc = forward_desc(o.x, o.weight, o.y, o.window);
    Call call = call_of<dnnl::convolution_forward>(desc);
    std::optional<Call> first;
    call.add(DNNL_ARG_SRC, tensor_memory(o.x));
    call.add(DNNL_ARG_WEIGHTS, weights_as(desc.weights_desc(), o.weight, first));
    call.add(DNNL_ARG_DST, tensor_memory(o.y));
    return action(std::move(first), std::move(call));
  }

  Action make(const ConvBackwardData& o) {
    const auto hint = forward_desc(o.dx, o.weight, o.dy, o.window);
    const dnnl::convolution_backward_data::primitive_desc desc({dnnl::algorithm::convolution_direct,
                                                                activation_desc(o.dx, batch_),
                                                                any_weights(o.weight),
                                                                activation_desc(o.dy, batch_),
                                                                {o.window.stride, o.window.stride},
                                                                {o.window.top, o.window.left},
                                                                {o.window.bottom, o.window.right}},
                                                               attributes(), engine_, hint);
    Call call = call_of<dnnl::convolution_backward_data>(desc);
    std::optional<Call> first;
    call.add(DNNL_ARG_DIFF_DST, tensor_memory(o.dy));
    call.add(DNNL_ARG_WEIGHTS, weights_as(desc.weights_desc(), o.weight, first));
    call.add(DNNL_ARG_DIFF_SRC, tensor_memory(o.dx));
    return action(std::move(first), std::move(call));
  }

  Action make(const ConvBackwardWeights& o) {
    const auto hint = forward_desc(o.x, weight_of(o.dweight), o.dy, o.window);
    const memory::desc stored = desc_[at(o.dweight)];
    const auto with = [&](const memory::desc& dweight, bool allow_empty) {
      return dnnl::convolution_backward_weights::primitive_desc(
          {dnnl::algorithm::convolution_direct,
           activation_desc(o.x, batch_),
           dweight,
           activation_desc(o.dy, batch_),
           {o.window.stride, o.window.stride},
           {o.window.top, o.window.left},
           {o.window.bottom, o.window.right}},
          attributes(), engine_, hint, allow_empty);
    };
    auto desc = with({dims_of(program_.tensor(o.dweight).extents), DataType::f32, Tag::any}, false);
    if (desc.diff_weights_desc() != stored) {
      const auto same = with(stored, true);
      if (same && !is_reference(same)) desc = same;
    }
    Call call = call_of<dnnl::convolution_backward_weights>(desc);
    call.add(DNNL_ARG_SRC, tensor_memory(o.x));
    call.add(DNNL_ARG_DIFF_DST, tensor_memory(o.dy));
    if (desc.diff_weights_desc() == stored) {
      call.add(DNNL_ARG_DIFF_WEIGHTS, tensor_memory(o.dweight));
      return action(std::nullopt, std::move(call));
    }
    const memory made = staged(desc.diff_weights_desc());
    call.add(DNNL_ARG_DIFF_WEIGHTS, made);
    Call second = reorder(made, tensor_memory(o.dweight));
    return action(std::move(call), std::move(second));
  }

  [[nodiscard]] TensorId weight_of(TensorId gradient) const {
    const auto parameters = program_.all(TensorKind::kParameter);
    return *std::ranges::find_if(
        parameters, [&](TensorId id) { return program_.tensor(id).gradient == gradient; });
  }

  Action make(const BatchNorm& o) {
    const typename BatchNormKernels<T>::Forward args{
        .planes = planes_of(extents(o.x, batch_), layout_),
        .x = values(o.x),
        .residual = values(o.residual),
        .y = values(o.y),
        .scale = floats(o.scale),
        .bias = floats(o.bias),
        .running_mean = floats(o.running_mean),
        .running_variance = floats(o.running_variance),
        .mean = floats(o.mean),
        .inv_deviation = floats(o.inv_deviation),
        .relu = o.relu,
        .epsilon = program_.epsilon,
        .keep = program_.keep};
    return [this, args](const StepContext& context) {
      if (context.mode == Mode::kTraining) {
        batch_norms_->train(args);
      } else {
        batch_norms_->evaluate(args);
      }
    };
  }

  Action make(const BatchNormBackward& o) {
    const typename BatchNormKernels<T>::Backward args{
        .planes = planes_of(extents(o.x, batch_), layout_),
        .dy = values(o.dy),
        .dy_other = values(o.dy_other),
        .y = values(o.y),
        .x = values(o.x),
        .scale = floats(o.scale),
        .mean = floats(o.mean),
        .inv_deviation = floats(o.inv_deviation),
        .dx = values(o.dx),
        .dresidual = values(o.dresidual),
        .dscale = floats(o.dscale),
        .dbias = floats(o.dbias)};
    return [this, args](const StepContext&) { batch_norms_->backward(args); };
  }

  dnnl::pooling_forward::primitive_desc pool_desc(const MaxPool& o, std::int64_t batch) const {
    return {{dnnl::prop_kind::forward_training,
             dnnl::algorithm::pooling_max,
             activation_desc(o.x, batch),
             activation_desc(o.y, batch),
             {o.window.stride, o.window.stride},
             {o.window.height, o.window.width},
             {o.window.top, o.window.left},
             {o.window.bottom, o.window.right}},
            attributes(),
            engine_};
  }

  Action make(const MaxPool& o) {
    const auto desc = pool_desc(o, batch_);
    pools_.insert_or_assign({o.index, batch_}, desc);
    Call call = call_of<dnnl::pooling_forward>(desc);
    call.add(DNNL_ARG_SRC, tensor_memory(o.x));
    call.add(DNNL_ARG_DST, tensor_memory(o.y));
    call.add(DNNL_ARG_WORKSPACE, {desc.workspace_desc(), engine_, data(o.index)});
    return action(std::nullopt, std::move(call));
  }

  Action make(const MaxPoolBackward& o) {
    const auto& forward = pools_.at({o.index, batch_});
    const dnnl::pooling_backward::primitive_desc desc({dnnl::algorithm::pooling_max,
                                                       activation_desc(o.dx, batch_),
                                                       activation_desc(o.dy, batch_),
                                                       {o.window.stride, o.window.stride},
                                                       {o.window.height, o.window.width},
                                                       {o.window.top, o.window.left},
                                                       {o.window.bottom, o.window.right}},
                                                      attributes(), engine_, forward);
    Call call = call_of<dnnl::pooling_backward>(desc);
    call.add(DNNL_ARG_DIFF_DST, tensor_memory(o.dy));
    call.add(DNNL_ARG_WORKSPACE, {desc.workspace_desc(), engine_, data(o.index)});
    call.add(DNNL_ARG_DIFF_SRC, tensor_memory(o.dx));
    return action(std::nullopt, std::move(call));
  }

  Action make(const Dense& o) {
    const dnnl::inner_product_forward::primitive_desc desc(
        {dnnl::prop_kind::forward_training, activation_desc(o.x, batch_), desc_[at(o.weight)],
         desc_[at(o.bias)], activation_desc(o.y, batch_)},
        attributes(), engine_);
    Call call = call_of<dnnl::inner_product_forward>(desc);
    call.add(DNNL_ARG_SRC, tensor_memory(o.x));
    call.add(DNNL_ARG_WEIGHTS, tensor_memory(o.weight));
    call.add(DNNL_ARG_BIAS, tensor_memory(o.bias));
    call.add(DNNL_ARG_DST, tensor_memory(o.y));
    return action(std::nullopt, std::move(call));
  }

  Action make(const DenseBackward& o) {
    const memory::desc x = activation_desc(o.x, batch_), dy = activation_desc(o.dy, batch_);
    const memory::desc weight = desc_[at(o.weight)], bias = desc_[at(o.dbias)];
    const dnnl::inner_product_forward::primitive_desc hint(
        {dnnl::prop_kind::forward_training, x, weight, bias, dy}, attributes(), engine_);
    const dnnl::inner_product_backward_data::primitive_desc data_desc({x, weight, dy}, attributes(),
                                                                      engine_, hint);
    const dnnl::inner_product_backward_weights::primitive_desc weights_desc(
        {x, weight, bias, dy}, attributes(), engine_, hint);
    Call first = call_of<dnnl::inner_product_backward_weights>(weights_desc);
    first.add(DNNL_ARG_SRC, tensor_memory(o.x));
    first.add(DNNL_ARG_DIFF_DST, tensor_memory(o.dy));
    first.add(DNNL_ARG_DIFF_WEIGHTS, tensor_memory(o.dweight));
    first.add(DNNL_ARG_DIFF_BIAS, tensor_memory(o.dbias));
    Call second = call_of<dnnl::inner_product_backward_data>(data_desc);
    second.add(DNNL_ARG_DIFF_DST, tensor_memory(o.dy));
    second.add(DNNL_ARG_WEIGHTS, tensor_memory(o.weight));
    second.add(DNNL_ARG_DIFF_SRC, tensor_memory(o.dx));
    return action(std::move(first), std::move(second));
  }

  Action make(const Ingest& o) {
    const Extents e = extents(o.y, batch_);
    const auto pixels = static_cast<std::size_t>(e[2] * e[3]);
    const auto channels = static_cast<std::size_t>(e[1]);
    const std::size_t lanes = input_layout_ == Tag::nChw16c  ? 16
                              : input_layout_ == Tag::nChw8c ? 8
                                                             : channels;
    const bool is_planar = input_layout_ == Tag::nchw;
    const std::size_t channel_stride = is_planar ? pixels : 1;
    const std::size_t pixel_stride = is_planar ? 1 : lanes;
    T* const y = values(o.y);
    return [=, this](const StepContext& context) {
      const auto images = static_cast<std::size_t>(e[0]);
#pragma omp parallel for schedule(static) collapse(2) num_threads(spec_.threads)
      for (std::size_t n = 0; n < images; ++n) {
        for (std::size_t c = 0; c < lanes; ++c) {
          T* const to = y + n * lanes * pixels + c * channel_stride;
          const std::uint8_t* const from = context.input.images.data() + n * channels * pixels + c;
          for (std::size_t i = 0; i < pixels; ++i) {
            // Channels that only pad a block are zero.
            const float value =
                c < channels ? spec_.normalisation.apply(from[i * channels], c) : 0.0f;
            to[i * pixel_stride] = rounded(value);
          }
        }
      }
    };
  }

  static T rounded(float value) {
    if constexpr (std::is_same_v<T, float>) {
      return value;
    } else {
      return to_bf16(value);
    }
  }

  Action make(const AveragePool& o) {
    const Planes planes = planes_of(extents(o.x, batch_), layout_);
    const T* const x = values(o.x);
    float* const y = floats(o.y);
    return [=, this](const StepContext&) {
#pragma omp parallel for schedule(static) collapse(2) num_threads(spec_.threads)
      for (std::size_t n = 0; n < planes.images; ++n) {
        for (std::size_t block = 0; block < planes.blocks; ++block) {
          double sums[16] = {};
          const T* const from = x + planes.at(n, block);
          for (std::size_t i = 0; i < planes.pixels; ++i) {
            for (std::size_t lane = 0; lane < planes.lanes; ++lane) {
              sums[lane] += static_cast<double>(to_float(from[i * planes.pixel_stride + lane]));
            }
          }
          float* const to = y + n * planes.channels() + block * planes.lanes;
          for (std::size_t lane = 0; lane < planes.lanes; ++lane) {
            to[lane] = static_cast<float>(sums[lane] / static_cast<double>(planes.pixels));
          }
        }
      }
    };
  }

  Action make(const AveragePoolBackward& o) {
    const Planes planes = planes_of(extents(o.dx, batch_), layout_);
    const float* const dy = floats(o.dy);
    T* const dx = values(o.dx);
    return [=, this](const StepContext&) {
      const float share = 1.0f / static_cast<float>(planes.pixels);
#pragma omp parallel for schedule(static) collapse(2) num_threads(spec_.threads)
      for (std::size_t n = 0; n < planes.images; ++n) {
        for (std::size_t block = 0; block < planes.blocks; ++block) {
          const float* const from = dy + n * planes.channels() + block * planes.lanes;
          T* const to = dx + planes.at(n, block);
          for (std::size_t i = 0; i < planes.pixels; ++i) {
            for (std::size_t lane = 0; lane < planes.lanes; ++lane) {
              to[i * planes.pixel_stride + lane] = rounded(from[lane] * share);
            }
          }
        }
      }
    };
  }

  /// f(index) for every value of an activation, wherever it lies.
  template <class Function>
  Action for_each_value(TensorId id, Function f) {
    const std::size_t count = activation_desc(id, batch_).get_size() / sizeof(T);
    return [=, this](const StepContext&) {
#pragma omp parallel for schedule(static) num_threads(spec_.threads)
      for (std::size_t i = 0; i < count; ++i) f(i);
    };
  }

  Action make(const Relu& o) {
    const T* const x = values(o.x);
    T* const y = values(o.y);
    return for_each_value(o.y, [=](std::size_t i) {
      const float value = to_float(x[i]);
      y[i] = rounded(value > 0 ? value : 0);
    });
  }

  Action make(const ReluBackward& o) {
    const T *const dy = values(o.dy), *const y = values(o.y);
    T* const dx = values(o.dx);
    return for_each_value(
        o.dx, [=](std::size_t i) { dx[i] = rounded(to_float(y[i]) > 0 ? to_float(dy[i]) : 0); });
  }

  Action make(const Add& o) {
    const T *const a = values(o.a), *const b = values(o.b);
    T* const y = values(o.y);
    return for_each_value(o.y,
                          [=](std::size_t i) { y[i] = rounded(to_float(a[i]) + to_float(b[i])); });
  }

  Action make(const Accumulate& o) {
    const T* const from = values(o.from);
    T* const into = values(o.into);
    return for_each_value(
        o.into, [=](std::size_t i) { into[i] = rounded(to_float(into[i]) + to_float(from[i])); });
  }

  Action make(const SoftmaxLoss& o) {
    const auto classes = static_cast<std::size_t>(program_.tensor(o.logits).extents[1]);
    logits_.resize(classes);
    derivatives_.resize(classes);
    const float* const logits = floats(o.logits);
    float* const dlogits = floats(o.dlogits);
    return [=, this](const StepContext& context) {
      const bool is_training = context.mode == Mode::kTraining;
      const std::span<double> derivatives =
          std::span(derivatives_).first(is_training ? classes : 0);
      for (std::size_t n = 0; n < context.input.labels.size(); ++n) {
        std::copy_n(logits + n * classes, classes, logits_.begin());
        softmax_loss(logits_, context.input.labels[n],
                     static_cast<double>(program_.label_smoothing),
                     1.0 / context.input.global_batch_size, derivatives, context.sums);
        std::ranges::transform(derivatives, dlogits + n * classes,
                               [](double d) { return static_cast<float>(d); });
      }
    };
  }

  void copy(const memory::desc& from, void* source, const memory::desc& to, void* target) {
    const ThreadScope threads(spec_.threads);
    memory a(from, engine_, source), b(to, engine_, target);
    dnnl::reorder(a, b).execute(stream_, a, b);
    stream_.wait();
  }

  const Program program_;
  const ExecutorSpec spec_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::int64_t max_batch_ = 0;

  TensorId input_ = kNone;           ///< what Ingest writes
  Tag layout_ = Tag::nchw;           ///< of all activations but that one
  Tag input_layout_ = Tag::nchw;     ///< of that one
  std::vector<memory::desc> desc_;   ///< by tensor, for the largest batch
  std::vector<char> is_dense_;       ///< by tensor: (N, values) in float32
  std::vector<std::size_t> offset_;  ///< by tensor: floats in its array, or bytes in the arena

  Memory parameters_, gradients_, statistics_, arena_, scratch_, staging_;
  std::size_t scratch_bytes_ = 0, staging_bytes_ = 0;
  std::vector<memory> scratchpads_, staged_;  ///< to be told when the memory above moves

  std::size_t most_planes_ = 0, most_channels_ = 0;
  std::optional<BatchNormKernels<T>> batch_norms_;
  std::map<std::pair<TensorId, std::int64_t>, dnnl::pooling_forward::primitive_desc> pools_;
  std::vector<double> logits_, derivatives_;  ///< of one sample

  std::map<std::int64_t, Instance> instances_;  ///< by batch size
  std::int64_t batch_ = 0;                      ///< of the instance that is being made
  std::string implementation_;                  ///< of the operation that is being made

  std::vector<double> seconds_;  ///< by operation
  std::vector<std::int64_t> calls_;
};

}  // namespace

Executor::Executor(Program program, const ExecutorSpec& spec) {
  try {
    if (spec.precision == Precision::kFloat32) {
      impl_ = std::make_unique<TypedExecutor<float>>(std::move(program), spec);
    } else {
      impl_ = std::make_unique<TypedExecutor<Bf16>>(std::move(program), spec);
    }
  } catch (const dnnl::error& error) {
    throw DeviceError(text("oneDNN: ", error.what()));
  }
}

Executor::~Executor() = default;

const Program& Executor::program() const { return impl_->program(); }

void Executor::train(const StepInput& input, StepSums& sums) {
  sums = {};
  impl_->run_ops(0, program().ops.size(), Mode::kTraining, input, sums);
}

void Executor::evaluate(const StepInput& input, StepSums& sums) {
  sums = {};
  impl_->run_ops(0, program().forward_ops, Mode::kEvaluation, input, sums);
}

void Executor::run(std::size_t op, Mode mode, const StepInput& input, StepSums& sums) {
  impl_->run_ops(op, op + 1, mode, input, sums);
}

std::span<float> Executor::parameters() { return impl_->array(TensorKind::kParameter); }
std::span<float> Executor::gradients() { return impl_->array(TensorKind::kGradient); }
std::span<float> Executor::statistics() { return impl_->array(TensorKind::kStatistic); }

std::span<float> Executor::part(std::span<float> array, TensorId id) const {
  return impl_->part(array, id);
}
void Executor::read(std::span<float> array, TensorId id, std::span<float> values) {
  impl_->read(array, id, values);
}
void Executor::write(std::span<float> array, TensorId id, std::span<const float> values) {
  impl_->write(array, id, values);
}
void Executor::read(TensorId id, std::span<float> values) { impl_->read(id, values); }
void Executor::write(TensorId id, std::span<const float> values) { impl_->write(id, values); }

void Executor::profile() { impl_->is_profiling = true; }
std::vector<Executor::OpTime> Executor::op_times() const { return impl_->op_times(); }
std::size_t Executor::arena_bytes() const { return impl_->arena_bytes(); }
std::vector<std::string> Executor::slow_operations() const { return impl_->slow_operations(); }

}  // namespace slackline::net::cpu
