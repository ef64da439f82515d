// One replica on the CPU for each process of a run: each computes the gradients of a batch of its
// own, all are summed over TCP, and every process applies the sums. Adding up in the order of the
// ranks makes the result that of one device that accumulates the same batches, to the last bit.

#include <slackline/error.h>
#include <slackline/plugin.h>
#include <slackline/strategy.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "process_group/membership.h"
#include "process_group/process_group.h"
#include "process_group/rank_plan.h"
#include "replicas/step_queue.h"
#include "replicas/traced_span.h"

namespace slackline {
namespace {

/// The gradients of this process's replica.
class RankExchange final : public GradientExchange {
 public:
  RankExchange(group::ProcessGroup& group, TraceTrack& track, Clock& clock)
      : group_(group), track_(track), clock_(clock) {}

  /// Returns with the sums.
  void begin(std::span<float> gradients) override {
    const TracedSpan span(track_, "all-reduce", clock_);
    const auto before = group_.waited();
    group_.all_reduce_sum(gradients, nullptr);
    waited_ns_ += std::chrono::nanoseconds(group_.waited() - before).count();
  }
  void finish() override { ++steps_; }

  /// For the last rank to come, as a mean over the steps so far; any thread may ask.
  [[nodiscard]] double waited_ms_per_step() const {
    const std::uint64_t steps = steps_;
    return steps == 0 ? 0
                      : 1e-6 * static_cast<double>(waited_ns_.load()) / static_cast<double>(steps);
  }

 private:
  group::ProcessGroup& group_;
  TraceTrack& track_;
  Clock& clock_;
  std::atomic<std::int64_t> waited_ns_{0};
  std::atomic<std::uint64_t> steps_{0};
};

class MultiWorkerStrategy final : public Strategy {
 public:
  struct Options {
    std::int32_t processes = 0;
    std::int32_t deadline_s = 10;
    std::int32_t rendezvous_deadline_s = 60;

    static OptionTable<Options> table() {
      return {
          option("processes", &Options::processes,
                 "that train together, each with a replica; 0 means as many as mpirun or srun "
                 "started, or one; else that many, which `slackline run` starts on this host "
                 "unless they are started already")
              .range(0, group::kMaxRanks)
              .unit("processes"),
          group::RankRows<Options>::deadline(),
          group::RankRows<Options>::rendezvous_deadline(),
      };
    }
  };

  MultiWorkerStrategy(const Options& options, Host& host)
      : options_(options),
        host_(host),
        membership_(group::membership_from_environment()),
        plan_(group::plan_ranks(rank_options(), membership_)),
        track_name_(text("replica ", plan_.rank)),
        track_(host.track(track_name_)),
        steps_(host.clock()) {}

  /// Nobody waits for the steps that are left; but the other ranks would, for this one.
  ~MultiWorkerStrategy() override {
    if (group_ != nullptr && in_flight_ > 0) {
      group_->ranks().abort("it ended in the midst of a step");
    }
  }

  [[nodiscard]] RankPlan ranks() const override { return plan_; }

  [[nodiscard]] std::int32_t device_count() const override { return 1; }

  [[nodiscard]] std::int32_t launch_threads_per_device() const override { return 0; }

  void build(ModelFactory& factory, const ModelSpec& spec) override {
    assert(model_ == nullptr);
    ModelSpec local = spec;
    local.device = {.kind = DeviceKind::kCpu, .index = plan_.rank, .stream = nullptr};
    // A launched process has its share of the CPUs already; this one stands for all.
    if (!plan_.is_launched) local.cpu_threads = std::max(1, spec.cpu_threads / plan_.size);
    model_ = factory.make_model();
    model_->build(local);
    steps_.start({track_name_}, [this](Step& step, std::size_t) { compute(step); });
  }

