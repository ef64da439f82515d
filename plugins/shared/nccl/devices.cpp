#include "nccl/devices.h"

#include <slackline/error.h>

#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "cuda/runtime.h"

namespace slackline::nccl {

std::int32_t visible_devices() {
  int devices = 0;
  cuda::check(cudaGetDeviceCount(&devices), "count the GPUs");
  return devices;
}

DeviceId id_of(std::int32_t device) {
  cudaDeviceProp properties{};
  cuda::check(cudaGetDeviceProperties(&properties, device),
              text("read the properties of GPU ", device));
  DeviceId id{.index = device};
  static_assert(sizeof(properties.uuid.bytes) == sizeof(id.uuid));
  std::memcpy(id.uuid.data(), properties.uuid.bytes, sizeof(id.uuid));
  return id;
}

std::int32_t device_of(std::optional<std::int32_t> local_rank, std::int32_t visible) {
  if (visible == 1) return 0;
  if (!local_rank.has_value()) {
    throw ConfigError(text("strategy mirrored_nccl: this process sees ", visible,
                           " GPUs, and the launcher does not say which rank of its host it is; set "
                           "SLACKLINE_LOCAL_RANK, or show each rank one GPU "
                           "(CUDA_VISIBLE_DEVICES)"));
  }
  if (*local_rank >= visible) {
    throw ConfigError(text("strategy mirrored_nccl: this is rank ", *local_rank,
                           " of its host, counted from 0, but it sees ", visible,
                           " GPUs; every rank needs one of its own"));
  }
  return *local_rank;
}

void require_distinct_devices(Ranks& ranks, const DeviceId& own) {
  static_assert(std::has_unique_object_representations_v<DeviceId>);
  std::vector<DeviceId> all(static_cast<std::size_t>(ranks.size()));
  ranks.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(all)));
  const auto name = [&](std::size_t rank) {
    return text("rank ", rank, " (", ranks.host(static_cast<std::int32_t>(rank)), "), as its GPU ",
                all[rank].index);
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = i + 1; j < all.size(); ++j) {
      if (all[i].uuid != all[j].uuid) continue;
      throw ConfigError(text("strategy mirrored_nccl: ", name(i), ", and ", name(j),
                             ", have the same GPU; every rank needs one of its own: start fewer on "
                             "that host, or show it more GPUs (CUDA_VISIBLE_DEVICES)"));
    }
  }
}

}  // namespace slackline::nccl
