#pragma once

#include <slackline/model.h>

#include <cstdint>
#include <span>
#include <vector>

#include "net/program.h"

namespace slackline::net {

enum class Mode : std::uint8_t { kTraining, kEvaluation };

/// What a step is about, beside the parameters.
struct StepInput {
  std::span<const std::uint8_t> images;  ///< (n, H, W, 3)
  std::span<const std::int32_t> labels;  ///< (n); n is at most the program's N
  std::int32_t global_batch_size = 1;    ///< the loss is divided by this
};

/// Executes programs in float64, one plain loop an operation: what every other executor is compared
/// with. All tensors are dense, in their logical order.
///
/// Threads    one caller at a time.
class Reference {
 public:
  /// `program` must outlive this. All values are zero.
  Reference(const Program& program, const Normalisation& normalisation);

  /// All values of a tensor, those of samples beyond the batch too.
  [[nodiscard]] std::span<double> tensor(TensorId id) {
    return tensors_[static_cast<std::size_t>(id)];
  }

  /// Forward and backward; gradients and statistics are those of this batch. Overwrites `sums`.
  void train(const StepInput& input, StepSums& sums);
  /// Forward with the running statistics. Overwrites `sums`.
  void evaluate(const StepInput& input, StepSums& sums);

  /// One operation alone. Adds to `sums`.
  void run(const Op& op, Mode mode, const StepInput& input, StepSums& sums);
  /// The same on the first `batch_size` samples, for all but Ingest and SoftmaxLoss.
  void run(const Op& op, Mode mode, std::int64_t batch_size);

 private:
  /// Extents with the batch's N, for activations.
  [[nodiscard]] Extents extents(TensorId id) const;

  void execute(const Ingest& op);
  void execute(const Conv& op);
  void execute(const BatchNorm& op);
  void execute(const Relu& op);
  void execute(const Add& op);
  void execute(const MaxPool& op);
  void execute(const AveragePool& op);
  [[nodiscard]] std::size_t flat_place(TensorId x, std::size_t i) const;
  void execute(const Dense& op);
  void execute(const SoftmaxLoss& op);
  void execute(const ConvBackwardData& op);
  void execute(const ConvBackwardWeights& op);
  void execute(const BatchNormBackward& op);
  void execute(const ReluBackward& op);
  void execute(const Accumulate& op);
  void execute(const MaxPoolBackward& op);
  void execute(const AveragePoolBackward& op);
  void execute(const DenseBackward& op);

  const Program& program_;
  const Normalisation normalisation_;
  std::vector<std::vector<double>> tensors_;  ///< by TensorId

  Mode mode_ = Mode::kTraining;
  std::int64_t batch_size_ = 0;
  const StepInput* input_ = nullptr;  ///< while a step runs
  StepSums* sums_ = nullptr;
};

/// Softmax cross-entropy of one sample's logits with this label; with `smoothing` s, the label's
/// share of the target is 1 - s and s is spread evenly over all classes. Adds to `sums`.
/// `derivatives`, as many as logits or none, gets the derivative of the loss times `scale`.
void softmax_loss(std::span<const double> logits, std::int32_t label, double smoothing,
                  double scale, std::span<double> derivatives, StepSums& sums);

}  // namespace slackline::net
