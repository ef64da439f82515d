#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "net/program.h"
#include "net_cuda/kernels.h"

namespace slackline::net::cuda {

/// The gradients of one stage of the network, which become final together.
struct GradientPart {
  std::size_t begin = 0, size = 0;  ///< values in the flat array
  std::size_t first_piece = 0, piece_count = 0;
  std::size_t last_op = 0;  ///< place in the program, behind which they are final
};

/// Where everything of a program lies on a device. Parameters, their gradients and velocities have
/// the same places in flat arrays of float32; so have, in the precision of the activations, the
/// copies of kernels that convolutions read and the gradients that they write.
///
/// Activations are (N, H, W, C), kernels (K, R, S, C). The pixels have kPixelChannels channels, and
/// so has the kernel that reads them: the values of the channel that is not there are 0 and stay
/// so, as its pixels, and with them its gradients, are 0.
struct Layout {
  static constexpr std::size_t kAlignment = 64;  ///< values, of persistent tensors

  Precision precision = Precision::kFloat32;
  std::int64_t batch_size = 0;       ///< the program's N
  std::vector<Extents> extents;      ///< by TensorId, as above: in logical order, C padded
  std::vector<std::size_t> bytes;    ///< by TensorId, of what lies in the arena; else 0
  std::vector<std::size_t> offsets;  ///< by TensorId: values in a flat array, bytes in the arena
  std::size_t parameter_values = 0;  ///< of each flat array of parameters
  std::size_t statistic_values = 0;
  std::size_t arena_bytes = 0;
  std::vector<TrainedTensor> trained;  ///< parameters in order
  std::vector<Piece> pieces;
  std::vector<GradientPart> parts;  ///< cover all gradients, in the order in which they are final

  [[nodiscard]] std::size_t offset(TensorId id) const {
    return offsets[static_cast<std::size_t>(id)];
  }
  /// Values of a tensor on the device; activations' with `batch` instead of N.
  [[nodiscard]] std::size_t size(const Program& program, TensorId id, std::int64_t batch) const;
};

[[nodiscard]] Layout make_layout(const Program& program, Precision precision,
                                 const OptimizerSpec& optimizer);

/// Between a tensor's logical order and (K, R, S, C) with more channels: `device` has `channels` of
/// them. What is added is 0.
void to_device_order(const Extents& logical, std::int64_t channels, std::span<const float> values,
                     std::span<float> device);
void from_device_order(const Extents& logical, std::int64_t channels, std::span<const float> device,
                       std::span<float> values);

}  // namespace slackline::net::cuda
