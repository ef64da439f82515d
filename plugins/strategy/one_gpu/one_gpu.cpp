// One replica on one GPU. Steps are enqueued by the caller's thread, and computed behind each other
// on a stream; batches come on another.

#include <slackline/plugin.h>
#include <slackline/strategy.h>

#include <cassert>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "cuda/runtime.h"
#include "gpu_replica/device_wait.h"
#include "gpu_replica/gpu_replica.h"
#include "gpu_replica/upload_stream.h"

namespace slackline {
namespace {

class OneGpuStrategy final : public Strategy {
 public:
  struct Options {
    std::int32_t device = 0;
    std::int32_t step_deadline_s = 300;

    static OptionTable<Options> table() {
      return {option("device", &Options::device,
                     "index of the GPU, as CUDA counts them (CUDA_VISIBLE_DEVICES)")
                  .range(0, 63),
              gpu::step_deadline_option<Options>()};
    }
  };

  static std::string unavailable() { return cuda::why_unavailable(); }

  OneGpuStrategy(const Options& options, Host& host)
      : deadline_{.clock = host.clock(), .limit = std::chrono::seconds(options.step_deadline_s)},
        track_(host.track("device 0 upload")),
        replica_(cuda::runtime(), options.device, deadline_) {}

  [[nodiscard]] std::int32_t device_count() const override { return 1; }

  [[nodiscard]] std::int32_t launch_threads_per_device() const override { return 0; }

  void build(ModelFactory& factory, const ModelSpec& spec) override {
    replica_.build(factory, spec);
  }

  [[nodiscard]] std::unique_ptr<BatchStream> upload(BatchStream& host, std::int32_t) override {
    return std::make_unique<gpu::UploadStream>(host, replica_.spec(), cuda::runtime(), track_,
                                               deadline_);
  }

  void submit(std::span<const Batch* const> batches, const StepPlan& plan) override {
    assert(batches.size() == 1);
    replica_.submit(batches[0], plan);
  }

  [[nodiscard]] StepSums finish() override { return replica_.finish(); }

  [[nodiscard]] TensorStore& state() override { return replica_.model().state(); }

 private:
  const gpu::StepDeadline deadline_;
  TraceTrack& track_;
  gpu::GpuReplica replica_;
};

}  // namespace

SLACKLINE_PLUGIN(Strategy, OneGpuStrategy, "one_gpu", "one replica on one NVIDIA GPU");

}  // namespace slackline
