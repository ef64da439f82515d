// Residual networks that train for real on the CPU: the model behind the configurations that have
// to run on any machine.

#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/plugin.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "net/resnet_options.h"
#include "net/training.h"
#include "net_cpu/executor.h"
#include "net_cpu/memory.h"
#include "nn/model_checks.h"
#include "nn/optimizer.h"
#include "store.h"

namespace slackline {
namespace {

using net::TensorId;
using net::TensorKind;
using net::cpu::Executor;
using net::cpu::Precision;

class ResnetModel final : public Model {
 public:
  struct Options : net::ResnetOptions {
    Precision precision = Precision::kFloat32;
    std::int32_t threads = 0;

    static OptionTable<Options> table() {
      using Rows = net::ResnetRows<Options>;
      return {
          Rows::depth(),
          Rows::padding(),
          choice("precision", &Options::precision,
                 {{"fp32", Precision::kFloat32}, {"bf16", Precision::kBfloat16}},
                 "of activations and convolutions; parameters are fp32 in any case. bf16 needs a "
                 "CPU with AVX-512"),
          Rows::fusion(),
          Rows::label_smoothing(),
          option("threads", &Options::threads,
                 "that a replica computes with; 0 means as many as the strategy gives it")
              .range(0, 1024)
              .unit("threads"),
          Rows::mean(),
          Rows::std(),
      };
    }
  };

  ResnetModel(const Options& options, Host& host) : options_(options), host_(host) {
    net::check_depth(options, kName);
  }

  void build(const ModelSpec& spec) override {
    nn::check_images_on_cpu(spec, kName);
    net::check_images(options_, spec, kName);
    spec_ = spec;
    const int threads = options_.threads > 0 ? options_.threads : spec.cpu_threads;
    executor_ = std::make_unique<Executor>(
        net::build_resnet(options_, spec),
        net::cpu::ExecutorSpec{.precision = options_.precision,
                               .threads = threads,
                               .normalisation = net::normalisation_of(options_)});
    velocity_memory_ = net::cpu::Memory(executor_->parameters().size_bytes());
    velocities_ = {reinterpret_cast<float*>(velocity_memory_.data()),
                   executor_->parameters().size()};
    store_.emplace(*executor_, velocities_);
    set_initial_values();
    cut_into_pieces(threads);
    tell(threads);
  }

  void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                        StepSums& sums) override {
    nn::check_batch(batch, spec_);
    executor_->train({batch.images, batch.labels, global_batch_size}, sums);
    sums.penalty = penalty() * static_cast<double>(batch.size);
  }

  std::span<float> gradients() override { return executor_->gradients(); }
  std::span<float> statistics() override { return executor_->statistics(); }
  TensorStore& state() override {
    penalty_.reset();  // somebody may write
    return *store_;
  }

  void update(const UpdateRule& rule) override {
    const OptimizerSpec& optimizer = spec_.optimizer;
    const std::span<float> values = executor_->parameters(), gradients = executor_->gradients();
    for (Trained& tensor : trained_) {
      tensor.rate = rule.learning_rate;
      if (optimizer.kind == OptimizerKind::kLars && tensor.is_kernel) {
        tensor.rate =
            nn::lars_rate(executor_->part(gradients, tensor.id), executor_->part(values, tensor.id),
                          rule.learning_rate, optimizer.lars_trust, tensor.decay);
      }
    }
    const auto pieces = static_cast<std::int64_t>(pieces_.size());
#pragma omp parallel for schedule(static) num_threads(threads_)
    for (std::int64_t i = 0; i < pieces; ++i) {
      const Piece& piece = pieces_[static_cast<std::size_t>(i)];
      const Trained& tensor = trained_[piece.tensor];
      nn::sgd_momentum(gradients.subspan(piece.begin, piece.size), tensor.rate, optimizer.momentum,
                       tensor.decay, velocities_.subspan(piece.begin, piece.size),
                       values.subspan(piece.begin, piece.size));
    }
    penalty_.reset();
  }

  void evaluate(const Batch& batch, StepSums& sums) override {
    nn::check_batch(batch, spec_);
    executor_->evaluate({batch.images, batch.labels, batch.size}, sums);
    sums.penalty = penalty() * static_cast<double>(batch.size);
  }

