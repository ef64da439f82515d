#pragma once

#include <slackline/model.h>

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cuda/runtime.h"
#include "cudnn/plan_cache.h"
#include "cudnn/target.h"
#include "net_cuda/executor.h"
#include "net_cuda/store.h"
#include "net_cuda/trainer.h"

namespace slackline::net::cuda {

/// A program, trained on a GPU: all that a Model plugin is, but for its options and its program.
///
/// Lifecycle  as Model; build() calls assemble().
class ProgramModel : public Model {
 public:
  /// Why no such model can be used here; empty if one can.
  static std::string unavailable();

  void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                        StepSums& sums) override;
  void update(const UpdateRule& rule) override;
  void train(const ReplicaStep& step, StepSums& sums) override;
  void evaluate(const Batch& batch, StepSums& sums) override;
  [[nodiscard]] std::span<float> gradients() override { return executor_->gradients(); }
  [[nodiscard]] std::span<float> statistics() override { return executor_->statistics(); }
  [[nodiscard]] TensorStore& state() override { return *store_; }

 protected:
  /// `name` is the plugin's, for errors.
  explicit ProgramModel(const char* name);

  /// ConfigError unless `spec` names a GPU.
  void require_gpu(const ModelSpec& spec) const;

  /// Makes what trains `program`, with parameters that are not set yet. Of `executor`, optimizer,
  /// rates and plans are filled in here; without `plans`, cuDNN's first suggestions are taken.
  void assemble(Program program, ExecutorSpec executor, Launch launch, const ModelSpec& model,
                std::optional<cudnn::PlanCache> plans = std::nullopt);
  [[nodiscard]] Executor& executor() { return *executor_; }
  [[nodiscard]] cudnn::PlanCache& plans() { return *plans_; }  ///< that assemble() was given

 private:
  const char* const name_;
  Runtime& runtime_;
  std::optional<cudnn::Target> target_;
  std::optional<cudnn::PlanCache> plans_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<DeviceStore> store_;
};

}  // namespace slackline::net::cuda
