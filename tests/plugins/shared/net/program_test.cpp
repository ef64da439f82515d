// What every program must keep to, whoever executes it: replayed with words in place of numbers.

#include "net/program.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "all_resnets.h"

namespace slackline::net {
namespace {

using testing_support::all_resnets;

/// What one operation adds to the derivative by a tensor: "conv3's, by its x".
using Term = std::pair<std::size_t, std::string>;
/// Sorted; a term that was added twice is here twice.
using Terms = std::multiset<Term>;

/// Replays the backward pass. A tensor of derivatives holds a set of terms; every operation that
/// reads one must find just the terms of those that read the tensor in the forward pass. Knows
/// nothing of how the backward pass was built: operations are paired by their parameters.
class Replay {
 public:
  explicit Replay(const Program& program)
      : program_(program), terms_(program.tensors.size()), writes_(program.tensors.size()) {}

  void run() {
    for (op_ = 0; op_ < program_.ops.size(); ++op_) {
      const Accesses accesses = accesses_of(program_.ops[op_]);
      for (const TensorId id : accesses.reads) expect_written(id);
      std::visit([this](const auto& o) { execute(o); }, program_.ops[op_]);
      for (const TensorId id : accesses.writes) {
        ++writes_[at(id)];
        if (op_ < program_.forward_ops || !is_derivative(id)) {
          expect(writes_[at(id)] == 1 || is_statistic(id), "overwrites", id);
        }
      }
    }
    for (const TensorId id : program_.all(TensorKind::kGradient)) {
      expect(writes_[at(id)] == 1, "the end finds not written once", id);
    }
  }

 private:
  static std::size_t at(TensorId id) { return static_cast<std::size_t>(id); }

  [[nodiscard]] bool is_statistic(TensorId id) const {
    return program_.tensor(id).kind == TensorKind::kStatistic;
  }
  [[nodiscard]] bool is_persistent(TensorId id) const {
    return is_statistic(id) || program_.tensor(id).kind == TensorKind::kParameter;
  }
  [[nodiscard]] bool is_derivative(TensorId id) const {
    return program_.tensor(id).kind == TensorKind::kActivation;
  }

  void expect(bool is_so, const std::string& what, TensorId id) const {
    EXPECT_TRUE(is_so) << "operation " << op_ << " (" << name_of_op() << ") " << what << " "
                       << program_.tensor(id).name;
  }
  [[nodiscard]] std::string name_of_op() const {
    return op_ < program_.ops.size() ? std::string(name_of(program_.ops[op_])) : "none";
  }

  void expect_written(TensorId id) const {
    if (!is_persistent(id)) expect(writes_[at(id)] > 0, "reads before it is written", id);
  }

  // --- what the derivative by a tensor of the forward pass consists of ---------------------------

  Terms terms_by(TensorId of) const {
    Terms all;
    for (std::size_t i = 0; i < program_.forward_ops; ++i) {
      const Op& op = program_.ops[i];
      if (const auto* o = std::get_if<Add>(&op)) {  // passes on what it gets
        if (o->a == of) all.merge(terms_by(o->y));
        if (o->b == of) all.merge(terms_by(o->y));
        continue;
      }
      if (const auto* o = std::get_if<BatchNorm>(&op)) {
        if (o->x == of) all.emplace(i, "x");
        if (o->residual == of) all.emplace(i, "residual");
        continue;
      }
      const Accesses accesses = accesses_of(op);
      if (std::ranges::find(accesses.reads, of) != accesses.reads.end()) all.emplace(i, "x");
    }
    return all;
  }

  void expect_derivative(TensorId dy, TensorId other, TensorId of) const {
    Terms found = terms_[at(dy)];
    if (other != kNone) {
      Terms more = terms_[at(other)];
      found.merge(more);
    }
    EXPECT_THAT(found, testing::ContainerEq(terms_by(of)))
        << "operation " << op_ << " (" << name_of_op() << ") reads " << program_.tensor(dy).name
        << " as the derivative by " << program_.tensor(of).name;
  }

