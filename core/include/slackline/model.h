#pragma once

#include <slackline/batch.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace slackline {

enum class DeviceKind : std::uint32_t { kCpu = 0, kCuda = 1, kEmulated = 2 };

/// Where a replica lives.
struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  std::int32_t index = 0;  ///< among the devices of the run
  void* stream = nullptr;  ///< where work is enqueued: a cudaStream_t, an EmulatedDevice*; null on
                           ///< the CPU
};

enum class OptimizerKind : std::uint32_t { kSgd = 0, kLars = 1 };

/// What weight decay means.
enum class WeightDecay : std::uint32_t {
  /// Keras's l2(c): the loss gets c * sum of w^2 (no half) over the kernels of convolutions and
  /// dense layers and the biases of the latter, so their gradients get 2 * c * w.
  kL2Loss = 0,
  /// torch.optim.SGD's: the gradient of every parameter gets c * w, and the loss stays.
  kTorch = 1
};

/// How gradients change parameters; the same for all updates of a run.
///
/// kSgd   momentum in Keras's form: v = momentum * v - rate * g; w = w + v.
/// kLars  You, Gitman, Ginsburg (2017): kernels of convolutions and dense layers take the rate
///        rate * trust * |w| / (|g| + |decay of w|), per tensor; all else as kSgd, and without
///        decay.
struct OptimizerSpec {
  OptimizerKind kind = OptimizerKind::kSgd;
  WeightDecay decay_form = WeightDecay::kL2Loss;
  float weight_decay = 0;
  float momentum = 0;
  float lars_trust = 0.001f;
};

/// All that a model must know before it allocates.
struct ModelSpec {
  ImageShape image;
  std::int32_t max_batch_size = 0;  ///< for one device
  std::int32_t num_classes = 0;     ///< labels are 0..num_classes-1
  std::uint64_t seed = 0;           ///< of the initial parameters; equal on every replica
  Device device;
  OptimizerSpec optimizer = {};
  std::int32_t cpu_threads = 1;  ///< that a replica on the CPU may compute with
  /// Of the steps 0, 1, ... of the run; the last one stays. UpdateRule::learning_rate has the same
  /// values: a model whose device can look them up need not hand them to it step by step. Empty if
  /// they are not known beforehand.
  std::vector<float> learning_rates = {};
};

/// Sums over the samples of a step, so that the sums of replicas and steps can be added.
struct StepSums {
  double loss = 0;           ///< cross-entropy in nats, summed
  std::int64_t correct = 0;  ///< samples whose highest logit is the label's
  std::int64_t samples = 0;
  std::int64_t correct_top5 = 0;  ///< samples whose label is among the five highest logits
  double penalty = 0;             ///< WeightDecay::kL2Loss's part of the loss, once a sample

  StepSums& operator+=(const StepSums& other) {
    loss += other.loss;
    correct += other.correct;
    samples += other.samples;
    correct_top5 += other.correct_top5;
    penalty += other.penalty;
    return *this;
  }
};

/// What changes from one update to the next.
struct UpdateRule {
  float learning_rate = 0;
  std::uint64_t step = 0;  ///< of the run, from 0; a resumed run counts on
};

/// Puts the sums over all replicas in place of a replica's gradients, while its model goes on.
///
/// Lifecycle  one for each replica: in every step begin(), once or more, and then finish(). The
///            spans of a step, the same ones at every replica in the same order, cover all of
///            Model::gradients() without overlap.
/// Threads    the model's.
/// Errors     DeviceError; the gradients are undefined then.
class SLACKLINE_API GradientExchange {
 public:
  GradientExchange() = default;
  GradientExchange(const GradientExchange&) = delete;
  GradientExchange& operator=(const GradientExchange&) = delete;
  virtual ~GradientExchange();

  /// These are final behind what is enqueued on the device's stream so far, and are left alone
  /// until finish(). On the CPU it may wait; on a GPU it returns once enqueued, also in a capture.
  virtual void begin(std::span<float> gradients) = 0;

  /// What is enqueued on the device's stream from here on finds the sums.
  virtual void finish() = 0;
};

