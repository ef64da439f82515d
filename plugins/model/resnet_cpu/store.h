#pragma once

#include <slackline/model.h>

#include <span>
#include <vector>

#include "net_cpu/executor.h"

namespace slackline {

/// The tensors of an executor under torchvision's names, with the velocities of its parameters.
class ExecutorStore final : public TensorStore {
 public:
  /// `velocities` lies like the parameters. Both must outlive this.
  ExecutorStore(net::cpu::Executor& executor, std::span<float> velocities);

  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return tensors_; }
  void read(std::size_t index, std::span<float> values) override;
  void write(std::size_t index, std::span<const float> values) override;

 private:
  [[nodiscard]] std::span<float> array(std::size_t index);

  net::cpu::Executor& executor_;
  std::span<float> velocities_;
  std::vector<TensorInfo> tensors_;
  std::vector<net::TensorId>
      ids_;  ///< of each in the program; a velocity's and a gradient's is its parameter
};

}  // namespace slackline
