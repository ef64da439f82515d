#pragma once

#include <cstdint>

#include "bodies/tiling.h"

/// Batch norm's backward pass, in three launches: sums over chunks of rows, their join, and the
/// application. In units of x, it moves 5 (dy, x; dy, x, dx) and 2 more each for dy_other and y,
/// which both passes read; with dresidual, the second pass reads that alone: then it is 6 and one
/// more each.
namespace slackline::net::cuda::bodies {

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
