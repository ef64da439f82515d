#include "net/program.h"

#include <algorithm>

namespace slackline::net {
namespace {

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace

std::string_view name_of(const Op& op) {
  static constexpr std::array<std::string_view, std::variant_size_v<Op>> kNames = {
      "ingest",       "conv",           "batch norm",       "relu",
      "add",          "max pool",       "average pool",     "dense",
      "softmax loss", "conv data grad", "conv weight grad", "batch norm grad",
      "relu grad",    "accumulate",     "max pool grad",    "average pool grad",
      "dense grad"};
  return kNames[op.index()];
}

Accesses accesses_of(const Op& op) {
  Accesses found = std::visit(
      Overloaded{
          [](const Ingest& o) {
            return Accesses{{}, {o.y}};
          },
          [](const Conv& o) {
            return Accesses{{o.x, o.weight}, {o.y}};
          },
          [](const BatchNorm& o) {
            return Accesses{{o.x, o.scale, o.bias, o.residual, o.running_mean, o.running_variance},
                            {o.y, o.mean, o.inv_deviation, o.running_mean, o.running_variance}};
          },
          [](const Relu& o) {
            return Accesses{{o.x}, {o.y}};
          },
          [](const Add& o) {
            return Accesses{{o.a, o.b}, {o.y}};
          },
          [](const MaxPool& o) {
            return Accesses{{o.x}, {o.y, o.index}};
          },
          [](const AveragePool& o) {
            return Accesses{{o.x}, {o.y}};
          },
          [](const Dense& o) {
            return Accesses{{o.x, o.weight, o.bias}, {o.y}};
          },
          [](const SoftmaxLoss& o) {
            return Accesses{{o.logits}, {o.dlogits}};
          },
          [](const ConvBackwardData& o) {
            return Accesses{{o.dy, o.weight}, {o.dx}};
          },
          [](const ConvBackwardWeights& o) {
            return Accesses{{o.x, o.dy}, {o.dweight}};
          },
          [](const BatchNormBackward& o) {
            return Accesses{{o.dy, o.dy_other, o.y, o.x, o.scale, o.mean, o.inv_deviation},
                            {o.dx, o.dresidual, o.dscale, o.dbias}};
          },
          [](const ReluBackward& o) {
            return Accesses{{o.dy, o.y}, {o.dx}};
          },
          [](const Accumulate& o) {
            return Accesses{{o.from, o.into}, {o.into}};
          },
          [](const MaxPoolBackward& o) {
            return Accesses{{o.dy, o.index}, {o.dx}};
          },
          [](const AveragePoolBackward& o) {
            return Accesses{{o.dy}, {o.dx}};
          },
          [](const DenseBackward& o) {
            return Accesses{{o.dy, o.x, o.weight}, {o.dx, o.dweight, o.dbias}};
          },
      },
      op);
  std::erase(found.reads, kNone);
  std::erase(found.writes, kNone);
  return found;
}

std::vector<TensorId> Program::all(TensorKind kind) const {
  std::vector<TensorId> found;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].kind == kind) found.push_back(static_cast<TensorId>(i));
  }
  return found;
}

std::size_t Program::count(TensorKind kind) const {
  std::size_t values = 0;
  for (const TensorId id : all(kind)) values += values_of(tensor(id).extents);
  return values;
}

std::string label_of(const Program& program, const Op& op) {
  const TensorId of = std::visit(Overloaded{
                                     [](const Conv& o) { return o.weight; },
                                     [](const ConvBackwardData& o) { return o.weight; },
                                     [](const ConvBackwardWeights& o) { return o.dweight; },
                                     [](const BatchNorm& o) { return o.scale; },
                                     [](const BatchNormBackward& o) { return o.scale; },
                                     [](const Dense& o) { return o.weight; },
                                     [](const DenseBackward& o) { return o.weight; },
                                     [&](const auto&) { return accesses_of(op).writes.front(); },
                                 },
                                 op);
  std::string_view name = program.tensor(of).name;
  if (name.starts_with("gradient.")) name.remove_prefix(std::string_view("gradient.").size());
  if (name.ends_with(".weight")) name.remove_suffix(std::string_view(".weight").size());
  return std::string(name_of(op)) + " " + std::string(name);
}

std::int64_t flop_of(const Program& program, const Op& op) {
  // Each value of y takes a multiplication and an addition for each weight of its channel.
  const auto of = [&](TensorId y, TensorId weight) {
    const Extents& w = program.tensor(weight).extents;
    return 2 * static_cast<std::int64_t>(values_of(program.tensor(y).extents)) * w[1] * w[2] * w[3];
  };
  return std::visit(
      Overloaded{
          [&](const Conv& o) { return of(o.y, o.weight); },
          [&](const ConvBackwardData& o) { return of(o.dy, o.weight); },
          [&](const ConvBackwardWeights& o) { return of(o.dy, o.dweight); },
          [&](const Dense& o) { return of(o.y, o.weight); },
          [&](const DenseBackward& o) { return (o.dx == kNone ? 1 : 2) * of(o.dy, o.weight); },
          [](const auto&) { return std::int64_t{0}; },
      },
      op);
}

// --- the backward pass -------------------------------------------------------------------------

namespace {

/// Walks the forward pass from its end. The derivative by a tensor is the sum of what its readers
/// contribute; all of them come before its writer.
class Backward {
 public:
  Backward(Program& program, Fusion fusion)
      : program_(program), fusion_(fusion), derivatives_(program.tensors.size()) {}

  void run() {
    for (std::size_t i = program_.forward_ops; i-- > 0;) {
      const Op op = program_.ops[i];
      std::visit([this](const auto& o) { emit(o); }, op);
    }
  }

