#pragma once

#include <cstddef>
#include <cstdint>

#include "bodies/vector.h"
#include "net_cuda/kernels.h"

/// How the kernels of batch norm cut a matrix of (rows, channels), channels a multiple of 8, and
/// how they join sums over its parts: in an order that depends on the sizes and the type alone.
namespace slackline::net::cuda::bodies {

/// How a matrix is cut. A block has a strip of columns and a chunk of rows; a thread has one vector
/// of the strip in every `lanes`-th row of the chunk.
struct Tiling {
  static constexpr int kThreads = 256;
  /// Of all columns together: enough for the memory of 132 multiprocessors, and few enough that
  /// joining their sums costs nothing.
  static constexpr std::int64_t kMostBlocks = 1056;
  static constexpr std::int64_t kMostColumns = 32;  ///< 512 bytes of each row
  static constexpr std::int64_t kLeastRows = 8;     ///< of a thread, before there are more chunks

  std::int64_t rows = 0;
  std::int64_t channels = 0;
  std::int32_t vectors = 0;  ///< of a row
  std::int32_t columns = 0;  ///< of a strip, in vectors
  std::int32_t lanes = 0;
  std::int32_t strips = 0, chunks = 0;
  std::int64_t rows_of_chunk = 0;  ///< of all but the last, which may have fewer

  Tiling(Rows size, int width)
      : rows(size.rows),
        channels(size.channels),
        vectors(static_cast<std::int32_t>(size.channels / width)),
        columns(static_cast<std::int32_t>(
            ceil_div(vectors, ceil_div(vectors, kMostColumns)))),  // strips of one size
        lanes(kThreads / columns),
        strips(static_cast<std::int32_t>(ceil_div(vectors, columns))) {
    const std::int64_t wanted = least(ceil_div(rows, lanes * kLeastRows), most_chunks(strips));
    rows_of_chunk = ceil_div(rows, wanted);
    chunks = static_cast<std::int32_t>(ceil_div(rows, rows_of_chunk));
  }

  static constexpr std::int64_t most_chunks(std::int64_t strips) {
    return most<std::int64_t>(1, kMostBlocks / strips);
  }
  [[nodiscard]] Grid grid() const { return {strips, chunks}; }

  [[nodiscard]] SLACKLINE_BODY std::int64_t rows_of(std::int64_t chunk) const {
    return least(rows_of_chunk, rows - chunk * rows_of_chunk);
  }
};

/// A thread's part of a Tiling.
struct Part {
  int column;  ///< vector of the strip
  int lane;
  bool is_idle;             ///< there is no such lane or column
  std::int64_t channel;     ///< the vector's first
  std::int64_t begin, end;  ///< of its rows, `lanes` apart

  template <class Block>
  SLACKLINE_BODY Part(const Tiling& tiling, const Block& block, int width)
      : column(block.thread() % tiling.columns),
        lane(block.thread() / tiling.columns),
        is_idle(lane >= tiling.lanes || block.x() * tiling.columns + column >= tiling.vectors),
        channel((block.x() * tiling.columns + column) * width),
        begin(block.y() * tiling.rows_of_chunk + lane),
        end(block.y() * tiling.rows_of_chunk + tiling.rows_of(block.y())) {}
  [[nodiscard]] SLACKLINE_BODY std::int64_t rows(const Tiling& tiling) const {
    return is_idle || begin >= end ? 0 : ceil_div(end - begin, tiling.lanes);
  }
};

/// Calls use(offset, load(offset)) for each of the part's vectors, by offset in the matrix.
/// kUnroll loads are under way at once.
template <int kUnroll, class Load, class Use>
SLACKLINE_BODY void for_each_vector(const Part& part, const Tiling& tiling, Load load, Use use) {
  if (part.is_idle) return;
  const std::int64_t step = tiling.lanes * tiling.channels;
  const std::int64_t end = part.end * tiling.channels;
  std::int64_t at = part.begin * tiling.channels + part.channel;
  for (; at + (kUnroll - 1) * step < end; at += kUnroll * step) {
    decltype(load(at)) loaded[kUnroll];
    SLACKLINE_UNROLL
    for (int k = 0; k < kUnroll; ++k) loaded[k] = load(at + k * step);
    SLACKLINE_UNROLL
    for (int k = 0; k < kUnroll; ++k) use(at + k * step, loaded[k]);
  }
  for (; at < end; at += step) use(at, load(at));
}

/// What the passes leave each other: two floats a chunk and channel, and what the second pass of
/// the backward needs.
struct Scratch {
  float *first, *second;             ///< (chunks, channels) each
  float *factor, *constant, *per_x;  ///< (channels) each

  Scratch(void* memory, const Tiling& tiling) {
    const std::int64_t channels = tiling.channels, partials = tiling.chunks * channels;
    first = static_cast<float*>(memory);
    second = first + partials;
    factor = second + partials;
    constant = factor + channels;
    per_x = constant + channels;
  }
  /// For any number of rows and any type.
  static std::size_t bytes(std::int64_t channels) {
    constexpr int kWidest = 8;
    const std::int64_t strips = ceil_div(channels / kWidest, Tiling::kMostColumns);
    return static_cast<std::size_t>((2 * Tiling::most_chunks(strips) + 3) * channels) *
           sizeof(float);
  }
};

/// What a block's threads have summed, (lane, channel of the strip) each.
struct LaneSums {
  static constexpr int kValues = Tiling::kThreads * 8;
  float first[kValues], second[kValues];

  template <int kValuesOfThread>
  SLACKLINE_BODY void put(int thread, const float (&first_of)[kValuesOfThread],
                          const float (&second_of)[kValuesOfThread]) {
    SLACKLINE_UNROLL
    for (int i = 0; i < kValuesOfThread; ++i) {
      first[thread * kValuesOfThread + i] = first_of[i];
      second[thread * kValuesOfThread + i] = second_of[i];
    }
  }
};

/// Joins two sums a chunk into two a channel, by 32 threads a channel.
struct ChunkJoin {
  static constexpr int kThreads = 256, kChannels = 8, kLanes = kThreads / kChannels;
  struct Shared {
    double first[kThreads], second[kThreads];
  };
  struct Sums {
    double first = 0, second = 0;
  };

  /// `sums_of(chunk, channel)`; the result is the whole for threads below kChannels.
  template <class Block, class SumsOf>
  SLACKLINE_BODY static Sums run(const Block& block, Shared& shared, const Tiling& tiling,
                                 SumsOf sums_of) {
    const std::int64_t channel = block.x() * kChannels + block.thread() % kChannels;
    Sums sums;
    for (std::int64_t chunk = block.thread() / kChannels; chunk < tiling.chunks; chunk += kLanes) {
      const Sums of_chunk = sums_of(chunk, channel);
      sums.first += of_chunk.first;
      sums.second += of_chunk.second;
    }
    shared.first[block.thread()] = sums.first;
    shared.second[block.thread()] = sums.second;
    block.sync();
    if (block.thread() >= kChannels) return {};
    for (int lane = 1; lane < kLanes; ++lane) {
      sums.first += shared.first[lane * kChannels + block.thread()];
      sums.second += shared.second[lane * kChannels + block.thread()];
    }
    return sums;
  }
  static Grid grid(const Tiling& tiling) { return {tiling.channels / kChannels}; }
};

}  // namespace slackline::net::cuda::bodies