  /// The operation of the forward pass for which `is_it`, a function of T, holds.
  template <class T, class Function>
  std::pair<std::size_t, T> forward(Function is_it) const {
    for (std::size_t i = 0; i < program_.forward_ops; ++i) {
      const T* found = std::get_if<T>(&program_.ops[i]);
      if (found != nullptr && is_it(*found)) return {i, *found};
    }
    ADD_FAILURE() << "operation " << op_ << " (" << name_of_op() << ") has no partner";
    return {0, std::get<T>(Op(T{}))};
  }
  [[nodiscard]] TensorId gradient(TensorId parameter) const {
    return program_.tensor(parameter).gradient;
  }
  void hold(TensorId id, std::size_t op, const std::string& slot) { terms_[at(id)] = {{op, slot}}; }

  // --- operations --------------------------------------------------------------------------------

  template <class T>
  void execute(const T&) {}  // of the forward pass

  void execute(const SoftmaxLoss& o) { hold(o.dlogits, op_, "x"); }

  void execute(const DenseBackward& o) {
    const auto [i, of] =
        forward<Dense>([&](const Dense& f) { return gradient(f.weight) == o.dweight; });
    EXPECT_EQ(gradient(of.bias), o.dbias);
    EXPECT_EQ(of.x, o.x);
    EXPECT_EQ(of.weight, o.weight);
    expect_derivative(o.dy, kNone, of.y);
    hold(o.dx, i, "x");
  }
  void execute(const AveragePoolBackward& o) {
    const auto [i, of] = forward<AveragePool>([](const AveragePool&) { return true; });
    expect_derivative(o.dy, kNone, of.y);
    hold(o.dx, i, "x");
  }
  void execute(const MaxPoolBackward& o) {
    const auto [i, of] = forward<MaxPool>([&](const MaxPool& f) { return f.index == o.index; });
    expect_derivative(o.dy, kNone, of.y);
    hold(o.dx, i, "x");
  }
  void execute(const ReluBackward& o) {
    const auto [i, of] = forward<Relu>([&](const Relu& f) { return f.y == o.y; });
    expect_derivative(o.dy, kNone, of.y);
    hold(o.dx, i, "x");
  }
  void execute(const BatchNormBackward& o) {
    const auto [i, of] =
        forward<BatchNorm>([&](const BatchNorm& f) { return gradient(f.scale) == o.dscale; });
    EXPECT_EQ(gradient(of.bias), o.dbias);
    EXPECT_EQ(of.x, o.x);
    EXPECT_EQ(of.scale, o.scale);
    EXPECT_EQ(of.mean, o.mean);
    EXPECT_EQ(of.inv_deviation, o.inv_deviation);
    EXPECT_EQ(of.relu ? of.y : kNone, o.y);
    EXPECT_EQ(of.residual != kNone, o.dresidual != kNone);
    EXPECT_TRUE(o.dresidual == kNone || o.dx != o.dy) << "operation " << op_;
    EXPECT_NE(o.dx, o.dresidual) << "operation " << op_;
    expect_derivative(o.dy, o.dy_other, of.y);
    if (o.dresidual != kNone) hold(o.dresidual, i, "residual");
    hold(o.dx, i, "x");
  }
  void execute(const ConvBackwardWeights& o) {
    const auto [i, of] =
        forward<Conv>([&](const Conv& f) { return gradient(f.weight) == o.dweight; });
    EXPECT_EQ(of.x, o.x);
    expect_derivative(o.dy, kNone, of.y);
  }
  void execute(const ConvBackwardData& o) {
    const auto [i, of] = forward<Conv>([&](const Conv& f) { return f.weight == o.weight; });
    expect_derivative(o.dy, kNone, of.y);
    hold(o.dx, i, "x");
  }
  void execute(const Accumulate& o) {
    EXPECT_NE(o.from, o.into);
    Terms more = terms_[at(o.from)];
    terms_[at(o.into)].merge(more);
  }

