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

#include "net/resnet.h"
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
  struct Options {
    std::int32_t depth = 50;
    net::Padding padding = net::Padding::kSame;
    Precision precision = Precision::kFloat32;
    net::Fusion fusion = net::Fusion::kBatchNorm;
    double label_smoothing = 0;
    std::int32_t threads = 0;
    std::array<double, 3> mean{123.68, 116.78, 103.94};
    std::array<double, 3> std{1, 1, 1};

    static OptionTable<Options> table() {
      return {
          option("depth", &Options::depth,
                 "18, 34 or 50: ImageNet's networks, with the stride of a bottleneck on its 3x3 "
                 "convolution; 20 or 56: CIFAR's")
              .range(18, 56)
              .unit("layers"),
          choice("padding", &Options::padding,
                 {{"same", net::Padding::kSame}, {"symmetric", net::Padding::kSymmetric}},
                 "same: TensorFlow's, the odd pixel at the bottom and the right; symmetric: "
                 "PyTorch's, needed for its weights"),
          choice("precision", &Options::precision,
                 {{"fp32", Precision::kFloat32}, {"bf16", Precision::kBfloat16}},
                 "of activations and convolutions; parameters are fp32 in any case. bf16 needs a "
                 "CPU with AVX-512"),
          choice("fusion", &Options::fusion,
                 {{"none", net::Fusion::kSeparate}, {"batch_norm", net::Fusion::kBatchNorm}},
                 "none: every operation goes through memory; batch_norm: with its residual sum and "
                 "ReLU in one"),
          option("label_smoothing", &Options::label_smoothing,
                 "share of the target that is spread evenly over all classes")
              .range(0.0, 1.0),
          option("threads", &Options::threads,
                 "that a replica computes with; 0 means as many as the strategy gives it")
              .range(0, 1024)
              .unit("threads"),
          option("mean", &Options::mean, "subtracted from the pixels: of red, green, blue")
              .range(0.0, 255.0),
          option("std", &Options::std, "what the pixels are divided by: of red, green, blue")
              .range(1e-3, 1e3),
      };
    }
  };

  ResnetModel(const Options& options, Host& host) : options_(options), host_(host) {
    if (!net::is_resnet_depth(options.depth)) {
      throw ConfigError("depth", text("model resnet_cpu: there is no network of depth ",
                                      options.depth, ": 18, 34, 50, or CIFAR's 20, 56"));
    }
  }

  void build(const ModelSpec& spec) override {
    nn::check_images_on_cpu(spec, "resnet_cpu");
    const std::int64_t smallest = net::smallest_image(options_.depth);
    if (spec.image.height < smallest || spec.image.width < smallest) {
      throw ConfigError("depth", text("model resnet_cpu: images of ", spec.image.height, " by ",
                                      spec.image.width, " pixels are too small for depth ",
                                      options_.depth, ", which needs ", smallest,
                                      " or more ([input] "
                                      "image_size)"));
    }
    spec_ = spec;
    const int threads = options_.threads > 0 ? options_.threads : spec.cpu_threads;
    net::Normalisation normalisation;
    for (std::size_t c = 0; c < 3; ++c) {
      normalisation.mean[c] = static_cast<float>(options_.mean[c]);
      normalisation.inv_deviation[c] = static_cast<float>(1 / options_.std[c]);
    }
    executor_ = std::make_unique<Executor>(
        net::build_resnet({.depth = options_.depth,
                           .batch_size = spec.max_batch_size,
                           .height = spec.image.height,
                           .width = spec.image.width,
                           .classes = spec.num_classes,
                           .padding = options_.padding,
                           .fusion = options_.fusion,
                           .label_smoothing = static_cast<float>(options_.label_smoothing)}),
        net::cpu::ExecutorSpec{
            .precision = options_.precision, .threads = threads, .normalisation = normalisation});
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
    const net::Program& program = executor_->program();
    std::int64_t flop = 0;
    for (const net::Op& op : program.ops) flop += flop_of(program, op);
    host_.report("parameters", static_cast<double>(program.count(TensorKind::kParameter)), "");
    host_.report("flop_per_image",
                 1e-9 * static_cast<double>(flop) / static_cast<double>(spec_.max_batch_size),
                 "GFLOP");
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
