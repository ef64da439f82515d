// One replica for each process of a run, each on a GPU of its own: gradients are summed by NCCL, in
// buckets, while the backward pass goes on, and every process applies the sums.

#include <slackline/error.h>
#include <slackline/plugin.h>
#include <slackline/strategy.h>

#include <cassert>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cuda/runtime.h"
#include "gpu_replica/device_wait.h"
#include "gpu_replica/upload_stream.h"
#include "nccl/api.h"
#include "nccl/communicator.h"
#include "nccl/devices.h"
#include "nccl/mirrored_replica.h"
#include "process_group/membership.h"
#include "process_group/rank_plan.h"

namespace slackline {
namespace {

class MirroredNcclStrategy final : public Strategy {
 public:
  struct Options {
    std::int32_t devices = 0;
    std::int32_t buckets = 3;
    std::int32_t num_packs = 1;
    std::int32_t max_ctas = 0;
    std::int32_t deadline_s = 10;
    std::int32_t rendezvous_deadline_s = 60;
    std::int32_t step_deadline_s = 300;

    static OptionTable<Options> table() {
      return {
          option("devices", &Options::devices,
                 "GPUs that train together, each with a process and a replica; 0 means as many as "
                 "mpirun or srun started processes, or one; else that many, for which `slackline "
                 "run` starts processes on this host unless they are started already")
              .range(0, group::kMaxRanks)
              .unit("GPUs"),
          option("buckets", &Options::buckets,
                 "in which gradients are summed while the backward pass goes on, at most; 1: all "
                 "at once, behind it, as upstream")
              .range(1, 64)
              .unit("buckets"),
          option("num_packs", &Options::num_packs,
                 "equal parts of a bucket, each with an all-reduce of its own: with one bucket, "
                 "upstream's")
              .range(1, 64)
              .unit("packs"),
          option("max_ctas", &Options::max_ctas,
                 "thread blocks that an all-reduce may take from the backward pass; 0: NCCL "
                 "decides")
              .range(0, 64)
              .unit("blocks"),
          group::RankRows<Options>::deadline(),
          group::RankRows<Options>::rendezvous_deadline(),
          gpu::step_deadline_option<Options>(),
      };
    }
  };

  static std::string unavailable() { return cuda::why_unavailable(); }

  MirroredNcclStrategy(const Options& options, Host& host)
      : options_(options),
        host_(host),
        membership_(group::membership_from_environment()),
        plan_(group::plan_ranks(rank_options(), membership_)),
        device_(choose_device()),
        id_(nccl::id_of(device_)),
        track_(host.track(text("device ", device_, " upload"))),
        replica_(
            std::make_unique<nccl::MirroredReplica>(cuda::runtime(), device_, step_deadline())) {
    nccl::require_calls_that_do_not_wait(std::getenv("NCCL_COMM_BLOCKING"));
  }

  /// Nobody waits for the steps that are left; but the other ranks would, for this one.
  ~MirroredNcclStrategy() override {
    if (group_ != nullptr && in_flight_ > 0) {
      group_->ranks().abort("it ended in the midst of a step");
    }
  }

  [[nodiscard]] RankPlan ranks() const override { return plan_; }

  [[nodiscard]] std::int32_t device_count() const override { return 1; }

  [[nodiscard]] std::int32_t launch_threads_per_device() const override { return 0; }

  void build(ModelFactory& factory, const ModelSpec& spec) override {
    replica_->build(factory, spec);
  }

  [[nodiscard]] Ranks* connect(const std::string& configuration) override {
    assert(group_ == nullptr && in_flight_ == 0);
    group_ = group::join_ranks(rank_options(), plan_, membership_, configuration);
    Ranks& ranks = group_->ranks();
    nccl::require_distinct_devices(ranks, id_);
    // Alone too, so that one GPU goes the way of several as far as there is one.
    replica_->connect(
        nccl::api(), ranks,
        {.max_ctas = options_.max_ctas,
         .deadline = std::chrono::seconds(options_.rendezvous_deadline_s)},
        {.buckets = options_.buckets, .num_packs = options_.num_packs},
        [this] { group_->check("training"); }, host_.clock());
    return plan_.size == 1 ? nullptr : &ranks;
  }

  [[nodiscard]] std::unique_ptr<BatchStream> upload(BatchStream& host, std::int32_t) override {
    return std::make_unique<gpu::UploadStream>(host, replica_->spec(), cuda::runtime(), track_,
                                               step_deadline());
  }

  void submit(std::span<const Batch* const> batches, const StepPlan& plan) override {
    assert(batches.size() == 1);
    ++in_flight_;
    replica_->submit(batches[0], plan);
  }

  [[nodiscard]] StepSums finish() override {
    --in_flight_;
    return replica_->finish();
  }

  [[nodiscard]] TensorStore& state() override { return replica_->state(); }

 private:
  [[nodiscard]] gpu::StepDeadline step_deadline() const {
    return {.clock = host_.clock(), .limit = std::chrono::seconds(options_.step_deadline_s)};
  }

  [[nodiscard]] group::RankOptions rank_options() const {
    return {.strategy = "mirrored_nccl",
            .size_option = "devices",
            .size = options_.devices,
            .deadline_s = options_.deadline_s,
            .rendezvous_deadline_s = options_.rendezvous_deadline_s};
  }

  /// A process that is no rank stands for the first of this host.
  [[nodiscard]] std::int32_t choose_device() const {
    const std::int32_t visible = nccl::visible_devices();
    if (!plan_.is_launched && plan_.size > visible) {
      throw ConfigError(text("strategy mirrored_nccl: devices is ", plan_.size,
                             ", but this process sees ", visible, " GPUs"));
    }
    const bool is_alone = !plan_.is_launched || plan_.size == 1;
    return is_alone ? 0 : nccl::device_of(membership_.local_rank, visible);
  }

  const Options options_;
  Host& host_;
  const group::Membership membership_;
  const RankPlan plan_;
  const std::int32_t device_;
  const nccl::DeviceId id_;
  TraceTrack& track_;

  std::unique_ptr<group::ProcessGroup> group_;      ///< null before connect()
  std::int32_t in_flight_ = 0;                      ///< steps
  std::unique_ptr<nccl::MirroredReplica> replica_;  ///< last: it uses the group until its end
};

}  // namespace

SLACKLINE_PLUGIN(Strategy, MirroredNcclStrategy, "mirrored_nccl",
                 "one replica on one NVIDIA GPU for each process, on one host or several, that sum "
                 "their gradients by NCCL");

}  // namespace slackline
