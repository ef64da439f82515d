#pragma once

#include <cstdint>
#include <filesystem>

#include "cuda/handles.h"
#include "cudnn/plan_cache.h"
#include "cudnn/target.h"
#include "net/resnet.h"
#include "net_cuda/executor.h"
#include "net_cuda/trainer.h"

namespace slackline::bench {

struct NetOptions {
  std::int32_t depth = 50, batch = 256, image = 224, classes = 1000;
  net::cuda::Precision precision = net::cuda::Precision::kFloat16;
  bool tf32 = true;
  net::Fusion fusion = net::Fusion::kBatchNorm;
  net::cuda::Launch launch = net::cuda::Launch::kGraph;
  /// cuDNN's fastest engines, measured where the file has none. Empty: cuDNN's first suggestions.
  std::filesystem::path plan_cache;
};

/// A network on the GPU with a batch that is resident there.
class DeviceNet {
 public:
  explicit DeviceNet(const NetOptions& options);

  /// Enqueues a training step.
  void train();
  /// Waits, and returns the last step's sums.
  StepSums finish();

  [[nodiscard]] net::cuda::Executor& executor() { return executor_; }
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }
  [[nodiscard]] const cudnn::Target& target() const { return target_; }

 private:
  void make_batch();

  const NetOptions options_;
  cuda::Runtime& runtime_;
  const cuda::Stream stream_;
  const cudnn::Target target_;
  cudnn::PlanCache plans_;
  net::cuda::Executor executor_;
  net::cuda::Trainer trainer_;
  cuda::DeviceBuffer<std::uint8_t> images_;
  cuda::DeviceBuffer<std::int32_t> labels_;
  cuda::PinnedBuffer<StepSums> sums_;
};

}  // namespace slackline::bench
