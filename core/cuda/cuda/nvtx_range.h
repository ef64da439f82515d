#pragma once

#include <string_view>

#include <nvtx3/nvToolsExt.h>

namespace slackline::cuda {

/// A range in the timeline of NVIDIA's profilers, from its construction to its destruction, on the
/// calling thread. Costs next to nothing while no profiler is attached.
class NvtxRange {
 public:
  /// `name` ends with a zero byte, and is copied if a profiler is attached.
  explicit NvtxRange(std::string_view name) { nvtxRangePushA(name.data()); }
  ~NvtxRange() { nvtxRangePop(); }
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;
};

/// From now on every LiveSpan of the process is a range, too: what workers, prefetchers and the
/// loop do.
void show_host_spans();

}  // namespace slackline::cuda
