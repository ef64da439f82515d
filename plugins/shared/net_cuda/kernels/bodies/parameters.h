#pragma once

#include <cmath>
#include <cstdint>

#include "bodies/loss_scale.h"
#include "bodies/reduce.h"
#include "bodies/vector.h"
#include "net_cuda/kernels.h"

/// What happens to parameters between two steps, over all tensors in one launch: a block has a
/// piece of one. Bytes a value: gather 10 (kernels, two-byte precisions), update 20, 4 more to look
/// for what is not finite, 8 to measure for LARS, 2 for a copy.
///
/// These are compiled without contraction into fused multiply-adds: an update has the bits of
/// nn::sgd_momentum().
namespace slackline::net::cuda::bodies {

/// Four values a thread at once.
inline constexpr int kQuad = 4;

/// The places in piece_sums of a piece.
enum PieceSum : std::int32_t { kGradientSquares = 0, kValueSquares = 1, kNotFinite = 2 };
inline constexpr int kPieceSums = 3;

/// How the blocks of pieces run through them.
struct PieceLoop {
  static constexpr int kThreads = 256, kUnroll = 2;

  /// Calls use(i, load(i)) for each quad of a piece at i, and rest(i) for the up to three values
  /// that are left.
  template <class Block, class Load, class Use, class Rest>
  SLACKLINE_BODY static void run(const Block& block, const Piece& piece, Load load, Use use,
                                 Rest rest) {
    constexpr std::int64_t kStep = kThreads * kQuad;
    const std::int64_t end = piece.begin + piece.size / kQuad * kQuad;
    std::int64_t at = piece.begin + block.thread() * kQuad;
    for (; at + (kUnroll - 1) * kStep < end; at += kUnroll * kStep) {
      decltype(load(at)) loaded[kUnroll];
      SLACKLINE_UNROLL
      for (int k = 0; k < kUnroll; ++k) loaded[k] = load(at + k * kStep);
      SLACKLINE_UNROLL
      for (int k = 0; k < kUnroll; ++k) use(at + k * kStep, loaded[k]);
    }
    for (; at < end; at += kStep) use(at, load(at));
    if (block.thread() < piece.size % kQuad) rest(end + block.thread());
  }
};

SLACKLINE_BODY bool is_finite(float value) { return std::abs(value) < kInfinity; }

SLACKLINE_BODY double square_of(float value) {
  return static_cast<double>(value) * static_cast<double>(value);
}

/// gradients = raw / loss scale.
template <class T>
struct GatherGradients {
  static constexpr const char* kName = "gather_gradients";
  static constexpr int kThreads = PieceLoop::kThreads;
  using Shared = Nothing;

  const TrainedTensor* tensors;
  const Piece* pieces;
  const T* raw;  ///< or null
  float* gradients;
  const LossScale* loss_scale;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared&) const {
    const Piece piece = pieces[block.x()];
    const float inverse = 1.0f / loss_scale->scale;
    if (raw != nullptr && tensors[piece.tensor].is_kernel != 0) {
      gather(block, piece, raw, inverse);
    } else if (inverse != 1) {
      gather(block, piece, gradients, inverse);
    }
  }

 private:
  template <class Block, class From>
  SLACKLINE_BODY void gather(const Block& block, const Piece& piece, const From* from,
                             float inverse) const {
    PieceLoop::run(
        block, piece, [&](std::int64_t i) { return load<From, kQuad>(from + i); },
        [&](std::int64_t i, const Raw<From, kQuad>& loaded) {
          Floats<kQuad> values = unpack(loaded);
          SLACKLINE_UNROLL
          for (int k = 0; k < kQuad; ++k) values.of[k] *= inverse;
          store(gradients + i, pack<float>(values));
        },
        [&](std::int64_t i) { gradients[i] = to_float(from[i]) * inverse; });
  }
};

/// piece_sums of the gradients, and of the values where LARS asks for their norm.
struct MeasurePieces {
  static constexpr const char* kName = "measure_gradients";
  static constexpr int kThreads = PieceLoop::kThreads;
  struct Sums {
    double gradients, values, not_finite;
  };
  struct Shared {
    Sums sums[kThreads];
  };

