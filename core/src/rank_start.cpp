#include "rank_start.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hex.h"

namespace slackline {
namespace {

template <class T>
void share(Ranks& ranks, std::span<T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  ranks.broadcast(std::as_writable_bytes(values));
}

template <class T>
void share(Ranks& ranks, T& value) {
  share(ranks, std::span(&value, 1));
}

/// A string or a vector.
template <class Sequence>
void share_sequence(Ranks& ranks, Sequence& sequence) {
  std::uint64_t size = sequence.size();
  share(ranks, size);
  sequence.resize(size);
  share(ranks, std::span(sequence.data(), sequence.size()));
}

}  // namespace

std::string digest_of(const Config& config) {
  const std::string all = text(SLACKLINE_VERSION, "\n", config.to_toml(false));
  const XXH128_hash_t digest = XXH3_128bits(all.data(), all.size());
  return hex(digest.high64) + hex(digest.low64);
}

void share_start(Ranks& ranks, RankStart& start, TensorStore& store) {
  std::string dir = start.dir.string();
  share_sequence(ranks, dir);
  start.dir = dir;

  TrainingState& state = start.state;
  share(ranks, state.steps);
  share(ranks, state.epoch);
  share(ranks, state.batch_in_epoch);
  share(ranks, state.digest);
  share(ranks, state.epoch_sums);
  share(ranks, state.steps_per_epoch);
  share_sequence(ranks, state.rank_positions);
  if (!state.rank_positions.empty()) {
    state.position = state.rank_positions[static_cast<std::size_t>(ranks.rank())];
  }

  std::vector<float> values;
  const auto tensors = store.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].role == TensorRole::kGradient) continue;
    values.resize(tensors[i].size());
    store.read(i, values);
    share(ranks, std::span(values));
    if (ranks.rank() != 0) store.write(i, values);
  }
}

}  // namespace slackline
