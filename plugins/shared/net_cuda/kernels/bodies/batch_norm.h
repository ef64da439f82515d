#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "bodies/vector.h"
#include "net_cuda/kernels.h"

/// Batch norm over a matrix of (rows, channels), channels a multiple of 8.
///
/// Training takes three launches: statistics of chunks of rows, their join, and the application; so
/// does the backward pass with its sums. In units of x, training moves 3 (x, x, y), 4 with a
/// residual. The backward pass moves 5 (dy, x; dy, x, dx) and 2 more each for dy_other and y, which
/// both passes read; with dresidual, the second pass reads that alone: then it is 6 and one more
/// each.
///
/// Sums are taken in an order that depends on the sizes and the type alone.
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

/// The mean of each channel in a chunk, and the sum of squares of what is above or below it.
///
/// A thread sums what its values are above its first one: no digits are lost where the mean is
/// large. As that first value is one of the few hundred summed, its own distance from the mean,
/// however large, is a part of the sum that it disturbs. For the same reason, means are kept as
/// what they are above the matrix's first row.
template <class T>
struct ChunkStatistics {
  static constexpr const char* kName = "batch_norm_statistics";
  static constexpr int kThreads = Tiling::kThreads;
  static constexpr int kWide = kWidth<T>;
  using Shared = LaneSums;

  Tiling tiling;
  const T* x;
  float *mean, *squares;  ///< (chunks, channels); the mean above the first row

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    const Part part(tiling, block, kWide);
    const std::int64_t count = part.rows(tiling);
    if (count > 0) {
      const Floats<kWide> origin = unpack(load(x + part.begin * tiling.channels + part.channel));
      float sums[kWide] = {}, squares_of[kWide] = {};
      for_each_vector<4>(
          part, tiling, [&](std::int64_t at) { return load(x + at); },
          [&](std::int64_t, const Raw<T>& raw) {
            const Floats<kWide> values = unpack(raw);
            SLACKLINE_UNROLL
            for (int i = 0; i < kWide; ++i) {
              const float above = values.of[i] - origin.of[i];
              sums[i] += above;
              squares_of[i] += above * above;
            }
          });
      const float inverse = 1.0f / static_cast<float>(count);
      const Floats<kWide> base = unpack(load(x + part.channel));
      SLACKLINE_UNROLL
      for (int i = 0; i < kWide; ++i) {
        squares_of[i] -= sums[i] * (sums[i] * inverse);
        sums[i] = (origin.of[i] - base.of[i]) + sums[i] * inverse;
      }
      shared.put(block.thread(), sums, squares_of);
    }
    block.sync();
    const std::int64_t strip = block.x() * tiling.columns * kWide;
    const int width =
        static_cast<int>(least<std::int64_t>(tiling.columns * kWide, tiling.channels - strip));
    for (int c = block.thread(); c < width; c += kThreads) join(block, shared, strip, c);
  }

 private:
  /// Joins the lanes of a channel: what is between their means adds to the squares.
  template <class Block>
  SLACKLINE_BODY void join(const Block& block, const Shared& shared, std::int64_t strip,
                           int c) const {
    const std::int64_t rows = tiling.rows_of(block.y());
    double sum = 0, sum_of_squares = 0;
    for (int lane = 0; lane < tiling.lanes && lane < rows; ++lane) {
      const int at = lane * tiling.columns * kWide + c;
      const auto count = static_cast<double>((rows - lane + tiling.lanes - 1) / tiling.lanes);
      const auto above = static_cast<double>(shared.first[at]);
      sum += count * above;
      sum_of_squares += static_cast<double>(shared.second[at]) + count * above * above;
    }
    const double mean_above = sum / static_cast<double>(rows);
    const std::int64_t to = block.y() * tiling.channels + strip + c;
    mean[to] = static_cast<float>(mean_above);
    squares[to] = static_cast<float>(sum_of_squares - sum * mean_above);
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

template <class T>
struct JoinStatistics {
  static constexpr const char* kName = "batch_norm_join_statistics";
  static constexpr int kThreads = ChunkJoin::kThreads;
  using Shared = ChunkJoin::Shared;

  Tiling tiling;
  const T* x;
  const float *chunk_mean, *chunk_squares;
  double epsilon, keep;
  float *running_mean, *running_variance, *mean, *inv_deviation;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    // As in ChunkStatistics::join().
    const ChunkJoin::Sums sums =
        ChunkJoin::run(block, shared, tiling, [&](std::int64_t chunk, std::int64_t channel) {
          const std::int64_t at = chunk * tiling.channels + channel;
          const auto rows = static_cast<double>(tiling.rows_of(chunk));
          const auto above = static_cast<double>(chunk_mean[at]);
          return ChunkJoin::Sums{rows * above,
                                 static_cast<double>(chunk_squares[at]) + rows * above * above};
        });
    if (block.thread() >= ChunkJoin::kChannels) return;
    const std::int64_t c = block.x() * ChunkJoin::kChannels + block.thread();
    const auto count = static_cast<double>(tiling.rows);
    const double above = sums.first / count;
    const double of_batch = static_cast<double>(to_float(x[c])) + above;
    const double difference = sums.second - sums.first * above;
    const double squares = difference < 0 ? 0 : difference;  // rounding; not a number stays that
    mean[c] = static_cast<float>(of_batch);
    inv_deviation[c] = static_cast<float>(1 / std::sqrt(squares / count + epsilon));
    move(running_mean[c], of_batch);
    move(running_variance[c], squares / most(1.0, count - 1));
  }

 private:
  SLACKLINE_BODY void move(float& running, double batch) const {
    running = static_cast<float>(keep * static_cast<double>(running) + (1 - keep) * batch);
  }
};