  const TrainedTensor* tensors;
  const Piece* pieces;
  const float *values, *gradients;
  bool is_lars;
  double* piece_sums;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    const Piece piece = pieces[block.x()];
    const bool with_norms = is_lars && tensors[piece.tensor].is_kernel != 0;
    Sums mine{0, 0, 0};
    const auto add = [&](float gradient, float value) {
      mine.not_finite += is_finite(gradient) ? 0 : 1;
      if (!with_norms) return;
      mine.gradients += square_of(gradient);
      mine.values += square_of(value);
    };
    struct Inputs {
      Raw<float, kQuad> gradients, values;
    };
    PieceLoop::run(
        block, piece,
        [&](std::int64_t i) {
          Inputs inputs{load<float, kQuad>(gradients + i), {}};
          if (with_norms) inputs.values = load<float, kQuad>(values + i);
          return inputs;
        },
        [&](std::int64_t, const Inputs& inputs) {
          const Floats<kQuad> g = unpack(inputs.gradients), w = unpack(inputs.values);
          SLACKLINE_UNROLL
          for (int k = 0; k < kQuad; ++k) add(g.of[k], w.of[k]);
        },
        [&](std::int64_t i) { add(gradients[i], with_norms ? values[i] : 0); });
    const Sums sums = reduce<kThreads>(block, shared.sums, mine, [](const Sums& a, const Sums& b) {
      return Sums{a.gradients + b.gradients, a.values + b.values, a.not_finite + b.not_finite};
    });
    if (block.thread() != 0) return;
    double* to = piece_sums + block.x() * kPieceSums;
    to[kGradientSquares] = sums.gradients;
    to[kValueSquares] = sums.values;
    to[kNotFinite] = sums.not_finite;
  }
};

/// The sum of one of piece_sums over some pieces, by one block.
struct PieceTotal {
  static constexpr int kThreads = 256;
  struct Shared {
    double sums[kThreads];
  };
  template <class Block>
  SLACKLINE_BODY static double of(const Block& block, Shared& shared, const double* piece_sums,
                                  PieceSum which, std::int32_t begin, std::int32_t end) {
    double sum = 0;
    for (std::int32_t i = begin + block.thread(); i < end; i += kThreads) {
      sum += piece_sums[i * kPieceSums + which];
    }
    return reduce<kThreads>(block, shared.sums, sum, [](double a, double b) { return a + b; });
  }
};

/// One step further: the rate is looked up, and the loss scale decides whether the update happens.
/// One block.
struct AdvanceStep {
  static constexpr const char* kName = "advance_step";
  static constexpr int kThreads = PieceTotal::kThreads;
  using Shared = PieceTotal::Shared;

  const double* piece_sums;
  std::int32_t piece_count;
  bool is_dynamic;
  LossScale* loss_scale;
  const float* rate_table;  ///< or null
  std::int64_t rate_table_size;
  Schedule* schedule;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    double not_finite = 0;
    if (is_dynamic) {
      not_finite = PieceTotal::of(block, shared, piece_sums, kNotFinite, 0, piece_count);
    }
    if (block.thread() != 0) return;
    *loss_scale = next_loss_scale(*loss_scale, not_finite == 0, is_dynamic);
    if (rate_table != nullptr) {
      schedule->rate = rate_table[least(schedule->step, rate_table_size - 1)];
    }
    ++schedule->step;
  }
};

/// LARS's rates: nn::lars_rate() for kernels. A block a tensor.
struct LarsRates {
  static constexpr const char* kName = "lars_rates";
  static constexpr int kThreads = PieceTotal::kThreads;
  using Shared = PieceTotal::Shared;

