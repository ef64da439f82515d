// Replicas on the CPU that hold the same parameters: each computes the gradients of a batch of its
// own, all gradients are summed, and every replica applies the sums. Adding up in the order of the
// replicas makes the result that of one device that accumulates the same batches, to the last bit.

#include <slackline/collective.h>
#include <slackline/error.h>
#include <slackline/plugin.h>
#include <slackline/strategy.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "replicas/step_queue.h"
#include "replicas/traced_span.h"

namespace slackline {
namespace {

enum class Execution { kThreads, kVirtual };

class MirroredCpuStrategy final : public Strategy {
 public:
  struct Options {
    std::int32_t replicas = 2;
    Execution execution = Execution::kThreads;

    static OptionTable<Options> table() {
      return {
          option("replicas", &Options::replicas,
                 "copies of the model, each of which trains on a batch of its own in every step")
              .range(1, 64)
              .unit("replicas"),
          choice(
              "execution", &Options::execution,
              {{"threads", Execution::kThreads}, {"virtual", Execution::kVirtual}},
              "threads: each replica computes on a thread of its own; virtual: one after another "
              "on a single thread, to the same bits"),
      };
    }
  };

  MirroredCpuStrategy(const Options& options, Host& host)
      : options_(options), host_(host), steps_(host.clock()) {}

  [[nodiscard]] std::int32_t device_count() const override { return options_.replicas; }

  [[nodiscard]] std::int32_t launch_threads_per_device() const override { return 0; }

  void build(ModelFactory& factory, const ModelSpec& spec) override {
    assert(replicas_.empty());
    auto ranks = make_thread_group(options_.replicas, host_.clock());
    std::vector<std::string> names;
    for (std::int32_t i = 0; i < options_.replicas; ++i) {
      ModelSpec local = spec;
      local.device = {.kind = DeviceKind::kCpu, .index = i, .stream = nullptr};
      local.cpu_threads = std::max(1, spec.cpu_threads / options_.replicas);
      auto model = factory.make_model();
      model->build(local);
      names.push_back(text("replica ", i));
      replicas_.push_back(
          {std::move(model), std::move(ranks[static_cast<std::size_t>(i)]), host_.track(names[i])});
    }
    gradients_.resize(replicas_.size());
    store_ = std::make_unique<Store>(replicas_);
    for (auto& arrivals : arrived_at_) arrivals.resize(replicas_.size());
    trained_.resize(replicas_.size());
    averaged_at_.resize(replicas_.size());
    if (options_.execution == Execution::kThreads) {
      steps_.start(names, [this](Step& step, std::size_t rank) { compute(step, rank); });
    } else {
      steps_.start({"replicas"}, [this](Step& step, std::size_t) { compute_in_turn(step); });
    }
  }

  /// The devices' memory is the host's: nothing has to be copied.
  [[nodiscard]] std::unique_ptr<BatchStream> upload(BatchStream&, std::int32_t) override {
    return nullptr;
  }

  void submit(std::span<const Batch* const> batches, const StepPlan& plan) override {
    assert(batches.size() == replicas_.size());
    steps_.submit(batches, plan);
  }

  [[nodiscard]] StepSums finish() override {
    const StepSums sums = steps_.finish();
    if (const std::uint64_t steps = mirrored_steps_.load(); steps > 0) {
      host_.report("straggler",
                   1e-6 * static_cast<double>(straggled_ns_.load()) / static_cast<double>(steps),
                   "ms");
    }
    return sums;
  }

  [[nodiscard]] TensorStore& state() override {
    require_equal_replicas();
    average_statistics_of_all();
    return *store_;
  }

 private:
  struct Replica {
    std::unique_ptr<Model> model;
    std::unique_ptr<Collective> collective;
    TraceTrack& track;
  };

  /// The replicas' tensors, which are equal: read from the first, written to all.
  class Store final : public TensorStore {
   public:
    explicit Store(std::vector<Replica>& replicas) : replicas_(replicas) {}
    [[nodiscard]] std::span<const TensorInfo> tensors() const override { return first().tensors(); }
    void read(std::size_t index, std::span<float> values) override { first().read(index, values); }
    void write(std::size_t index, std::span<const float> values) override {
      for (Replica& replica : replicas_) replica.model->state().write(index, values);
    }

   private:
    [[nodiscard]] TensorStore& first() const { return replicas_.front().model->state(); }
    std::vector<Replica>& replicas_;
  };

  /// One replica's part of a step; the others compute theirs at the same time.
  void compute(Step& step, std::size_t rank) {
    const TracedSpan span = step_span(step, rank);
    if (step.plan.kind == StepKind::kEvaluate) return evaluate(step, rank);
    if (step.samples == 0) return;
    std::exception_ptr error;
    try {
      compute_gradients(step, rank);
    } catch (...) {
      error = std::current_exception();
      step.has_failed = true;
    }
    ++trained_[rank];
    // Whoever failed is here too, as the others wait for it. Afterwards all know, and none changes
    // its parameters: the next step finds the replicas as this one did.
    all_reduce(step, rank);
    if (error != nullptr) std::rethrow_exception(error);
    if (!step.has_failed) update(step, rank);
  }

