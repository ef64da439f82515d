#include "net_cuda/layout.h"

#include <algorithm>
#include <cassert>
#include <string_view>
#include <variant>

#include "net/plan.h"
#include "net/training.h"

namespace slackline::net::cuda {
namespace {

std::size_t at(TensorId id) { return static_cast<std::size_t>(id); }

/// The kernel that reads the pixels, if there is one.
TensorId kernel_of_pixels(const Program& program) {
  const TensorId pixels = std::get<Ingest>(program.ops.front()).y;
  for (const Op& op : program.ops) {
    if (const auto* conv = std::get_if<Conv>(&op); conv != nullptr && conv->x == pixels) {
      return conv->weight;
    }
  }
  return kNone;
}

void place_persistent(const Program& program, const OptimizerSpec& optimizer, Layout& layout) {
  const auto place = [&](std::size_t& end, TensorId id) {
    constexpr std::size_t kAlignment = Layout::kAlignment;
    layout.offsets[at(id)] = end;
    end += (values_of(layout.extents[at(id)]) + kAlignment - 1) / kAlignment * kAlignment;
  };
  for (const TensorId id : program.all(TensorKind::kParameter)) {
    const Tensor& tensor = program.tensor(id);
    place(layout.parameter_values, id);
    layout.offsets[at(tensor.gradient)] = layout.offsets[at(id)];
    const auto size = static_cast<std::int64_t>(values_of(layout.extents[at(id)]));
    const auto begin = static_cast<std::int64_t>(layout.offsets[at(id)]);
    for (std::int64_t done = 0; done < size; done += kPieceValues) {
      layout.pieces.push_back(
          {.begin = begin + done,
           .size = static_cast<std::int32_t>(std::min(kPieceValues, size - done)),
           .tensor = static_cast<std::int32_t>(layout.trained.size())});
    }
    layout.trained.push_back({.begin = begin,
                              .size = size,
                              .decay = decay_of(tensor, optimizer),
                              .is_kernel = tensor.is_kernel ? 1 : 0,
                              .is_in_penalty = tensor.is_decayed ? 1 : 0});
  }
  for (const TensorId id : program.all(TensorKind::kStatistic)) {
    place(layout.statistic_values, id);
  }
}

/// layer1, layer2, …; empty for what comes before and behind them.
std::string_view stage_of(const Tensor& parameter) {
  const std::string_view name = parameter.name;
  return name.starts_with("layer") ? name.substr(0, name.find('.')) : std::string_view();
}

/// The last operation that writes a gradient, by place of the parameter among the parameters.
std::vector<std::size_t> last_writers(const Program& program) {
  const std::vector<TensorId> parameters = program.all(TensorKind::kParameter);
  std::vector<std::size_t> last(parameters.size());
  for (std::size_t op = program.forward_ops; op < program.ops.size(); ++op) {
    for (const TensorId written : accesses_of(program.ops[op]).writes) {
      if (program.tensor(written).kind != TensorKind::kGradient) continue;
      const auto of = std::ranges::find(parameters, written,
                                        [&](TensorId id) { return program.tensor(id).gradient; });
      last[static_cast<std::size_t>(of - parameters.begin())] = op;
    }
  }
  return last;
}

/// Stages, and with them their gradients, lie one behind the other, from the first to the last; the
/// backward pass comes to the last one first.
std::vector<GradientPart> gradient_parts(const Program& program, const Layout& layout) {
  const std::vector<TensorId> parameters = program.all(TensorKind::kParameter);
  const std::vector<std::size_t> last = last_writers(program);
  std::vector<GradientPart> parts;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const bool is_first = i == 0 || stage_of(program.tensor(parameters[i])) !=
                                        stage_of(program.tensor(parameters[i - 1]));
    if (is_first) parts.push_back({.begin = layout.offset(parameters[i])});
    GradientPart& part = parts.back();
    const bool is_end = i + 1 == parameters.size();
    part.size = (is_end ? layout.parameter_values : layout.offset(parameters[i + 1])) - part.begin;
    part.last_op = std::max(part.last_op, last[i]);
  }
  for (GradientPart& part : parts) {
    const auto piece_at = [&](std::size_t value) {
      return std::ranges::lower_bound(layout.pieces, static_cast<std::int64_t>(value), {},
                                      &Piece::begin) -
             layout.pieces.begin();
    };
    part.first_piece = static_cast<std::size_t>(piece_at(part.begin));
    part.piece_count =
        static_cast<std::size_t>(piece_at(part.begin + part.size)) - part.first_piece;
  }
  std::ranges::stable_sort(parts, {}, &GradientPart::last_op);
  return parts;
}

std::size_t bytes_in_arena(const Tensor& tensor, const Extents& extents, Precision precision) {
  switch (tensor.kind) {
    case TensorKind::kActivation:
      return values_of(extents) * bytes_of(precision);
    case TensorKind::kChannel:
      return values_of(extents) * sizeof(float);
    case TensorKind::kIndex:
      return values_of(extents);
    default:
      return 0;
  }
}

}  // namespace