/// The running statistics, as those of a batch.
struct UseRunningStatistics {
  static constexpr const char* kName = "batch_norm_use_running_statistics";
  static constexpr int kThreads = 256;
  using Shared = Nothing;

  std::int64_t channels;
  const float *running_mean, *running_variance;
  double epsilon;
  float *mean, *inv_deviation;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const std::int64_t c = block.x() * kThreads + block.thread();
    if (c >= channels) return;
    mean[c] = running_mean[c];
    inv_deviation[c] =
        static_cast<float>(1 / std::sqrt(static_cast<double>(running_variance[c]) + epsilon));
  }
};

template <class T, bool kResidual>
struct ApplyBatchNorm {
  static constexpr const char* kName = "batch_norm_apply";
  static constexpr int kThreads = Tiling::kThreads;
  static constexpr int kWide = kWidth<T>;
  using Shared = Nothing;

  Tiling tiling;
  const T *x, *residual;
  T* y;
  const float *mean, *inv_deviation, *scale, *bias;
  bool relu;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const Part part(tiling, block, kWide);
    if (part.is_idle) return;
    const auto center = load_floats<kWide>(mean + part.channel);
    const auto offset = load_floats<kWide>(bias + part.channel);
    auto factor = load_floats<kWide>(inv_deviation + part.channel);
    const auto scales = load_floats<kWide>(scale + part.channel);
    SLACKLINE_UNROLL
    for (int i = 0; i < kWide; ++i) factor.of[i] *= scales.of[i];
    struct Inputs {
      Raw<T> x, residual;
    };
    for_each_vector<4>(
        part, tiling,
        [&](std::int64_t at) {
          Inputs inputs;
          inputs.x = load(x + at);
          if constexpr (kResidual) inputs.residual = load(residual + at);
          return inputs;
        },
        [&](std::int64_t at, const Inputs& inputs) {
          Floats<kWide> values = unpack(inputs.x);
          Floats<kWide> others{};
          if constexpr (kResidual) others = unpack(inputs.residual);
          SLACKLINE_UNROLL
          for (int i = 0; i < kWide; ++i) {
            // Not x * factor + (bias - mean * factor): that loses digits where the mean is large.
            const float value = (values.of[i] - center.of[i]) * factor.of[i] + offset.of[i];
            const float sum = kResidual ? value + others.of[i] : value;
            values.of[i] = relu ? rectified(sum) : sum;
          }
          store(y + at, pack<T>(values));
        });
  }
};

/// dz = dy [+ dy_other] [, where y > 0].
template <class T, bool kOther, bool kMasked>
struct Derivative {
  static constexpr int kWide = kWidth<T>;
  const T *dy, *dy_other, *y;

  struct Inputs {
    Raw<T> dy, dy_other, y;
  };
  SLACKLINE_BODY Inputs load_at(std::int64_t at) const {
    Inputs inputs;
    inputs.dy = load(dy + at);
    if constexpr (kOther) inputs.dy_other = load(dy_other + at);
    if constexpr (kMasked) inputs.y = load(y + at);
    return inputs;
  }
  SLACKLINE_BODY static Floats<kWide> of(const Inputs& inputs) {
    Floats<kWide> dz = unpack(inputs.dy);
    Floats<kWide> others{}, outputs{};
    if constexpr (kOther) others = unpack(inputs.dy_other);
    if constexpr (kMasked) outputs = unpack(inputs.y);
    SLACKLINE_UNROLL
    for (int i = 0; i < kWide; ++i) {
      if constexpr (kOther) dz.of[i] += others.of[i];
      if constexpr (kMasked) dz.of[i] = outputs.of[i] > 0 ? dz.of[i] : 0.0f;
    }
    return dz;
  }
};

