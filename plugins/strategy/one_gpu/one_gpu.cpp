// One replica on one GPU. Steps are enqueued by the caller's thread, and computed behind each other
// on a stream; batches come on another.

#include <slackline/plugin.h>
#include <slackline/strategy.h>

#include <cassert>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "cuda/runtime.h"
#include "gpu_replica/gpu_replica.h"
#include "gpu_replica/upload_stream.h"

namespace slackline {
namespace {

class OneGpuStrategy final : public Strategy {
 public:
  struct Options {
    std::int32_t device = 0;

    static OptionTable<Options> table() {
      return {option("device", &Options::device,
                     "index of the GPU, as CUDA counts them (CUDA_VISIBLE_DEVICES)")
                  .range(0, 63)};
    }
  };

  static std::string unavailable() { return cuda::why_unavailable(); }

  OneGpuStrategy(const Options& options, Host& host)
      : host_(host),
        track_(host.track("device 0 upload")),
        replica_(cuda::runtime(), options.device) {}

  [[nodiscard]] std::int32_t device_count() const override { return 1; }

  [[nodiscard]] std::int32_t launch_threads_per_device() const override { return 0; }

  void build(ModelFactory& factory, const ModelSpec& spec) override {
    replica_.build(factory, spec);
  }

  [[nodiscard]] std::unique_ptr<BatchStream> upload(BatchStream& host, std::int32_t) override {
    return std::make_unique<gpu::UploadStream>(host, replica_.spec(), cuda::runtime(), track_,
                                               host_.clock());
  }

  void submit(std::span<const Batch* const> batches, const StepPlan& plan) override {
    assert(batches.size() == 1);
    replica_.submit(batches[0], plan);
  }

  [[nodiscard]] StepSums finish() override { return replica_.finish(); }

  [[nodiscard]] TensorStore& state() override { return replica_.model().state(); }

 private:
  Host& host_;
  TraceTrack& track_;
  gpu::GpuReplica replica_;
};

}  // namespace

SLACKLINE_PLUGIN(Strategy, OneGpuStrategy, "one_gpu", "one replica on one NVIDIA GPU");

}  // namespace slackline
