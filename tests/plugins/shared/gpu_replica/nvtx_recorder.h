#pragma once

#include <string>

namespace slackline::gpu::testing_support {

/// What NVIDIA's profilers would show of this program: its NVTX ranges. One recorder at a time, and
/// ranges of one thread at a time.
class NvtxRecorder {
 public:
  NvtxRecorder();
  ~NvtxRecorder();
  NvtxRecorder(const NvtxRecorder&) = delete;
  NvtxRecorder& operator=(const NvtxRecorder&) = delete;

  /// Whether this NVTX can have a tool inside the program.
  [[nodiscard]] static bool is_supported();

  /// Ranges as they began and ended: "(train (conv1 ))".
  [[nodiscard]] const std::string& said() const { return said_; }

 private:
  std::string said_;
};

}  // namespace slackline::gpu::testing_support