std::size_t Layout::size(const Program& program, TensorId id, std::int64_t batch) const {
  Extents of = extents[at(id)];
  const TensorKind kind = program.tensor(id).kind;
  if (kind == TensorKind::kActivation || kind == TensorKind::kIndex) of[0] = batch;
  return values_of(of);
}

Layout make_layout(const Program& program, Precision precision, const OptimizerSpec& optimizer) {
  Layout layout;
  layout.precision = precision;
  const TensorId pixels = std::get<Ingest>(program.ops.front()).y;
  layout.batch_size = program.tensor(pixels).extents[0];
  for (const Tensor& tensor : program.tensors) layout.extents.push_back(tensor.extents);
  layout.extents[at(pixels)][1] = kPixelChannels;
  if (const TensorId kernel = kernel_of_pixels(program); kernel != kNone) {
    layout.extents[at(kernel)][1] = kPixelChannels;
    layout.extents[at(program.tensor(kernel).gradient)][1] = kPixelChannels;
  }
  layout.offsets.resize(program.tensors.size());
  layout.bytes.resize(program.tensors.size());
  place_persistent(program, optimizer, layout);
  layout.parts = gradient_parts(program, layout);

  for (std::size_t i = 0; i < layout.bytes.size(); ++i) {
    layout.bytes[i] = bytes_in_arena(program.tensors[i], layout.extents[i], precision);
  }
  const ArenaPlan plan = plan_arena(lifetimes_of(program), layout.bytes);
  for (std::size_t i = 0; i < layout.bytes.size(); ++i) {
    if (layout.bytes[i] > 0) layout.offsets[i] = plan.offsets[i];
  }
  layout.arena_bytes = plan.bytes;
  return layout;
}

namespace {

/// Calls f(place in logical order, place in the device's order).
template <class F>
void for_each_value(const Extents& logical, std::int64_t channels, F f) {
  const auto [out, in, height, width] = logical;
  std::size_t from = 0;
  for (std::int64_t k = 0; k < out; ++k) {
    for (std::int64_t c = 0; c < in; ++c) {
      for (std::int64_t pixel = 0; pixel < height * width; ++pixel, ++from) {
        f(from, static_cast<std::size_t>((k * height * width + pixel) * channels + c));
      }
    }
  }
}

}  // namespace

void to_device_order(const Extents& logical, std::int64_t channels, std::span<const float> values,
                     std::span<float> device) {
  assert(values.size() == values_of(logical));
  std::ranges::fill(device, 0.0f);
  for_each_value(logical, channels, [&](std::size_t i, std::size_t j) { device[j] = values[i]; });
}

void from_device_order(const Extents& logical, std::int64_t channels, std::span<const float> device,
                       std::span<float> values) {
  assert(values.size() == values_of(logical));
  for_each_value(logical, channels, [&](std::size_t i, std::size_t j) { values[i] = device[j]; });
}

}  // namespace slackline::net::cuda