/// Sums of dz and of dz * (x - mean) in a chunk; writes dz, if that is wanted.
template <class T, bool kOther, bool kMasked>
struct ChunkDerivatives {
  static constexpr const char* kName = "batch_norm_backward_sums";
  static constexpr int kThreads = Tiling::kThreads, kResidentBlocks = kOther ? 3 : 4;
  static constexpr int kWide = kWidth<T>;
  using Shared = LaneSums;

  Tiling tiling;
  Derivative<T, kOther, kMasked> derivative;
  const T* x;
  const float* mean;
  T* dresidual;             ///< or null
  float *sums, *sums_by_x;  ///< (chunks, channels)

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    const Part part(tiling, block, kWide);
    if (!part.is_idle) {
      float sums_of[kWide] = {}, by_x[kWide] = {};
      sum(part, sums_of, by_x);
      shared.put(block.thread(), sums_of, by_x);
    }
    block.sync();
    const std::int64_t strip = block.x() * tiling.columns * kWide;
    const int width =
        static_cast<int>(least<std::int64_t>(tiling.columns * kWide, tiling.channels - strip));
    for (int c = block.thread(); c < width; c += kThreads) {
      float total = 0, total_by_x = 0;
      for (int lane = 0; lane < tiling.lanes; ++lane) {
        total += shared.first[lane * tiling.columns * kWide + c];
        total_by_x += shared.second[lane * tiling.columns * kWide + c];
      }
      const std::int64_t to = block.y() * tiling.channels + strip + c;
      sums[to] = total;
      sums_by_x[to] = total_by_x;
    }
  }

 private:
  struct Inputs {
    typename Derivative<T, kOther, kMasked>::Inputs dz;
    Raw<T> x;
  };
  SLACKLINE_BODY void sum(const Part& part, float (&sums_of)[kWide], float (&by_x)[kWide]) const {
    const auto center = load_floats<kWide>(mean + part.channel);
    for_each_vector<2>(
        part, tiling,
        [&](std::int64_t at) {
          return Inputs{derivative.load_at(at), load(x + at)};
        },
        [&](std::int64_t at, const Inputs& inputs) {
          Floats<kWide> dz = derivative.of(inputs.dz);
          if (dresidual != nullptr) {
            const Raw<T> stored = pack<T>(dz);
            store(dresidual + at, stored);
            dz = unpack(stored);  // what the second pass reads
          }
          const Floats<kWide> values = unpack(inputs.x);
          SLACKLINE_UNROLL
          for (int i = 0; i < kWide; ++i) {
            sums_of[i] += dz.of[i];
            by_x[i] += dz.of[i] * (values.of[i] - center.of[i]);
          }
        });
  }
};

struct JoinDerivatives {
  static constexpr const char* kName = "batch_norm_join_backward_sums";
  static constexpr int kThreads = ChunkJoin::kThreads;
  using Shared = ChunkJoin::Shared;

  Tiling tiling;
  const float *chunk_sums, *chunk_sums_by_x, *scale, *inv_deviation;
  float *dscale, *dbias, *factor, *constant, *per_x;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    const ChunkJoin::Sums sums =
        ChunkJoin::run(block, shared, tiling, [&](std::int64_t chunk, std::int64_t channel) {
          const std::int64_t at = chunk * tiling.channels + channel;
          return ChunkJoin::Sums{static_cast<double>(chunk_sums[at]),
                                 static_cast<double>(chunk_sums_by_x[at])};
        });
    if (block.thread() >= ChunkJoin::kChannels) return;
    const std::int64_t c = block.x() * ChunkJoin::kChannels + block.thread();
    const auto count = static_cast<double>(tiling.rows);
    const auto inverse = static_cast<double>(inv_deviation[c]);
    dbias[c] = static_cast<float>(sums.first);
    dscale[c] = static_cast<float>(sums.second * inverse);
    factor[c] = static_cast<float>(static_cast<double>(scale[c]) * inverse);
    constant[c] = static_cast<float>(sums.first / count);
    per_x[c] = static_cast<float>(sums.second * inverse * inverse / count);
  }
};

/// dx = factor * (dz - constant - (x - mean) * per_x).
template <class T, bool kOther, bool kMasked>
struct ApplyDerivatives {
  static constexpr const char* kName = "batch_norm_backward_apply";
  static constexpr int kThreads = Tiling::kThreads;
  static constexpr int kWide = kWidth<T>;
  using Shared = Nothing;