  const TrainedTensor* tensors;
  const Piece* pieces;
  std::int32_t piece_count;
  const double* piece_sums;
  float trust;
  const Schedule* schedule;
  float* rates;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    const TrainedTensor tensor = tensors[block.x()];
    float rate = schedule->rate;
    if (tensor.is_kernel != 0) {
      const std::int32_t begin = first_from(tensor.begin);
      const std::int32_t end = first_from(tensor.begin + tensor.size);
      const double gradient_norm =
          std::sqrt(PieceTotal::of(block, shared, piece_sums, kGradientSquares, begin, end));
      const double value_norm =
          std::sqrt(PieceTotal::of(block, shared, piece_sums, kValueSquares, begin, end));
      if (gradient_norm > 0 && value_norm > 0) {
        const double ratio = static_cast<double>(trust) * value_norm /
                             (gradient_norm + static_cast<double>(tensor.decay) * value_norm);
        rate = static_cast<float>(static_cast<double>(rate) * ratio);
      }
    }
    if (block.thread() == 0) rates[block.x()] = rate;
  }

 private:
  /// The first piece that does not begin before `value`.
  [[nodiscard]] SLACKLINE_BODY std::int32_t first_from(std::int64_t value) const {
    std::int32_t begin = 0, end = piece_count;
    while (begin < end) {
      const std::int32_t middle = (begin + end) / 2;
      if (pieces[middle].begin < value) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    return begin;
  }
};

/// v = momentum * v - rate * (g + decay * w); w = w + v. Also the copies to compute with, and the
/// squares for the penalty.
template <class T>
struct UpdatePieces {
  static constexpr const char* kName = "update";
  static constexpr int kThreads = PieceLoop::kThreads;
  using Shared = PieceTotal::Shared;

  const TrainedTensor* tensors;
  const Piece* pieces;
  const float* gradients;
  float *velocities, *values;
  T* copies;           ///< or null
  const float* rates;  ///< by tensor; or null: the schedule's
  const Schedule* schedule;
  const LossScale* loss_scale;
  float momentum;
  double* piece_sums;  ///< or null: no penalty is asked for

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    if (loss_scale->is_finite == 0) return;
    const Piece piece = pieces[block.x()];
    const TrainedTensor tensor = tensors[piece.tensor];
    const float rate = rates == nullptr ? schedule->rate : rates[piece.tensor];
    T* const copy = tensor.is_kernel != 0 ? copies : nullptr;
    const bool with_squares = piece_sums != nullptr && tensor.is_in_penalty != 0;
    double squares = 0;
    const auto step = [&](float gradient, float& velocity, float& value) {
      velocity = momentum * velocity - rate * (gradient + tensor.decay * value);
      value += velocity;
      if (with_squares) squares += square_of(value);
    };
    struct Inputs {
      Raw<float, kQuad> gradients, velocities, values;
    };
    PieceLoop::run(
        block, piece,
        [&](std::int64_t i) {
          return Inputs{load<float, kQuad>(gradients + i), load<float, kQuad>(velocities + i),
                        load<float, kQuad>(values + i)};
        },
        [&](std::int64_t i, const Inputs& inputs) {
          const Floats<kQuad> g = unpack(inputs.gradients);
          Floats<kQuad> v = unpack(inputs.velocities), w = unpack(inputs.values);
          SLACKLINE_UNROLL
          for (int k = 0; k < kQuad; ++k) step(g.of[k], v.of[k], w.of[k]);
          store(velocities + i, pack<float>(v));
          store(values + i, pack<float>(w));
          if (copy != nullptr) store(copy + i, pack<T>(w));
        },
        [&](std::int64_t i) {
          step(gradients[i], velocities[i], values[i]);
          if (copy != nullptr) copy[i] = from_float<T>(values[i]);
        });
    if (piece_sums == nullptr) return;
    squares =
        reduce<kThreads>(block, shared.sums, squares, [](double a, double b) { return a + b; });
    if (block.thread() == 0) piece_sums[block.x() * kPieceSums + kValueSquares] = squares;
  }
};

/// The copies and squares of UpdatePieces, of the values as they are.
template <class T>
struct RefreshPieces {
  static constexpr const char* kName = "refresh";
  static constexpr int kThreads = PieceLoop::kThreads;
  using Shared = PieceTotal::Shared;

