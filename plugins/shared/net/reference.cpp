#include "net/reference.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace slackline::net {
namespace {

/// The outputs 0..out-1 of a window's row or column `at` that look at a pixel and not at padding.
struct Range {
  std::int64_t begin = 0, end = 0;
};
Range range_within(std::int64_t in, std::int64_t out, std::int64_t at, std::int64_t padding,
                   std::int64_t stride) {
  const std::int64_t first = padding - at;  // the output i looks at i * stride - first
  const std::int64_t last = in - 1 + first;
  if (last < 0) return {};  // division rounds towards zero
  return {std::max<std::int64_t>(0, (first + stride - 1) / stride),
          std::min(out, last / stride + 1)};
}

/// Calls f(x, w, y) with the places of each product of a convolution: x[x] * w[w] is a part of
/// y[y].
template <class Function>
void for_each_product(const Extents& x, const Extents& w, const Extents& y, const Window& window,
                      Function f) {
  const auto at = [](const Extents& e, std::int64_t a, std::int64_t b, std::int64_t c,
                     std::int64_t d) {
    return static_cast<std::size_t>(((a * e[1] + b) * e[2] + c) * e[3] + d);
  };
  const auto step = static_cast<std::size_t>(window.stride);
  for (std::int64_t r = 0; r < w[2]; ++r) {
    const Range rows = range_within(x[2], y[2], r, window.top, window.stride);
    for (std::int64_t s = 0; s < w[3]; ++s) {
      const Range columns = range_within(x[3], y[3], s, window.left, window.stride);
      if (columns.begin >= columns.end) continue;
      const auto count = static_cast<std::size_t>(columns.end - columns.begin);
      for (std::int64_t n = 0; n < y[0]; ++n) {
        for (std::int64_t k = 0; k < y[1]; ++k) {
          for (std::int64_t c = 0; c < x[1]; ++c) {
            const std::size_t weight = at(w, k, c, r, s);
            for (std::int64_t p = rows.begin; p < rows.end; ++p) {
              const std::size_t from = at(x, n, c, p * window.stride + r - window.top,
                                          columns.begin * window.stride + s - window.left);
              const std::size_t to = at(y, n, k, p, columns.begin);
              for (std::size_t q = 0; q < count; ++q) f(from + q * step, weight, to + q);
            }
          }
        }
      }
    }
  }
}

/// Calls f(i, channel) for each value of (N, C, H, W).
template <class Function>
void for_each_value(const Extents& extents, Function f) {
  std::size_t i = 0;
  for (std::int64_t n = 0; n < extents[0]; ++n) {
    for (std::int64_t c = 0; c < extents[1]; ++c) {
      for (std::int64_t pixel = 0; pixel < extents[2] * extents[3]; ++pixel, ++i) {
        f(i, static_cast<std::size_t>(c));
      }
    }
  }
}

}  // namespace

void softmax_loss(std::span<const double> logits, std::int32_t label, double smoothing,
                  double scale, std::span<double> derivatives, StepSums& sums) {
  const auto at = static_cast<std::size_t>(label);
  const double highest = *std::ranges::max_element(logits);
  double total = 0;
  double mean = 0;  // of the logits above the highest
  for (const double logit : logits) {
    total += std::exp(logit - highest);
    mean += logit - highest;
  }
  mean /= static_cast<double>(logits.size());
  const double log_total = std::log(total);
  sums.loss += log_total - (1 - smoothing) * (logits[at] - highest) - smoothing * mean;
  std::size_t ahead = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    ahead += logits[i] > logits[at] || (logits[i] == logits[at] && i < at) ? 1 : 0;
  }
  sums.correct += ahead == 0 ? 1 : 0;
  sums.correct_top5 += ahead < 5 ? 1 : 0;
  ++sums.samples;
  const double spread = smoothing / static_cast<double>(logits.size());
  for (std::size_t i = 0; i < derivatives.size(); ++i) {
    const double target = spread + (i == at ? 1 - smoothing : 0);
    derivatives[i] = scale * (std::exp(logits[i] - highest - log_total) - target);
  }
}

Reference::Reference(const Program& program, const Normalisation& normalisation)
    : program_(program), normalisation_(normalisation) {
  for (const Tensor& tensor : program.tensors) tensors_.emplace_back(values_of(tensor.extents));
}