/// A replica's part of a training step.
struct ReplicaStep {
  const Batch* batch = nullptr;        ///< null where the replica has none, at an uneven end
  std::int32_t global_batch_size = 0;  ///< samples of the step over all replicas
  UpdateRule rule;
  GradientExchange* exchange = nullptr;  ///< null if the replica shares its gradients with nobody,
                                         ///< and then there is a batch
  std::int32_t replicas = 1;             ///< of all ranks, that make this step together
};

/// What a tensor of a model is for.
enum class TensorRole : std::uint32_t {
  kParameter = 0,  ///< trained
  kStatistic = 1,  ///< running mean or variance: what evaluation uses
  kSlot = 2,       ///< the optimizer's: named after its parameter, "momentum.fc.weight", or
                   ///< "loss_scale"
  kGradient = 3    ///< of the last forward_backward(); for tests and tools, not part of the state
};

struct TensorInfo {
  std::string name;                 ///< unique; torchvision's where it has one: "layer1.0.bn1.bias"
  std::vector<std::int64_t> shape;  ///< PyTorch's order: (K, C, R, S), (out, in), (C)
  TensorRole role = TensorRole::kParameter;

  [[nodiscard]] std::size_t size() const {
    std::size_t values = 1;
    for (const std::int64_t extent : shape) values *= static_cast<std::size_t>(extent);
    return values;
  }
};

/// The tensors that a model, or a strategy's replicas of it, is made of: what checkpoints hold.
///
/// Threads    one caller at a time, with no step in flight.
/// Errors     DeviceError.
class SLACKLINE_API TensorStore {
 public:
  TensorStore() = default;
  TensorStore(const TensorStore&) = delete;
  TensorStore& operator=(const TensorStore&) = delete;
  virtual ~TensorStore();

  /// Constant, and valid as long as the store.
  [[nodiscard]] virtual std::span<const TensorInfo> tensors() const = 0;

  /// Copies out the values of tensors()[index], dense and row-major, as many as its size().
  virtual void read(std::size_t index, std::span<float> values) = 0;

  /// The reverse. Writing back what was read changes no bit. Gradients are not written.
  virtual void write(std::size_t index, std::span<const float> values) = 0;
};

/// The store of a model that has no tensors.
[[nodiscard]] SLACKLINE_API TensorStore& no_tensors();

/// Parameters, forward, backward and update on one device.
///
/// Lifecycle  construct, build(), then any mixture of the others.
/// Threads    one caller at a time. On a GPU the calls return once enqueued on the device's
///            stream, and `sums`, which is in pinned memory, is written when the stream gets
///            there; on the CPU they return when done.
/// Errors     ConfigError from build() for a shape, device or optimizer that it cannot work with;
///            DataError for a label outside the classes; DeviceError.
class SLACKLINE_API Model {
 public:
  static constexpr const char* kKind = "model";
  static constexpr std::uint32_t kInterfaceVersion = 1;

  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model();

  /// Allocates everything and sets the initial parameters.
  virtual void build(const ModelSpec& spec) = 0;

  /// Sets the gradients to those of this batch's summed loss divided by `global_batch_size`, the
  /// samples of the step over all replicas. Overwrites `sums`.
  virtual void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                                StepSums& sums) = 0;

  /// All gradients, flat, in the device's memory: what a Strategy reduces between
  /// forward_backward() and update(). Valid as long as the model.
  [[nodiscard]] virtual std::span<float> gradients() = 0;

  /// The running statistics, flat, in the device's memory: a Strategy averages them over replicas
  /// before they are used. Empty if there are none; valid as long as the model.
  [[nodiscard]] virtual std::span<float> statistics() = 0;

  /// Applies the gradients to the parameters, as ModelSpec::optimizer says.
  virtual void update(const UpdateRule& rule) = 0;

  /// A whole training step: forward_backward(), the exchange of the gradients, which are zeros
  /// without a batch, and update(). A model on a GPU overrides this, as the default writes those
  /// zeros itself; one that can exchange some gradients while it computes the others, too.
  virtual void train(const ReplicaStep& step, StepSums& sums);

  /// Forward only, as in inference. Overwrites `sums`.
  virtual void evaluate(const Batch& batch, StepSums& sums) = 0;

  /// Valid as long as the model.
  [[nodiscard]] virtual TensorStore& state() = 0;
};

}  // namespace slackline
