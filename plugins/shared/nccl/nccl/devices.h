#pragma once

#include <slackline/ranks.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace slackline::nccl {

/// A GPU, the same one wherever it is seen from, and by which number its rank sees it.
struct DeviceId {
  std::array<std::byte, 16> uuid{};
  std::int32_t index = 0;
};

/// GPUs that this process sees (CUDA_VISIBLE_DEVICES). Makes no context. Throws DeviceError.
[[nodiscard]] std::int32_t visible_devices();
/// Throws DeviceError.
[[nodiscard]] DeviceId id_of(std::int32_t device);

/// Which GPU one of several ranks takes: that with its number on the host; or, if it sees a single
/// one, that, as a launcher may show each rank its own (if it is not, require_distinct_devices()
/// finds out).
///
/// Errors     ConfigError if there are too few, or the launcher does not tell the number.
[[nodiscard]] std::int32_t device_of(std::optional<std::int32_t> local_rank, std::int32_t visible);

/// Throws ConfigError at all ranks, naming two of them, if they have the same GPU. All ranks call
/// this.
void require_distinct_devices(Ranks& ranks, const DeviceId& own);

}  // namespace slackline::nccl