void Reference::train(const StepInput& input, StepSums& sums) {
  sums = {};
  for (const Op& op : program_.ops) run(op, Mode::kTraining, input, sums);
}

void Reference::evaluate(const StepInput& input, StepSums& sums) {
  sums = {};
  for (std::size_t i = 0; i < program_.forward_ops; ++i) {
    run(program_.ops[i], Mode::kEvaluation, input, sums);
  }
}

void Reference::run(const Op& op, Mode mode, const StepInput& input, StepSums& sums) {
  input_ = &input;
  sums_ = &sums;
  run(op, mode, static_cast<std::int64_t>(input.labels.size()));
  input_ = nullptr;
  sums_ = nullptr;
}

void Reference::run(const Op& op, Mode mode, std::int64_t batch_size) {
  mode_ = mode;
  batch_size_ = batch_size;
  std::visit([this](const auto& o) { execute(o); }, op);
}

Extents Reference::extents(TensorId id) const {
  Extents extents = program_.tensor(id).extents;
  const TensorKind kind = program_.tensor(id).kind;
  if (kind == TensorKind::kActivation || kind == TensorKind::kIndex) extents[0] = batch_size_;
  return extents;
}

void Reference::execute(const Ingest& op) {
  const Extents e = extents(op.y);
  const std::span<double> y = tensor(op.y);
  std::size_t pixel = 0;
  for (std::int64_t n = 0; n < e[0]; ++n) {
    for (std::int64_t at = 0; at < e[2] * e[3]; ++at) {
      for (std::int64_t c = 0; c < e[1]; ++c, ++pixel) {
        const auto channel = static_cast<std::size_t>(c);
        y[static_cast<std::size_t>((n * e[1] + c) * e[2] * e[3] + at)] =
            static_cast<double>(normalisation_.apply(input_->images[pixel], channel));
      }
    }
  }
}

void Reference::execute(const Conv& op) {
  const std::span<double> x = tensor(op.x), w = tensor(op.weight), y = tensor(op.y);
  std::ranges::fill(y, 0.0);
  for_each_product(extents(op.x), extents(op.weight), extents(op.y), op.window,
                   [&](std::size_t i, std::size_t j, std::size_t k) { y[k] += w[j] * x[i]; });
}

void Reference::execute(const ConvBackwardData& op) {
  const std::span<double> dx = tensor(op.dx), w = tensor(op.weight), dy = tensor(op.dy);
  std::ranges::fill(dx, 0.0);
  for_each_product(extents(op.dx), extents(op.weight), extents(op.dy), op.window,
                   [&](std::size_t i, std::size_t j, std::size_t k) { dx[i] += w[j] * dy[k]; });
}

void Reference::execute(const ConvBackwardWeights& op) {
  const std::span<double> x = tensor(op.x), dw = tensor(op.dweight), dy = tensor(op.dy);
  std::ranges::fill(dw, 0.0);
  for_each_product(extents(op.x), extents(op.dweight), extents(op.dy), op.window,
                   [&](std::size_t i, std::size_t j, std::size_t k) { dw[j] += x[i] * dy[k]; });
}

