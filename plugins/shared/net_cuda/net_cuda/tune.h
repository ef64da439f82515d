#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "cuda/runtime.h"
#include "cudnn/plan.h"
#include "cudnn/target.h"

namespace slackline::net::cuda {

struct Fastest {
  std::size_t place = 0;                   ///< among the plans
  double microseconds = 0;                 ///< of a run, on the device
  std::vector<std::string> failures = {};  ///< a line for each plan that does not run
};

/// Runs the plans, which are of one graph, on the device and on these tensors, whatever is in them,
/// and overwrites the results. Each is captured as a graph of runs behind one another, as the host
/// takes about as long to launch a quick one as the device to run it. Graphs are timed several
/// times, in turns with the others, so that a change of clocks meets all; the median counts. Waits.
///
/// Errors     DeviceError if none of the plans runs, with what the first one failed of.
[[nodiscard]] Fastest fastest_of(std::span<const cudnn::Plan> plans, const cudnn::Target& target,
                                 std::span<const cudnn::Binding> bindings,
                                 slackline::cuda::Runtime& runtime, cudaStream_t stream);

}  // namespace slackline::net::cuda