  [[nodiscard]] Ranks* connect(const std::string& configuration) override {
    assert(group_ == nullptr && in_flight_ == 0);
    if (plan_.size == 1) return nullptr;
    group_ = group::join_ranks(rank_options(), plan_, membership_, configuration);
    exchange_.emplace(*group_, track_, host_.clock());
    sums_of_ranks_.resize(static_cast<std::size_t>(plan_.size));
    return &group_->ranks();
  }

  /// The device's memory is the host's: nothing has to be copied.
  [[nodiscard]] std::unique_ptr<BatchStream> upload(BatchStream&, std::int32_t) override {
    return nullptr;
  }

  void submit(std::span<const Batch* const> batches, const StepPlan& plan) override {
    assert(batches.size() == 1);
    ++in_flight_;
    steps_.submit(batches, plan);
  }

  [[nodiscard]] StepSums finish() override {
    --in_flight_;
    const StepSums own = steps_.finish();
    if (group_ == nullptr) return own;
    host_.report("straggler", exchange_->waited_ms_per_step(), "ms");
    return group::sum_over_ranks(group_->ranks(), own, sums_of_ranks_);
  }

  [[nodiscard]] TensorStore& state() override {
    average_statistics();
    return model_->state();
  }

 private:
  [[nodiscard]] group::RankOptions rank_options() const {
    return {.strategy = "multi_worker",
            .size_option = "processes",
            .size = options_.processes,
            .deadline_s = options_.deadline_s,
            .rendezvous_deadline_s = options_.rendezvous_deadline_s};
  }

  void compute(Step& step) {
    const Batch* const batch = step.batches[0];
    const TracedSpan span(track_, "step", host_.clock(),
                          batch == nullptr ? TraceTrack::kNoBatch : batch->index);
    try {
      if (step.plan.kind == StepKind::kEvaluate) {
        average_statistics();
        if (batch != nullptr) model_->evaluate(*batch, step.sums[0]);
      } else {
        train(step);
      }
    } catch (const std::exception& error) {
      // The others may wait for this rank already.
      if (group_ != nullptr) group_->ranks().abort(error.what());
      throw;
    }
  }

  void train(Step& step) {
    const std::int32_t samples = step.plan.samples == 0 ? step.samples : step.plan.samples;
    // Then no other rank has any either, or there is none.
    if (samples == 0 || (group_ == nullptr && step.batches[0] == nullptr)) return;
    model_->train({.batch = step.batches[0],
                   .global_batch_size = samples,
                   .rule = step.plan.rule,
                   .exchange = exchange_.has_value() ? &*exchange_ : nullptr},
                  step.sums[0]);
    has_trained_ = true;
  }

  /// Each rank has seen other batches; evaluation and checkpoints use what all have seen. Called by
  /// the computing thread, or by another while it has nothing to do; all ranks come here together.
  void average_statistics() {
    if (group_ == nullptr || !has_trained_) return;
    has_trained_ = false;
    const std::span<float> statistics = model_->statistics();
    if (statistics.empty()) return;
    group_->all_reduce_sum(statistics, nullptr);
    for (float& sum : statistics) sum /= static_cast<float>(plan_.size);
  }

  const Options options_;
  Host& host_;
  const group::Membership membership_;
  const RankPlan plan_;
  const std::string track_name_;  ///< and its thread's
  TraceTrack& track_;
  std::unique_ptr<Model> model_;
  bool has_trained_ = false;  ///< since the statistics were averaged

  std::unique_ptr<group::ProcessGroup> group_;  ///< null before connect(), and if there is one rank
  std::optional<RankExchange> exchange_;        ///< where there is a group
  std::vector<StepSums> sums_of_ranks_;         ///< of one step
  std::int32_t in_flight_ = 0;                  ///< steps

  StepQueue steps_;  ///< last: its thread uses the members above
};

}  // namespace

SLACKLINE_PLUGIN(Strategy, MultiWorkerStrategy, "multi_worker",
                 "one replica on the CPU for each process, on one host or several, that sum their "
                 "gradients in every step");

}  // namespace slackline