void Reference::execute(const BatchNorm& op) {
  const Extents e = extents(op.x);
  const std::span<double> x = tensor(op.x), y = tensor(op.y);
  const std::span<double> mean = tensor(op.mean), inv_deviation = tensor(op.inv_deviation);
  const std::span<double> running_mean = tensor(op.running_mean);
  const std::span<double> running_variance = tensor(op.running_variance);
  if (mode_ == Mode::kTraining) {
    const auto count = static_cast<double>(e[0] * e[2] * e[3]);
    std::vector<double> sums(mean.size()), squares(mean.size());
    for_each_value(e, [&](std::size_t i, std::size_t c) { sums[c] += x[i]; });
    for (std::size_t c = 0; c < mean.size(); ++c) mean[c] = sums[c] / count;
    for_each_value(e, [&](std::size_t i, std::size_t c) {
      squares[c] += (x[i] - mean[c]) * (x[i] - mean[c]);
    });
    for (std::size_t c = 0; c < mean.size(); ++c) {
      inv_deviation[c] = 1 / std::sqrt(squares[c] / count + program_.epsilon);
      const double move = 1 - program_.keep;
      running_mean[c] = program_.keep * running_mean[c] + move * mean[c];
      running_variance[c] =
          program_.keep * running_variance[c] + move * squares[c] / std::max(1.0, count - 1);
    }
  } else {
    for (std::size_t c = 0; c < mean.size(); ++c) {
      mean[c] = running_mean[c];
      inv_deviation[c] = 1 / std::sqrt(running_variance[c] + program_.epsilon);
    }
  }
  const std::span<double> scale = tensor(op.scale), bias = tensor(op.bias);
  for_each_value(e, [&](std::size_t i, std::size_t c) {
    double value = (x[i] - mean[c]) * inv_deviation[c] * scale[c] + bias[c];
    if (op.residual != kNone) value += tensor(op.residual)[i];
    y[i] = op.relu ? std::max(value, 0.0) : value;
  });
}

void Reference::execute(const BatchNormBackward& op) {
  const Extents e = extents(op.x);
  const std::span<double> x = tensor(op.x), dy = tensor(op.dy), dx = tensor(op.dx);
  const std::span<double> mean = tensor(op.mean), inv_deviation = tensor(op.inv_deviation);
  const std::span<double> dscale = tensor(op.dscale), dbias = tensor(op.dbias);
  std::vector<double> dz(dy.begin(), dy.end());
  std::ranges::fill(dscale, 0.0);
  std::ranges::fill(dbias, 0.0);
  for_each_value(e, [&](std::size_t i, std::size_t c) {
    if (op.dy_other != kNone) dz[i] += tensor(op.dy_other)[i];
    if (op.y != kNone && !(tensor(op.y)[i] > 0)) dz[i] = 0;
    dbias[c] += dz[i];
    dscale[c] += dz[i] * (x[i] - mean[c]) * inv_deviation[c];
  });
  const auto count = static_cast<double>(e[0] * e[2] * e[3]);
  const std::span<double> scale = tensor(op.scale);
  for_each_value(e, [&](std::size_t i, std::size_t c) {
    const double normalised = (x[i] - mean[c]) * inv_deviation[c];
    dx[i] =
        scale[c] * inv_deviation[c] * (dz[i] - dbias[c] / count - normalised * dscale[c] / count);
  });
  if (op.dresidual != kNone) std::ranges::copy(dz, tensor(op.dresidual).begin());
}

void Reference::execute(const Relu& op) {
  std::ranges::transform(tensor(op.x), tensor(op.y).begin(),
                         [](double value) { return std::max(value, 0.0); });
}

void Reference::execute(const ReluBackward& op) {
  std::ranges::transform(tensor(op.dy), tensor(op.y), tensor(op.dx).begin(),
                         [](double dy, double y) { return y > 0 ? dy : 0.0; });
}

void Reference::execute(const Add& op) {
  std::ranges::transform(tensor(op.a), tensor(op.b), tensor(op.y).begin(), std::plus<>());
}

void Reference::execute(const Accumulate& op) {
  std::ranges::transform(tensor(op.from), tensor(op.into), tensor(op.into).begin(), std::plus<>());
}

void Reference::execute(const MaxPool& op) {
  const Extents in = extents(op.x), out = extents(op.y);
  const std::span<double> x = tensor(op.x), y = tensor(op.y), index = tensor(op.index);
  std::size_t at = 0;
  for (std::int64_t plane = 0; plane < out[0] * out[1]; ++plane) {
    for (std::int64_t p = 0; p < out[2]; ++p) {
      for (std::int64_t q = 0; q < out[3]; ++q, ++at) {
        y[at] = -std::numeric_limits<double>::infinity();
        for (std::int64_t r = 0; r < op.window.height; ++r) {
          for (std::int64_t s = 0; s < op.window.width; ++s) {
            const std::int64_t row = p * op.window.stride + r - op.window.top;
            const std::int64_t column = q * op.window.stride + s - op.window.left;
            if (row < 0 || row >= in[2] || column < 0 || column >= in[3]) continue;
            const std::int64_t from = (plane * in[2] + row) * in[3] + column;
            if (!(x[static_cast<std::size_t>(from)] > y[at])) continue;
            y[at] = x[static_cast<std::size_t>(from)];
            index[at] = static_cast<double>(from);
          }
        }
      }
    }
  }
}

