#pragma once

#include <cmath>
#include <cstdint>

#include "bodies/tiling.h"

/// Batch norm's forward pass. Training takes three launches: statistics of chunks of rows, their
/// join, and the application. In units of x, it moves 3 (x, x, y), 4 with a residual.
namespace slackline::net::cuda::bodies {

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

}  // namespace slackline::net::cuda::bodies
