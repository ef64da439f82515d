#pragma once

#include <slackline/model.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "cuda/handles.h"
#include "cudnn/choose.h"
#include "cudnn/plan_cache.h"
#include "cudnn/target.h"
#include "net/program.h"
#include "net/reference.h"
#include "net_cuda/kernels.h"
#include "net_cuda/layout.h"

namespace slackline::net::cuda {

using slackline::cuda::DeviceBuffer;
using slackline::cuda::MemoryRange;
using slackline::cuda::Runtime;

/// A part of a step, with its pointers in place.
struct Action {
  std::size_t op = 0;  ///< place in the program; unused for what belongs to none
  std::string name;    ///< the operation's label_of(), or what it is
  std::vector<MemoryRange> reads = {}, writes = {};
  std::function<void(cudaStream_t)> call = {};
};

struct ExecutorSpec {
  Precision precision = Precision::kFloat32;
  Normalisation normalisation = {};
  OptimizerSpec optimizer = {};
  float loss_scale = 1;  ///< to begin with
  bool is_loss_scale_dynamic = false;
  std::vector<float> rate_table = {};  ///< as ModelSpec::learning_rates
  cudnn::Policy policy = {};           ///< what engines of cuDNN may be
  /// Which engines were measured to be fastest for full batches; must outlive the executor. What is
  /// not in it is measured when the executor is constructed, and put into it. Null, and other batch
  /// sizes: cuDNN's first suggestion is taken.
  cudnn::PlanCache* plan_cache = nullptr;
};

/// Samples in the device's memory.
struct DeviceBatch {
  const std::uint8_t* images = nullptr;  ///< (n, H, W, 3)
  const std::int32_t* labels = nullptr;  ///< (n)
  std::int32_t size = 0;                 ///< at most the program's N
};

/// Executes a program on a GPU: convolutions and dense products by cuDNN, the rest by kernels.h.
/// Everything is planned, and all memory allocated, when it is constructed; another batch size is
/// planned when it first comes. A step neither allocates nor waits.
///
/// Threads    one caller at a time.
/// Errors     DeviceError, with the operation's name and cuDNN's own words.
class Executor {
 public:
  /// `target` says what plans are made for and, if it is a device, executes them. All must outlive
  /// this.
  Executor(Program program, const ExecutorSpec& spec, const cudnn::Target& target, Runtime& runtime,
           cudaStream_t stream);

  [[nodiscard]] const Program& program() const { return program_; }
  [[nodiscard]] const Layout& layout() const { return layout_; }

  // All of these return once enqueued.

  /// Takes over the batch's pixels and labels; its memory is read no more behind this.
  void ingest(const DeviceBatch& batch);
  /// The rest of the forward pass, and in training the backward pass, on the first `size` samples
  /// of what was taken over. With gradients as Model::forward_backward() says.
  void run(Mode mode, std::int32_t size, std::int32_t global_batch_size);
  /// The same in training, where others have a share in the gradients: each of layout().parts goes
  /// to `exchange` as soon as it is final.
  void run(std::int32_t size, std::int32_t global_batch_size, GradientExchange& exchange);
  /// What run() exchanges, without samples: zeros.
  void exchange_zeros(GradientExchange& exchange);
  /// Applies the gradients, with the rate that has_rate_table() or else schedule() says.
  void update();

  [[nodiscard]] std::span<float> values() { return values_.span(); }
  [[nodiscard]] std::span<float> gradients() { return gradients_.span(); }
  [[nodiscard]] std::span<float> velocities() { return velocities_.span(); }
  [[nodiscard]] std::span<float> statistics() { return statistics_.span(); }
  [[nodiscard]] StepSums* sums() { return sums_.data(); }
  [[nodiscard]] LossScale* loss_scale() { return loss_scale_.data(); }
  /// Whether a rate is that of schedule()->step, which update() counts on; else it is
  /// schedule()->rate.
  [[nodiscard]] bool has_rate_table() const { return rate_table_.size() > 0; }
  [[nodiscard]] Schedule* schedule() { return schedule_.data(); }

  /// Parameters and statistics as before training: initial_values(). Waits for the stream.
  void set_initial_values(std::uint64_t seed);