  /// The same on one thread.
  void compute_in_turn(Step& step) {
    const bool is_training = step.plan.kind == StepKind::kTrain;
    if (is_training && step.samples == 0) return;
    require_equal_replicas();
    if (!is_training) average_statistics_of_all();
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
      const TracedSpan span = step_span(step, rank);
      if (is_training) {
        compute_gradients(step, rank);
        gradients_[rank] = replicas_[rank].model->gradients();
      } else {
        evaluate(step, rank);
      }
    }
    if (!is_training) return;
    for (std::uint64_t& steps : trained_) ++steps;
    sum_in_rank_order(gradients_);
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank) update(step, rank);
  }

  void compute_gradients(Step& step, std::size_t rank) {
    Model& model = *replicas_[rank].model;
    if (const Batch* const batch = step.batches[rank]) {
      model.forward_backward(*batch, step.samples, step.sums[rank]);
    } else {
      std::ranges::fill(model.gradients(), 0.0f);
    }
  }

  void all_reduce(const Step& step, std::size_t rank) {
    const Replica& replica = replicas_[rank];
    const TracedSpan span(replica.track, "all-reduce", host_.clock());
    // Of two steps in turn: whoever is ahead writes to the next one's while rank 0 reads this
    // one's.
    std::vector<Clock::Time>& arrivals = arrived_at_[trained_[rank] % arrived_at_.size()];
    arrivals[rank] = host_.clock().now();
    replica.collective->all_reduce_sum(replica.model->gradients(), nullptr);
    const bool is_full = std::ranges::find(step.batches, nullptr) == step.batches.end();
    if (rank == 0 && arrivals.size() > 1 && is_full) count_straggling(arrivals);
  }

  /// How long the replicas waited for the slowest, as far as the others were there: without it, the
  /// step would have been so much shorter.
  void count_straggling(std::vector<Clock::Time>& arrivals) {
    std::ranges::nth_element(arrivals, arrivals.begin() + 1, std::greater<>());
    straggled_ns_ += std::chrono::nanoseconds(arrivals[0] - arrivals[1]).count();
    ++mirrored_steps_;
  }

  /// If this fails, the other replicas have new parameters and this one has not: none can go on.
  void update(const Step& step, std::size_t rank) {
    try {
      replicas_[rank].model->update(step.plan.rule);
    } catch (...) {
      are_equal_ = false;
      replicas_[rank].collective->abort();
      throw;
    }
  }

  /// Each replica has seen other batches; evaluation and checkpoints use what all have seen. The
  /// replicas' threads come here together, with the first step that is evaluated.
  void average_statistics(std::size_t rank) {
    const std::span<float> statistics = replicas_[rank].model->statistics();
    if (statistics.empty() || averaged_at_[rank] == trained_[rank]) return;
    replicas_[rank].collective->all_reduce_sum(statistics, nullptr);
    divide_by_replicas(statistics);
    averaged_at_[rank] = trained_[rank];
  }

  /// The same to the bit, by one thread while no other computes.
  void average_statistics_of_all() {
    if (averaged_at_ == trained_) return;
    averaged_at_ = trained_;
    std::vector<std::span<float>> statistics;
    for (const Replica& replica : replicas_) statistics.push_back(replica.model->statistics());
    sum_in_rank_order(statistics);
    for (const std::span<float> each : statistics) divide_by_replicas(each);
  }

  void divide_by_replicas(std::span<float> sums) const {
    const auto replicas = static_cast<float>(replicas_.size());
    for (float& sum : sums) sum /= replicas;
  }

  void evaluate(Step& step, std::size_t rank) {
    require_equal_replicas();
    if (options_.execution == Execution::kThreads) average_statistics(rank);
    if (const Batch* const batch = step.batches[rank]) {
      replicas_[rank].model->evaluate(*batch, step.sums[rank]);
    }
  }

  void require_equal_replicas() const {
    if (are_equal_) return;
    throw DeviceError(
        "strategy mirrored_cpu: a replica failed to update its parameters, so they are not the "
        "others' any more");
  }

  [[nodiscard]] TracedSpan step_span(const Step& step, std::size_t rank) const {
    const Batch* const batch = step.batches[rank];
    return {replicas_[rank].track, "step", host_.clock(),
            batch == nullptr ? TraceTrack::kNoBatch : batch->index};
  }

  const Options options_;
  Host& host_;
  std::vector<Replica> replicas_;
  std::unique_ptr<Store> store_;
  std::vector<std::span<float>> gradients_;  ///< of all replicas, in a virtual step
  std::atomic<bool> are_equal_{true};        ///< the replicas' parameters, between steps

  std::array<std::vector<Clock::Time>, 2> arrived_at_;  ///< at the all-reduce, each replica
  std::vector<std::uint64_t> trained_;                  ///< steps, by each replica
  std::vector<std::uint64_t> averaged_at_;              ///< trained_ when statistics were averaged
  std::atomic<std::int64_t> straggled_ns_{0};           ///< over all steps
  std::atomic<std::uint64_t> mirrored_steps_{0};        ///< so many

  StepQueue steps_;  ///< last: its threads use the members above
};

}  // namespace

SLACKLINE_PLUGIN(Strategy, MirroredCpuStrategy, "mirrored_cpu",
                 "replicas on threads of the CPU that sum their gradients in every step");

}  // namespace slackline