void Reference::execute(const MaxPoolBackward& op) {
  const std::span<double> dx = tensor(op.dx), dy = tensor(op.dy), index = tensor(op.index);
  std::ranges::fill(dx, 0.0);
  const std::size_t values = values_of(extents(op.dy));
  for (std::size_t i = 0; i < values; ++i) dx[static_cast<std::size_t>(index[i])] += dy[i];
}

void Reference::execute(const AveragePool& op) {
  const Extents in = extents(op.x);
  const auto pixels = static_cast<std::size_t>(in[2] * in[3]);
  const std::span<double> x = tensor(op.x), y = tensor(op.y);
  for (std::size_t i = 0; i < values_of(extents(op.y)); ++i) {
    double sum = 0;
    for (const double value : x.subspan(i * pixels, pixels)) sum += value;
    y[i] = sum / static_cast<double>(pixels);
  }
}

void Reference::execute(const AveragePoolBackward& op) {
  const Extents in = extents(op.dx);
  const auto pixels = static_cast<std::size_t>(in[2] * in[3]);
  for (std::size_t i = 0; i < values_of(extents(op.dy)); ++i) {
    std::ranges::fill(tensor(op.dx).subspan(i * pixels, pixels),
                      tensor(op.dy)[i] / static_cast<double>(pixels));
  }
}

/// The place, in logical order, of value `i` of a sample in the order (H, W, C).
std::size_t Reference::flat_place(TensorId x, std::size_t i) const {
  const Extents e = extents(x);
  const auto channels = static_cast<std::size_t>(e[1]);
  return i % channels * static_cast<std::size_t>(e[2] * e[3]) + i / channels;
}

void Reference::execute(const Dense& op) {
  const Extents w = extents(op.weight);
  const auto in = static_cast<std::size_t>(w[1]), out = static_cast<std::size_t>(w[0]);
  const std::span<double> x = tensor(op.x), weight = tensor(op.weight), y = tensor(op.y);
  for (std::size_t n = 0; n < static_cast<std::size_t>(batch_size_); ++n) {
    for (std::size_t k = 0; k < out; ++k) {
      double sum = tensor(op.bias)[k];
      for (std::size_t c = 0; c < in; ++c) {
        sum += weight[k * in + c] * x[n * in + flat_place(op.x, c)];
      }
      y[n * out + k] = sum;
    }
  }
}

void Reference::execute(const DenseBackward& op) {
  const Extents w = extents(op.weight);
  const auto in = static_cast<std::size_t>(w[1]), out = static_cast<std::size_t>(w[0]);
  const std::span<double> x = tensor(op.x), weight = tensor(op.weight), dy = tensor(op.dy);
  const std::span<double> dx = op.dx == kNone ? std::span<double>() : tensor(op.dx),
                          dw = tensor(op.dweight), db = tensor(op.dbias);
  for (const std::span<double> each : {dx, dw, db}) std::ranges::fill(each, 0.0);
  for (std::size_t n = 0; n < static_cast<std::size_t>(batch_size_); ++n) {
    for (std::size_t k = 0; k < out; ++k) {
      const double d = dy[n * out + k];
      db[k] += d;
      for (std::size_t c = 0; c < in; ++c) {
        const std::size_t at = n * in + flat_place(op.x, c);
        dw[k * in + c] += d * x[at];
        if (!dx.empty()) dx[at] += d * weight[k * in + c];
      }
    }
  }
}

void Reference::execute(const SoftmaxLoss& op) {
  const auto classes = static_cast<std::size_t>(extents(op.logits)[1]);
  const double scale = 1.0 / input_->global_batch_size;
  for (std::size_t n = 0; n < input_->labels.size(); ++n) {
    softmax_loss(tensor(op.logits).subspan(n * classes, classes), input_->labels[n],
                 static_cast<double>(program_.label_smoothing), scale,
                 tensor(op.dlogits).subspan(n * classes, classes), *sums_);
  }
}

}  // namespace slackline::net
