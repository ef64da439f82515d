#pragma once

// A device whose work is done by the CPU, one thread of a block after another: kernels are those of
// the GPU, and cuDNN's convolutions are plain loops. What runs is the executor as it is.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "bodies/vector.h"
#include "fake_cuda.h"
#include "net_cuda/executor.h"

namespace slackline::net::cuda {

class CpuDevice final : public slackline::cuda::FakeRuntime {
 public:
  /// Before the first step: whose work comes.
  void execute(const Executor& executor) {
    executor_ = &executor;
    const Program& program = executor.program();
    for (const Op& op : program.ops) ops_[label_of(program, op)] = &op;
  }

 protected:
  std::function<void()> effect_of(const slackline::cuda::Work& work, cudaStream_t stream,
                                  const std::function<void(cudaStream_t)>& call) override {
    if (auto product = product_of(work)) return product;
    return [call, stream] { call(stream); };
  }

 private:
  /// One of a convolution's three products: of (x, w), (dy, w) or (x, dy).
  struct Product {
    enum class Kind : std::uint8_t { kForward, kData, kWeights };
    const Executor& executor;
    Kind kind;
    TensorId x, weight, y;
    Window window;
    const void *a, *b;
    void* result;
    std::int64_t batch;
  };

  /// The products of a dense layer come with its bias under one name: two operands, and the result
  /// is none of them.
  std::function<void()> product_of(const slackline::cuda::Work& work) {
    const auto found = ops_.find(std::string(work.name));
    if (executor_ == nullptr || found == ops_.end()) return {};
    const bool is_product =
        work.reads.size() == 2 && work.writes.front().begin != work.reads.front().begin;
    if (!is_product) return {};
    const auto make = [&](Product::Kind kind, TensorId x, TensorId weight, TensorId y,
                          const Window& window) -> std::function<void()> {
      const TensorId first = kind == Product::Kind::kData ? y : x;
      const Product made{
          .executor = *executor_,
          .kind = kind,
          .x = x,
          .weight = weight,
          .y = y,
          .window = window,
          .a = work.reads[0].begin,
          .b = work.reads[1].begin,
          .result = const_cast<void*>(work.writes.front().begin),
          .batch = static_cast<std::int64_t>(work.reads[0].bytes / bytes_of_sample(first))};
      return [made] {
        switch (made.executor.layout().precision) {
          case Precision::kFloat32:
            return run<float>(made);
          case Precision::kFloat16:
            return run<__half>(made);
          case Precision::kBfloat16:
            return run<__nv_bfloat16>(made);
        }
      };
    };
    using Kind = Product::Kind;
    if (const auto* o = std::get_if<Conv>(found->second)) {
      return make(Kind::kForward, o->x, o->weight, o->y, o->window);
    }
    if (const auto* o = std::get_if<ConvBackwardData>(found->second)) {
      return make(Kind::kData, o->dx, o->weight, o->dy, o->window);
    }
    if (const auto* o = std::get_if<ConvBackwardWeights>(found->second)) {
      return make(Kind::kWeights, o->x, o->dweight, o->dy, o->window);
    }
    if (const auto* o = std::get_if<Dense>(found->second)) {
      return make(Kind::kForward, o->x, o->weight, o->y, {});
    }
    if (const auto* o = std::get_if<DenseBackward>(found->second)) {
      // By data reads dy and the weights, by weights x and dy.
      if (work.reads[1].bytes == bytes_of_sample(o->weight)) {
        return make(Kind::kData, o->dx, o->weight, o->dy, {});
      }
      return make(Kind::kWeights, o->x, o->dweight, o->dy, {});
    }
    return {};
  }

  [[nodiscard]] std::size_t bytes_of_sample(TensorId id) const {
    const Layout& layout = executor_->layout();
    return layout.size(executor_->program(), id, 1) * bytes_of(layout.precision);
  }

  template <class T>
  static void run(const Product& p) {
    const Layout& layout = p.executor.layout();
    const Extents &in = layout.extents[static_cast<std::size_t>(p.x)],
                  &weight = layout.extents[static_cast<std::size_t>(p.weight)],
                  &out = layout.extents[static_cast<std::size_t>(p.y)];
    using Kind = Product::Kind;
    const auto* a = static_cast<const T*>(p.a);
    const auto* b = static_cast<const T*>(p.b);
    const std::size_t size =
        p.kind == Kind::kForward ? static_cast<std::size_t>(p.batch * out[1] * out[2] * out[3])
        : p.kind == Kind::kData  ? static_cast<std::size_t>(p.batch * in[1] * in[2] * in[3])
                                 : values_of(weight);
    std::vector<double> sums(size);
    for (std::int64_t n = 0; n < p.batch; ++n) {
      for (std::int64_t row = 0; row < out[2]; ++row) {
        for (std::int64_t column = 0; column < out[3]; ++column) {
          const std::int64_t y = ((n * out[2] + row) * out[3] + column) * out[1];
          for (std::int64_t r = 0; r < weight[2]; ++r) {
            const std::int64_t in_row = row * p.window.stride - p.window.top + r;
            if (in_row < 0 || in_row >= in[2]) continue;
            for (std::int64_t s = 0; s < weight[3]; ++s) {
              const std::int64_t in_column = column * p.window.stride - p.window.left + s;
              if (in_column < 0 || in_column >= in[3]) continue;
              const std::int64_t x = ((n * in[2] + in_row) * in[3] + in_column) * in[1];
              for (std::int64_t k = 0; k < weight[0]; ++k) {
                const std::int64_t w = ((k * weight[2] + r) * weight[3] + s) * weight[1];
                for (std::int64_t c = 0; c < weight[1]; ++c) {
                  switch (p.kind) {
                    case Kind::kForward:
                      sums[static_cast<std::size_t>(y + k)] += product(a[x + c], b[w + c]);
                      break;
                    case Kind::kData:
                      sums[static_cast<std::size_t>(x + c)] += product(a[y + k], b[w + c]);
                      break;
                    case Kind::kWeights:
                      sums[static_cast<std::size_t>(w + c)] += product(a[x + c], b[y + k]);
                      break;
                  }
                }
              }
            }
          }
        }
      }
    }
    auto* result = static_cast<T*>(p.result);
    for (std::size_t i = 0; i < size; ++i) {
      result[i] = bodies::from_float<T>(static_cast<float>(sums[i]));
    }
  }

  template <class T>
  static double product(T a, T b) {
    return static_cast<double>(bodies::to_float(a)) * static_cast<double>(bodies::to_float(b));
  }

  const Executor* executor_ = nullptr;
  std::map<std::string, const Op*> ops_;
};

}  // namespace slackline::net::cuda