  const Program& program_;
  std::vector<Terms> terms_;  ///< by tensor
  std::vector<int> writes_;   ///< by tensor
  std::size_t op_ = 0;
};

TEST(ProgramTest, TensorsAreWrittenBeforeTheyAreReadAndNotOverwrittenWhileTheyAreNeeded) {
  for (const ResnetSpec& spec : all_resnets()) {
    SCOPED_TRACE(testing_support::name_of(spec));
    const Program program = build_resnet(spec);
    Replay(program).run();
    if (testing::Test::HasFailure()) return;  // one network's list is long enough
  }
}

TEST(ProgramTest, ATensorThatThreeOperationsReadGetsTheDerivativesOfAll) {
  for (const Fusion fusion : {Fusion::kSeparate, Fusion::kBatchNorm}) {
    Program program;
    const auto add = [&](TensorKind kind, const std::string& name) {
      program.tensors.push_back({.name = name, .kind = kind, .extents = {1, 1, 1, 1}});
      return static_cast<TensorId>(program.tensors.size()) - 1;
    };
    const auto activation = [&](const std::string& name) {
      return add(TensorKind::kActivation, name);
    };
    const auto parameter = [&](const std::string& name) {
      const TensorId id = add(TensorKind::kParameter, name);
      const TensorId gradient = add(TensorKind::kGradient, "gradient." + name);
      program.tensors[static_cast<std::size_t>(id)].gradient = gradient;
      return id;
    };
    const TensorId pixels = activation("pixels"), x = activation("x");
    program.ops.emplace_back(Ingest{.y = pixels});
    program.ops.emplace_back(Relu{.x = pixels, .y = x});
    TensorId sum = kNone;
    for (const char* name : {"a", "b", "c"}) {
      const TensorId y = activation(name);
      const TensorId weight = parameter(std::string(name) + ".weight");
      program.ops.emplace_back(Conv{.x = x, .weight = weight, .y = y, .window = {}});
      if (sum == kNone) {
        sum = y;
        continue;
      }
      const TensorId more = activation("sum");
      program.ops.emplace_back(Add{.a = sum, .b = y, .y = more});
      sum = more;
    }
    const TensorId logits = activation("logits"), dlogits = activation("d logits");
    const TensorId weight = parameter("fc.weight"), bias = parameter("fc.bias");
    program.ops.emplace_back(Dense{.x = sum, .weight = weight, .bias = bias, .y = logits});
    program.ops.emplace_back(SoftmaxLoss{.logits = logits, .dlogits = dlogits});
    append_backward(program, fusion);
    Replay(program).run();
  }
}

TEST(ProgramTest, AWindowsPaddingAndExtentsAreTheSameForwardAndBackward) {
  for (const ResnetSpec& spec : all_resnets()) {
    const Program program = build_resnet(spec);
    const auto check = [&](TensorId x, TensorId y, const Window& window) {
      const Extents& in = program.tensor(x).extents;
      const Extents& out = program.tensor(y).extents;
      EXPECT_EQ(out[2], window.out_height(in[2])) << testing_support::name_of(spec);
      EXPECT_EQ(out[3], window.out_width(in[3])) << testing_support::name_of(spec);
    };
    for (const Op& op : program.ops) {
      if (const auto* o = std::get_if<Conv>(&op)) check(o->x, o->y, o->window);
      if (const auto* o = std::get_if<ConvBackwardData>(&op)) check(o->dx, o->dy, o->window);
      if (const auto* o = std::get_if<ConvBackwardWeights>(&op)) check(o->x, o->dy, o->window);
      if (const auto* o = std::get_if<MaxPool>(&op)) check(o->x, o->y, o->window);
      if (const auto* o = std::get_if<MaxPoolBackward>(&op)) check(o->dx, o->dy, o->window);
    }
  }
}

TEST(ProgramTest, OperationsHaveNamesOfTheirOwn) {
  std::set<std::string_view> names;
  const auto add = [&]<std::size_t... kIndex>(std::index_sequence<kIndex...>) {
    (names.insert(name_of(Op(std::in_place_index<kIndex>))), ...);
  };
  add(std::make_index_sequence<std::variant_size_v<Op>>());
  EXPECT_EQ(names.size(), std::variant_size_v<Op>);
  EXPECT_EQ(name_of(Op(Conv{})), "conv");
  EXPECT_EQ(name_of(Op(DenseBackward{})), "dense grad");
}

TEST(ProgramTest, EveryLayersOperationsHaveLabelsOfTheirOwn) {
  const Program program = build_resnet({.depth = 50});
  std::set<std::string> labels;
  for (const Op& op : program.ops) {
    EXPECT_TRUE(labels.insert(label_of(program, op)).second) << label_of(program, op);
  }
  for (const char* label :
       {"conv layer3.0.downsample.0", "conv data grad layer3.0.downsample.0",
        "conv data grad layer3.0.conv1", "conv weight grad conv1", "batch norm grad bn1",
        "dense fc", "dense grad fc", "max pool maxpool", "softmax loss d logits"}) {
    EXPECT_TRUE(labels.contains(label)) << label;
  }
}

}  // namespace
}  // namespace slackline::net