  /// Copies tensor `id` out of a flat array, or into it, dense and in its logical order on our
  /// side. Waits for the stream.
  void read(std::span<float> array, TensorId id, std::span<float> values);
  void write(std::span<float> array, TensorId id, std::span<const float> values);

  /// Makes what run() needs for a batch size, if it is not there: outside of captures.
  void prepare(Mode mode, std::int32_t size, std::int32_t global_batch_size);

  [[nodiscard]] std::size_t workspace_bytes() const { return workspace_.bytes(); }
  /// A line for each of cuDNN's plans that was to be measured and did not run.
  [[nodiscard]] const std::vector<std::string>& failed_plans() const { return failed_plans_; }

  // For tests; these wait for the stream.

  /// Any tensor as operations see it, but for indices: activations too, which are only there while
  /// they live, and kernels and their gradients in the precision that convolutions have.
  void read(TensorId id, std::span<float> values);
  void write(TensorId id, std::span<const float> values);
  /// What ingest() does with labels, while the memory of the pixels holds something else.
  void take_labels(const DeviceBatch& batch);
  /// One operation of the program alone; returns once enqueued.
  void run(std::size_t op, Mode mode, std::int32_t size, std::int32_t global_batch_size);

 private:
  using Key = std::tuple<Mode, std::int32_t, std::int32_t>;
  static Key key_of(Mode mode, std::int32_t size, std::int32_t global_batch_size);

  /// A tensor's memory on the device, and how much of it a batch touches.
  struct Place {
    void* data = nullptr;
    std::size_t bytes = 0;

    template <class T>
    [[nodiscard]] T* as() const {
      return static_cast<T*>(data);
    }
  };
  /// Nowhere for kNone.
  [[nodiscard]] Place place(TensorId id, std::int64_t batch) const;
  /// Of kernels and their gradients, those in the precision of convolutions.
  [[nodiscard]] Place place_for_cudnn(TensorId id, std::int64_t batch) const;
  [[nodiscard]] Place place_for_tests(TensorId id, Precision& precision) const;

  struct Instance {
    std::vector<Action> actions;
    DeviceBuffer<std::byte> workspace;  ///< if the common one is too small
  };
  class Builder;

  void enqueue(const Action& action);
  void begin_exchange(std::size_t part, GradientExchange& exchange);
  [[nodiscard]] Instance build(const Key& key);
  /// Layers of one shape share a plan.
  [[nodiscard]] const cudnn::Plan& plan(const cudnn::Graph& graph,
                                        std::span<const cudnn::Binding> bindings);
  [[nodiscard]] cudnn::Plan new_plan(const cudnn::Graph& graph,
                                     std::span<const cudnn::Binding> bindings);
  [[nodiscard]] ParameterArgs parameter_args();
  [[nodiscard]] Action gather_action(const GradientPart& part);
  void make_update_actions();
  /// Waits for the stream.
  template <class T>
  void set(DeviceBuffer<T>& buffer, std::span<const T> values);

  const Program program_;
  const ExecutorSpec spec_;
  const cudnn::Target& target_;
  Runtime& runtime_;
  const cudaStream_t stream_;
  const Layout layout_;

  DeviceBuffer<float> values_, gradients_, velocities_, statistics_;
  DeviceBuffer<std::byte> copies_, raw_;  ///< of kernels, in 16 bits; empty in float32
  DeviceBuffer<std::byte> arena_, workspace_, scratch_;
  DeviceBuffer<TrainedTensor> trained_;
  DeviceBuffer<Piece> pieces_;
  DeviceBuffer<double> piece_sums_, penalty_;
  DeviceBuffer<float> rates_, rate_table_;
  DeviceBuffer<std::int32_t> labels_;
  DeviceBuffer<StepSums> sums_, per_sample_;
  DeviceBuffer<LossScale> loss_scale_;
  DeviceBuffer<Schedule> schedule_;
  slackline::cuda::PinnedBuffer<std::byte> staging_;  ///< for read() and write()

  std::map<std::string, cudnn::Plan> plans_;  ///< by signature
  std::vector<std::string> failed_plans_;
  std::map<Key, Instance> instances_;
  Action gather_, update_, refresh_;
  std::vector<Action> gather_parts_;  ///< layout().parts
  bool needs_refresh_ = true;         ///< values were written, and what is made of them was not
};

}  // namespace slackline::net::cuda
