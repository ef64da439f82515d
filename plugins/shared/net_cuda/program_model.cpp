#include "net_cuda/program_model.h"

#include <slackline/error.h>

#include <utility>

namespace slackline::net::cuda {
namespace {

DeviceBatch on_device(const Batch& batch) {
  return {.images = batch.images.data(), .labels = batch.labels.data(), .size = batch.size};
}

}  // namespace

std::string ProgramModel::unavailable() {
  const std::string why = slackline::cuda::why_unavailable();
  return why.empty() ? cudnn::why_unavailable() : why;
}

ProgramModel::ProgramModel(const char* name) : name_(name), runtime_(slackline::cuda::runtime()) {}

void ProgramModel::require_gpu(const ModelSpec& spec) const {
  if (spec.device.kind == DeviceKind::kCuda) return;
  throw ConfigError(text("model ", name_, ": device ", spec.device.index,
                         " is no GPU; it needs a strategy with GPUs, as one_gpu"));
}

void ProgramModel::assemble(Program program, ExecutorSpec executor, Launch launch,
                            const ModelSpec& model, std::optional<cudnn::PlanCache> plans) {
  auto* const stream = static_cast<cudaStream_t>(model.device.stream);
  target_.emplace(cudnn::Target::of_device());
  plans_ = std::move(plans);
  executor.plan_cache = plans_.has_value() ? &*plans_ : nullptr;
  executor.optimizer = model.optimizer;
  executor.rate_table = model.learning_rates;
  executor_ = std::make_unique<Executor>(std::move(program), executor, *target_, runtime_, stream);
  trainer_ = std::make_unique<Trainer>(*executor_, launch, runtime_, stream);
  store_.emplace(*executor_, runtime_, stream);
}

void ProgramModel::forward_backward(const Batch& batch, std::int32_t global_batch_size,
                                    StepSums& sums) {
  trainer_->forward_backward(on_device(batch), global_batch_size, sums);
}

void ProgramModel::update(const UpdateRule& rule) { trainer_->update(rule); }

void ProgramModel::train(const ReplicaStep& step, StepSums& sums) {
  const DeviceBatch batch = step.batch == nullptr ? DeviceBatch{} : on_device(*step.batch);
  if (step.exchange == nullptr) {
    return trainer_->train(batch, step.global_batch_size, step.rule, sums);
  }
  trainer_->train(batch, step.global_batch_size, step.rule, sums, *step.exchange, step.replicas);
}

void ProgramModel::evaluate(const Batch& batch, StepSums& sums) {
  trainer_->evaluate(on_device(batch), sums);
}

}  // namespace slackline::net::cuda