 private:
  static constexpr const char* kName = "resnet_cpu";

  /// A parameter, and how the optimizer treats it.
  struct Trained {
    TensorId id = net::kNone;
    bool is_kernel = false;
    bool is_in_penalty = false;
    float decay = 0;
    float rate = 0;  ///< of the update that is under way
  };
  /// A part of a parameter that one thread updates.
  struct Piece {
    std::size_t tensor = 0, begin = 0, size = 0;
  };

  void set_initial_values() {
    const net::Program& program = executor_->program();
    for (const TensorId id : program.all(TensorKind::kParameter)) {
      executor_->write(executor_->parameters(), id, net::initial_values(program, id, spec_.seed));
    }
    for (const TensorId id : program.all(TensorKind::kStatistic)) {
      executor_->write(executor_->statistics(), id, net::initial_values(program, id, spec_.seed));
    }
  }

  void cut_into_pieces(int threads) {
    constexpr std::size_t kPiece = std::size_t{1} << 16;
    threads_ = threads;
    const net::Program& program = executor_->program();
    const std::span<float> values = executor_->parameters();
    for (const TensorId id : program.all(TensorKind::kParameter)) {
      const net::Tensor& tensor = program.tensor(id);
      trained_.push_back({.id = id,
                          .is_kernel = tensor.is_kernel,
                          .is_in_penalty = tensor.is_decayed,
                          .decay = net::decay_of(tensor, spec_.optimizer)});
      const std::span<float> part = executor_->part(values, id);
      const auto begin = static_cast<std::size_t>(part.data() - values.data());
      for (std::size_t at = 0; at < part.size(); at += kPiece) {
        pieces_.push_back({.tensor = trained_.size() - 1,
                           .begin = begin + at,
                           .size = std::min(kPiece, part.size() - at)});
      }
    }
    squares_.resize(pieces_.size());
  }

  /// WeightDecay::kL2Loss's part of the loss. The same bits for any number of threads.
  double penalty() {
    if (spec_.optimizer.decay_form != WeightDecay::kL2Loss || spec_.optimizer.weight_decay == 0) {
      return 0;
    }
    if (penalty_.has_value()) return *penalty_;
    const std::span<float> values = executor_->parameters();
    const auto pieces = static_cast<std::int64_t>(pieces_.size());
#pragma omp parallel for schedule(static) num_threads(threads_)
    for (std::int64_t i = 0; i < pieces; ++i) {
      const Piece& piece = pieces_[static_cast<std::size_t>(i)];
      squares_[static_cast<std::size_t>(i)] =
          trained_[piece.tensor].is_in_penalty
              ? nn::sum_of_squares(values.subspan(piece.begin, piece.size))
              : 0;
    }
    double sum = 0;
    for (const double squares : squares_) sum += squares;
    penalty_ = static_cast<double>(spec_.optimizer.weight_decay) * sum;
    return *penalty_;
  }

  void tell(int threads) {
    net::report_size(host_, executor_->program(), spec_);
    host_.report("activations", 1e-6 * static_cast<double>(executor_->arena_bytes()), "MB");
    host_.report("threads", threads, "threads");
    const std::vector<std::string> slow = executor_->slow_operations();
    if (!slow.empty()) {
      host_.warn(text(slow.size(),
                      " operations have only slow reference code in oneDNN on this "
                      "CPU, for instance ",
                      slow.front()));
    }
  }

  const Options options_;
  Host& host_;
  ModelSpec spec_;
  int threads_ = 1;
  std::unique_ptr<Executor> executor_;
  net::cpu::Memory velocity_memory_;
  std::span<float> velocities_;  ///< lie like the parameters
  std::optional<ExecutorStore> store_;
  std::vector<Trained> trained_;
  std::vector<Piece> pieces_;
  std::vector<double> squares_;    ///< by piece
  std::optional<double> penalty_;  ///< if it was computed since parameters changed
};

}  // namespace

SLACKLINE_PLUGIN(Model, ResnetModel, "resnet_cpu",
                 "residual networks for ImageNet and CIFAR, trained on the CPU with oneDNN");

}  // namespace slackline
