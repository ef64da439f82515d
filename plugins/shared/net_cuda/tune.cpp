#include "net_cuda/tune.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <functional>
#include <utility>

#include "cuda/handles.h"

namespace slackline::net::cuda {
namespace {

using slackline::cuda::DeviceBuffer;
using slackline::cuda::Runtime;

constexpr std::size_t kRounds = 5;

/// How many runs a graph has: enough that beginning and end count little, and as few as that for
/// slow plans.
int runs_for(double microseconds_of_one) {
  constexpr double kMicroseconds = 1000, kMost = 20;
  return static_cast<int>(std::clamp(kMicroseconds / microseconds_of_one, 1.0, kMost));
}

class Stopwatch {
 public:
  Stopwatch(Runtime& runtime, cudaStream_t stream) : runtime_(runtime), stream_(stream) {}

  /// Of what `enqueue` gives to the stream. Waits.
  template <class F>
  double microseconds_of(F enqueue) {
    runtime_.record(begin_.get(), stream_);
    enqueue();
    runtime_.record(end_.get(), stream_);
    runtime_.synchronize(end_.get());
    return runtime_.microseconds_between(begin_.get(), end_.get());
  }

 private:
  Runtime& runtime_;
  const cudaStream_t stream_;
  const slackline::cuda::Event begin_ = slackline::cuda::make_timing_event(runtime_),
                               end_ = slackline::cuda::make_timing_event(runtime_);
};

/// A plan that runs.
struct Contestant {
  std::size_t place;
  int runs;  ///< in the graph
  slackline::cuda::Graph graph;
  std::array<double, kRounds> microseconds{};

  [[nodiscard]] double median() const {
    std::array<double, kRounds> sorted = microseconds;
    std::ranges::sort(sorted);
    return sorted[kRounds / 2];
  }
};

/// As much as the plans want, or those that can have it: a device may have less left.
DeviceBuffer<std::byte> workspace_for(std::span<const cudnn::Plan> plans, Runtime& runtime) {
  std::vector<std::size_t> bytes;
  for (const cudnn::Plan& plan : plans) bytes.push_back(plan.workspace_bytes());
  std::ranges::sort(bytes, std::greater());
  for (const std::size_t each : bytes) {
    try {
      return {runtime, each};
    } catch (const DeviceError&) {
      // Those that want it are told apart when they are tried.
    }
  }
  return {};
}

class Contest {
 public:
  Contest(const cudnn::Target& target, std::span<const cudnn::Binding> bindings,
          const DeviceBuffer<std::byte>& workspace, Runtime& runtime, cudaStream_t stream)
      : target_(target),
        bindings_(bindings),
        workspace_(workspace),
        runtime_(runtime),
        stream_(stream),
        stopwatch_(runtime, stream) {}

  /// DeviceError if the plan does not run, or cannot be captured.
  void admit(const cudnn::Plan& plan, std::size_t place) {
    if (plan.workspace_bytes() > workspace_.bytes()) {
      throw DeviceError(
          text("the device has no ", plan.workspace_bytes(), " bytes left for its workspace"));
    }
    const auto run = [&, name = text_of(plan.choice()),
                      bound = plan.bind(target_, bindings_, workspace_.data())] {
      runtime_.enqueue({name, {}, {}}, stream_,
                       [bound](cudaStream_t stream) { bound.run(stream); });
    };
    run();  // the first time loads what a capture must not load
    runtime_.synchronize(stream_);
    const int runs = runs_for(stopwatch_.microseconds_of(run));
    contestants_.push_back({place, runs, slackline::cuda::capture(runtime_, stream_, [&] {
                              for (int i = 0; i < runs; ++i) run();
                            })});
  }

  [[nodiscard]] bool is_empty() const { return contestants_.empty(); }

  Contestant& winner() {
    for (std::size_t round = 0; round < kRounds; ++round) {
      for (Contestant& each : contestants_) each.microseconds[round] = time(each);
    }
    return *std::ranges::min_element(contestants_, {}, &Contestant::median);
  }

 private:
  double time(const Contestant& contestant) {
    const auto launch = [&] { runtime_.launch(contestant.graph.get(), stream_); };
    launch();  // while it runs, the host enqueues what is timed: the device need not wait for it
    return stopwatch_.microseconds_of(launch) / contestant.runs;
  }

  const cudnn::Target& target_;
  const std::span<const cudnn::Binding> bindings_;
  const DeviceBuffer<std::byte>& workspace_;
  Runtime& runtime_;
  const cudaStream_t stream_;
  Stopwatch stopwatch_;
  std::vector<Contestant> contestants_;
};

}  // namespace

Fastest fastest_of(std::span<const cudnn::Plan> plans, const cudnn::Target& target,
                   std::span<const cudnn::Binding> bindings, Runtime& runtime,
                   cudaStream_t stream) {
  assert(!plans.empty());
  const DeviceBuffer<std::byte> workspace = workspace_for(plans, runtime);
  Contest contest(target, bindings, workspace, runtime, stream);
  std::vector<std::string> failures;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    try {
      contest.admit(plans[i], i);
    } catch (const DeviceError& error) {
      failures.push_back(text(text_of(plans[i].choice()), ": ", error.what()));
    }
  }
  if (contest.is_empty()) {
    throw DeviceError(
        text("none of ", plans.size(), " plans runs; the first is ", failures.front()));
  }
  const Contestant& best = contest.winner();
  return {.place = best.place, .microseconds = best.median(), .failures = std::move(failures)};
}

}  // namespace slackline::net::cuda
