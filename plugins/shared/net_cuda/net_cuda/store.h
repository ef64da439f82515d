#pragma once

#include <slackline/model.h>

#include <cstddef>
#include <span>
#include <vector>

#include "net_cuda/executor.h"

namespace slackline::net::cuda {

/// The tensors of an executor under torchvision's names, the velocities of its parameters, and the
/// state of the loss scale: "loss_scale", (scale, good steps, skipped steps).
class DeviceStore final : public TensorStore {
 public:
  /// `executor` must outlive this.
  DeviceStore(Executor& executor, Runtime& runtime, cudaStream_t stream);

  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return tensors_; }
  void read(std::size_t index, std::span<float> values) override;
  void write(std::size_t index, std::span<const float> values) override;

 private:
  [[nodiscard]] std::span<float> array(std::size_t index);
  void read_loss_scale();

  Executor& executor_;
  Runtime& runtime_;
  const cudaStream_t stream_;
  std::vector<TensorInfo> tensors_;
  std::vector<TensorId> ids_;  ///< of each in the program; kNone for the loss scale
  slackline::cuda::PinnedBuffer<LossScale> loss_scale_;
};

}  // namespace slackline::net::cuda
