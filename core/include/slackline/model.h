#pragma once

#include <slackline/batch.h>

#include <cstdint>
#include <span>

namespace slackline {

enum class DeviceKind : std::uint32_t { kCpu = 0, kCuda = 1, kEmulated = 2 };

/// Where a replica lives.
struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  std::int32_t index = 0;  ///< among the devices of the run
  void* stream = nullptr;  ///< where work is enqueued: a cudaStream_t, an EmulatedDevice*; null on
                           ///< the CPU
};

/// All that a model must know before it allocates.
struct ModelSpec {
  ImageShape image;
  std::int32_t max_batch_size = 0;  ///< for one device
  std::int32_t num_classes = 0;     ///< labels are 0..num_classes-1
  std::uint64_t seed = 0;           ///< of the initial parameters; equal on every replica
  Device device;
};

/// Sums over the samples of a step, so that the sums of replicas and steps can be added.
struct StepSums {
  double loss = 0;           ///< cross-entropy in nats, summed
  std::int64_t correct = 0;  ///< samples whose highest logit is the label's
  std::int64_t samples = 0;
};

/// SGD with momentum in Keras's form: v = momentum * v - learning_rate * g; w = w + v.
struct UpdateRule {
  float learning_rate = 0;
  float momentum = 0;
};

/// Parameters, forward, backward and update on one device.
///
/// Lifecycle  construct, build(), then any mixture of the others.
/// Threads    one caller at a time. On a GPU the calls return once enqueued on the device's
///            stream, and `sums` is written when the stream gets there; on the CPU they return
///            when done.
/// Errors     ConfigError from build() for a shape or device that it cannot work with; DataError
///            for a label outside the classes; DeviceError.
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

  /// Applies the gradients to the parameters.
  virtual void update(const UpdateRule& rule) = 0;

  /// Forward only, as in inference. Overwrites `sums`.
  virtual void evaluate(const Batch& batch, StepSums& sums) = 0;
};

}  // namespace slackline