  Tiling tiling;
  Derivative<T, kOther, kMasked> derivative;
  const T* x;
  T* dx;
  const float *mean, *factor, *constant, *per_x;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const Part part(tiling, block, kWide);
    if (part.is_idle) return;
    const auto center = load_floats<kWide>(mean + part.channel);
    const auto factors = load_floats<kWide>(factor + part.channel);
    const auto constants = load_floats<kWide>(constant + part.channel);
    const auto slopes = load_floats<kWide>(per_x + part.channel);
    struct Inputs {
      typename Derivative<T, kOther, kMasked>::Inputs dz;
      Raw<T> x;
    };
    for_each_vector<2>(
        part, tiling,
        [&](std::int64_t at) {
          return Inputs{derivative.load_at(at), load(x + at)};
        },
        [&](std::int64_t at, const Inputs& inputs) {
          const Floats<kWide> dz = derivative.of(inputs.dz);
          Floats<kWide> values = unpack(inputs.x);
          SLACKLINE_UNROLL
          for (int i = 0; i < kWide; ++i) {
            values.of[i] = factors.of[i] * (dz.of[i] - constants.of[i] -
                                            (values.of[i] - center.of[i]) * slopes.of[i]);
          }
          store(dx + at, pack<T>(values));
        });
  }
};

template <class T, class Launch>
void apply_batch_norm(const Launch& launch, const Tiling& tiling, const BatchNormArgs& args) {
  const auto with = [&]<bool kResidual>() {
    launch(tiling.grid(), ApplyBatchNorm<T, kResidual>{
                              tiling, static_cast<const T*>(args.x),
                              static_cast<const T*>(args.residual), static_cast<T*>(args.y),
                              args.mean, args.inv_deviation, args.scale, args.bias, args.relu});
  };
  if (args.residual != nullptr) {
    with.template operator()<true>();
  } else {
    with.template operator()<false>();
  }
}

template <class T, class Launch>
void batch_norm_training(const Launch& launch, const BatchNormArgs& args) {
  const Tiling tiling(args.size, kWidth<T>);
  const Scratch scratch(args.scratch, tiling);
  const auto* x = static_cast<const T*>(args.x);
  launch(tiling.grid(), ChunkStatistics<T>{tiling, x, scratch.first, scratch.second});
  launch(
      ChunkJoin::grid(tiling),
      JoinStatistics<T>{tiling, x, scratch.first, scratch.second, args.epsilon, args.keep,
                        args.running_mean, args.running_variance, args.mean, args.inv_deviation});
  apply_batch_norm<T>(launch, tiling, args);
}

template <class T, class Launch>
void batch_norm_inference(const Launch& launch, const BatchNormArgs& args) {
  const Tiling tiling(args.size, kWidth<T>);
  launch(Grid{ceil_div(tiling.channels, UseRunningStatistics::kThreads)},
         UseRunningStatistics{tiling.channels, args.running_mean, args.running_variance,
                              args.epsilon, args.mean, args.inv_deviation});
  apply_batch_norm<T>(launch, tiling, args);
}

template <class T, class Launch>
void batch_norm_backward(const Launch& launch, const BatchNormBackwardArgs& args) {
  const Tiling tiling(args.size, kWidth<T>);
  const Scratch scratch(args.scratch, tiling);
  const auto* x = static_cast<const T*>(args.x);
  auto* dx = static_cast<T*>(args.dx);
  auto* dresidual = static_cast<T*>(args.dresidual);
  const auto with = [&]<bool kOther, bool kMasked>() {
    const Derivative<T, kOther, kMasked> derivative{static_cast<const T*>(args.dy),
                                                    static_cast<const T*>(args.dy_other),
                                                    static_cast<const T*>(args.y)};
    launch(tiling.grid(),
           ChunkDerivatives<T, kOther, kMasked>{tiling, derivative, x, args.mean, dresidual,
                                                scratch.first, scratch.second});
    launch(
        ChunkJoin::grid(tiling),
        JoinDerivatives{tiling, scratch.first, scratch.second, args.scale, args.inv_deviation,
                        args.dscale, args.dbias, scratch.factor, scratch.constant, scratch.per_x});
    if (dresidual != nullptr) {
      launch(tiling.grid(), ApplyDerivatives<T, false, false>{tiling,
                                                              {dresidual, nullptr, nullptr},
                                                              x,
                                                              dx,
                                                              args.mean,
                                                              scratch.factor,
                                                              scratch.constant,
                                                              scratch.per_x});
    } else {
      launch(tiling.grid(),
             ApplyDerivatives<T, kOther, kMasked>{tiling, derivative, x, dx, args.mean,
                                                  scratch.factor, scratch.constant, scratch.per_x});
    }
  };
  const bool other = args.dy_other != nullptr, masked = args.y != nullptr;
  if (other && masked) with.template operator()<true, true>();
  if (other && !masked) with.template operator()<true, false>();
  if (!other && masked) with.template operator()<false, true>();
  if (!other && !masked) with.template operator()<false, false>();
}

}  // namespace slackline::net::cuda::bodies
