#include "net_cuda/tune.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <vector>

#include "cuda/handles.h"

namespace slackline::net::cuda {
namespace {

using slackline::cuda::check;

/// Two events with timing, which a Runtime's have not.
class Stopwatch {
 public:
  Stopwatch() {
    for (cudaEvent_t& event : events_) check(cudaEventCreate(&event), "create an event");
  }
  ~Stopwatch() {
    for (cudaEvent_t event : events_) (void)cudaEventDestroy(event);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  double microseconds_of(const cudnn::BoundPlan& plan, cudaStream_t stream) {
    check(cudaEventRecord(events_[0], stream), "record an event");
    plan.run(stream);
    check(cudaEventRecord(events_[1], stream), "record an event");
    check(cudaEventSynchronize(events_[1]), "wait for a plan");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, events_[0], events_[1]), "time a plan");
    return 1e3 * static_cast<double>(milliseconds);
  }

 private:
  std::array<cudaEvent_t, 2> events_{};
};

}  // namespace

Fastest fastest_of(std::span<const cudnn::Plan> plans, const cudnn::Target& target,
                   std::span<const cudnn::Binding> bindings, slackline::cuda::Runtime& runtime,
                   cudaStream_t stream) {
  constexpr std::size_t kTimes = 5;
  assert(!plans.empty());
  std::size_t workspace_bytes = 0;
  for (const cudnn::Plan& plan : plans) {
    workspace_bytes = std::max(workspace_bytes, plan.workspace_bytes());
  }
  const slackline::cuda::DeviceBuffer<std::byte> workspace(runtime, workspace_bytes);
  std::vector<cudnn::BoundPlan> bound;
  for (const cudnn::Plan& plan : plans) {
    bound.push_back(plan.bind(target, bindings, workspace.data()));
    bound.back().run(stream);
  }
  std::vector<std::array<double, kTimes>> times(plans.size());
  Stopwatch stopwatch;
  for (std::size_t round = 0; round < kTimes; ++round) {
    for (std::size_t i = 0; i < plans.size(); ++i) {
      times[i][round] = stopwatch.microseconds_of(bound[i], stream);
    }
  }
  Fastest best;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    std::ranges::sort(times[i]);
    const double median = times[i][kTimes / 2];
    if (i == 0 || median < best.microseconds) best = {.place = i, .microseconds = median};
  }
  return best;
}

}  // namespace slackline::net::cuda