  const TrainedTensor* tensors;
  const Piece* pieces;
  const float* values;
  T* copies;           ///< or null
  double* piece_sums;  ///< or null

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    const Piece piece = pieces[block.x()];
    const TrainedTensor tensor = tensors[piece.tensor];
    T* const copy = tensor.is_kernel != 0 ? copies : nullptr;
    const bool with_squares = piece_sums != nullptr && tensor.is_in_penalty != 0;
    double squares = 0;
    if (copy != nullptr || with_squares) {
      PieceLoop::run(
          block, piece, [&](std::int64_t i) { return load<float, kQuad>(values + i); },
          [&](std::int64_t i, const Raw<float, kQuad>& loaded) {
            const Floats<kQuad> w = unpack(loaded);
            SLACKLINE_UNROLL
            for (int k = 0; k < kQuad; ++k) squares += square_of(w.of[k]);
            if (copy != nullptr) store(copy + i, pack<T>(w));
          },
          [&](std::int64_t i) {
            squares += square_of(values[i]);
            if (copy != nullptr) copy[i] = from_float<T>(values[i]);
          });
    }
    if (piece_sums == nullptr) return;
    squares = reduce<kThreads>(block, shared.sums, with_squares ? squares : 0.0,
                               [](double a, double b) { return a + b; });
    if (block.thread() == 0) piece_sums[block.x() * kPieceSums + kValueSquares] = squares;
  }
};

/// One block.
struct SumPenalty {
  static constexpr const char* kName = "sum_penalty";
  static constexpr int kThreads = PieceTotal::kThreads;
  using Shared = PieceTotal::Shared;

  const double* piece_sums;
  std::int32_t piece_count;
  const LossScale* loss_scale;  ///< or null: always
  double weight_decay;
  double* penalty;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    // A skipped update has left other sums there, and the penalty is what it was.
    if (loss_scale != nullptr && loss_scale->is_finite == 0) return;
    const double sum = PieceTotal::of(block, shared, piece_sums, kValueSquares, 0, piece_count);
    if (block.thread() == 0) *penalty = weight_decay * sum;
  }
};

template <class T, class Launch>
void gather_gradients(const Launch& launch, const ParameterArgs& args) {
  launch(Grid{args.piece_count},
         GatherGradients<T>{args.tensors, args.pieces, static_cast<const T*>(args.raw),
                            args.gradients, args.loss_scale});
}

template <class T, class Launch>
void update(const Launch& launch, const ParameterArgs& args) {
  const bool is_lars = args.optimizer == OptimizerKind::kLars;
  if (is_lars || args.is_dynamic) {
    launch(Grid{args.piece_count}, MeasurePieces{args.tensors, args.pieces, args.values,
                                                 args.gradients, is_lars, args.piece_sums});
  }
  launch(Grid{}, AdvanceStep{args.piece_sums, args.piece_count, args.is_dynamic, args.loss_scale,
                             args.rate_table, args.rate_table_size, args.schedule});
  if (is_lars) {
    launch(Grid{args.tensor_count},
           LarsRates{args.tensors, args.pieces, args.piece_count, args.piece_sums, args.lars_trust,
                     args.schedule, args.rates});
  }
  double* const squares = args.penalty == nullptr ? nullptr : args.piece_sums;
  launch(Grid{args.piece_count},
         UpdatePieces<T>{args.tensors, args.pieces, args.gradients, args.velocities, args.values,
                         static_cast<T*>(args.copies), is_lars ? args.rates : nullptr,
                         args.schedule, args.loss_scale, args.momentum, squares});
  if (args.penalty != nullptr) {
    launch(Grid{},
           SumPenalty{squares, args.piece_count, args.loss_scale, args.weight_decay, args.penalty});
  }
}

template <class T, class Launch>
void refresh(const Launch& launch, const ParameterArgs& args) {
  double* const squares = args.penalty == nullptr ? nullptr : args.piece_sums;
  launch(Grid{args.piece_count}, RefreshPieces<T>{args.tensors, args.pieces, args.values,
                                                  static_cast<T*>(args.copies), squares});
  if (args.penalty != nullptr) {
    launch(Grid{}, SumPenalty{squares, args.piece_count, nullptr, args.weight_decay, args.penalty});
  }
}

}  // namespace slackline::net::cuda::bodies