 private:
  /// At most two contributions are kept apart; nothing in these networks has more readers.
  struct Derivative {
    TensorId first = kNone, second = kNone;
  };

  [[nodiscard]] Derivative& derivative(TensorId id) {
    return derivatives_[static_cast<std::size_t>(id)];
  }

  void contribute(TensorId to, TensorId what) {
    Derivative& sum = derivative(to);
    if (sum.first == kNone) {
      sum.first = what;
      return;
    }
    if (sum.second != kNone) merge(sum);
    sum.second = what;
  }

  void merge(Derivative& sum) {
    program_.ops.emplace_back(Accumulate{.from = sum.second, .into = sum.first});
    sum.second = kNone;
  }

  /// The whole derivative by `id`, in one tensor.
  TensorId whole(TensorId id) {
    Derivative& sum = derivative(id);
    if (sum.second != kNone) merge(sum);
    return sum.first;
  }

  TensorId new_derivative_of(TensorId id) {
    Tensor made = program_.tensor(id);
    made.name = "d " + made.name;
    program_.tensors.push_back(std::move(made));
    derivatives_.emplace_back();
    return static_cast<TensorId>(program_.tensors.size()) - 1;
  }

  [[nodiscard]] TensorId gradient_of(TensorId parameter) const {
    return program_.tensor(parameter).gradient;
  }

  [[nodiscard]] bool is_needed(TensorId x) const {
    // Nobody asks for the derivative by the pixels.
    const auto* ingest = std::get_if<Ingest>(&program_.ops.front());
    return ingest == nullptr || ingest->y != x;
  }

  void emit(const Ingest&) {}

  void emit(const SoftmaxLoss& o) { contribute(o.logits, o.dlogits); }

  void emit(const Dense& o) {
    const TensorId dx = is_needed(o.x) ? new_derivative_of(o.x) : kNone;
    program_.ops.emplace_back(DenseBackward{.dy = whole(o.y),
                                            .x = o.x,
                                            .weight = o.weight,
                                            .dx = dx,
                                            .dweight = gradient_of(o.weight),
                                            .dbias = gradient_of(o.bias)});
    if (dx != kNone) contribute(o.x, dx);
  }

  void emit(const AveragePool& o) {
    const TensorId dx = new_derivative_of(o.x);
    program_.ops.emplace_back(AveragePoolBackward{.dy = whole(o.y), .dx = dx});
    contribute(o.x, dx);
  }

  void emit(const MaxPool& o) {
    const TensorId dx = new_derivative_of(o.x);
    program_.ops.emplace_back(
        MaxPoolBackward{.dy = whole(o.y), .index = o.index, .dx = dx, .window = o.window});
    contribute(o.x, dx);
  }

  void emit(const Relu& o) {
    const TensorId dy = whole(o.y);
    program_.ops.emplace_back(ReluBackward{.dy = dy, .y = o.y, .dx = dy});
    contribute(o.x, dy);
  }

  /// Both get the same tensor. The one that comes first in the walk must not overwrite it while the
  /// other has not read it: that is why batch norm's asks take_for_overwriting().
  void emit(const Add& o) {
    const TensorId dy = whole(o.y);
    // In a row of blocks the same tensor was already passed on by the sum behind this one.
    std::erase_if(shared_, [dy](const Shared& shared) { return shared.tensor == dy; });
    shared_.push_back({dy, 2});
    contribute(o.a, dy);
    contribute(o.b, dy);
  }

  void emit(const BatchNorm& o) {
    BatchNormBackward made{.dy = kNone,
                           .dy_other = kNone,
                           .y = o.relu ? o.y : kNone,
                           .x = o.x,
                           .scale = o.scale,
                           .mean = o.mean,
                           .inv_deviation = o.inv_deviation,
                           .dx = kNone,
                           .dresidual = kNone,
                           .dscale = gradient_of(o.scale),
                           .dbias = gradient_of(o.bias)};
    if (fusion_ == Fusion::kSeparate) {
      made.dy = whole(o.y);
    } else {
      made.dy = derivative(o.y).first;
      made.dy_other = derivative(o.y).second;
    }
    if (o.residual != kNone) {
      made.dresidual = made.dy;
      made.dx = new_derivative_of(o.x);
      contribute(o.residual, made.dresidual);
    } else {
      made.dx = take_for_overwriting(made.dy) ? made.dy : new_derivative_of(o.x);
    }
    program_.ops.emplace_back(made);
    contribute(o.x, made.dx);
  }

  void emit(const Conv& o) {
    const TensorId dy = whole(o.y);
    program_.ops.emplace_back(ConvBackwardWeights{
        .x = o.x, .dy = dy, .dweight = gradient_of(o.weight), .window = o.window});
    if (!is_needed(o.x)) return;
    const TensorId dx = new_derivative_of(o.x);
    program_.ops.emplace_back(
        ConvBackwardData{.dy = dy, .weight = o.weight, .dx = dx, .window = o.window});
    contribute(o.x, dx);
  }

  template <class T>
  void emit(const T&) {}  // operations of a backward pass do not occur

  /// Whether this reader of a derivative is its last one.
  bool take_for_overwriting(TensorId id) {
    for (Shared& shared : shared_) {
      if (shared.tensor == id) return --shared.readers_left == 0;
    }
    return true;
  }

  struct Shared {
    TensorId tensor;
    int readers_left;
  };

  Program& program_;
  const Fusion fusion_;
  std::vector<Derivative> derivatives_;  ///< by tensor
  std::vector<Shared> shared_;           ///< derivatives that two operations read
};

}  // namespace

void append_backward(Program& program, Fusion fusion) {
  program.forward_ops = program.ops.size();
  Backward(program, fusion).run();
}

}  // namespace slackline::net
