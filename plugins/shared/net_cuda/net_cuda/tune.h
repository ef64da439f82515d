#pragma once

#include <cstddef>
#include <span>

#include "cuda/runtime.h"
#include "cudnn/plan.h"
#include "cudnn/target.h"

namespace slackline::net::cuda {

struct Fastest {
  std::size_t place = 0;  ///< among the plans
  double microseconds = 0;
};

/// Runs the plans, which are of one graph, on the device and on these tensors, whatever is in them,
/// and overwrites the results. Each is run once and then timed several times, in turns with the
/// others, so that a change of clocks meets all; the median counts. Waits.
///
/// Errors     DeviceError.
[[nodiscard]] Fastest fastest_of(std::span<const cudnn::Plan> plans, const cudnn::Target& target,
                                 std::span<const cudnn::Binding> bindings,
                                 slackline::cuda::Runtime& runtime, cudaStream_t stream);

}  // namespace slackline::net::cuda
