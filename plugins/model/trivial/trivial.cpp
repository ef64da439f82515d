// The model of upstream's input-ceiling benchmark: all pixels to one number, that number to the
// classes. It computes next to nothing, so the input sets the pace.

#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/plugin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nn/kernels.h"
#include "nn/model_checks.h"
#include "nn/parameters.h"
#include "nn/softmax.h"

namespace slackline {
namespace {

/// RGB; what upstream's preprocessing subtracts. Here the device does, from uint8 pixels.
constexpr float kMeans[3] = {123.68f, 116.78f, 103.94f};

/// Bytes of each image, and as many weights, that all images of a batch use before the next ones:
/// the weights of a tile stay in the first-level cache.
constexpr std::size_t kTile = 96 * nn::kPixelBlock;

class TrivialModel final : public Model {
 public:
  void build(const ModelSpec& spec) override {
    nn::check_spec(spec, "trivial");
    spec_ = spec;
    pixels_ = spec.image.size();
    classes_ = static_cast<std::size_t>(spec.num_classes);
    const auto pixels = static_cast<std::int64_t>(pixels_);
    parameters_.allocate({{.name = "fc1.weight", .shape = {1, pixels}},
                          {.name = "fc1.bias", .shape = {1}},
                          {.name = "fc2.weight", .shape = {spec.num_classes, 1}},
                          {.name = "fc2.bias", .shape = {spec.num_classes}}},
                         spec.optimizer.momentum);
    layers_ = cut(parameters_.values());
    gradients_ = cut(parameters_.gradients());
    nn::fill_glorot_uniform(layers_.weights, pixels_, 1, spec.seed, 0);
    nn::fill_glorot_uniform(layers_.out_weights, 1, classes_, spec.seed, 1);
    hidden_.resize(static_cast<std::size_t>(spec.max_batch_size));
    logits_.resize(classes_);
  }

  void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                        StepSums& sums) override {
    nn::check_batch(batch, spec_);
    sums = {};
    std::ranges::fill(parameters_.gradients(), 0.0f);
    compute_hidden(batch);
    const float scale = 1.0f / static_cast<float>(global_batch_size);
    for (std::size_t n = 0; n < batch.labels.size(); ++n) {
      compute_logits(n);
      nn::add_sample_with_gradient(logits_, batch.labels[n], scale, sums);
      hidden_[n] = backward_to_hidden(hidden_[n]);
      gradients_.bias[0] += hidden_[n];
    }
    for (std::size_t begin = 0; begin < pixels_; begin += kTile) {
      const std::size_t length = std::min(kTile, pixels_ - begin);
      for (std::size_t n = 0; n < batch.labels.size(); ++n) {
        nn::add_centered(batch.images.subspan(n * pixels_ + begin, length), hidden_[n], kMeans,
                         gradients_.weights.subspan(begin, length));
      }
    }
  }

  std::span<float> gradients() override { return parameters_.gradients(); }
  std::span<float> statistics() override { return {}; }
  TensorStore& state() override { return parameters_; }
  void update(const UpdateRule& rule) override { parameters_.update(rule); }

  void evaluate(const Batch& batch, StepSums& sums) override {
    nn::check_batch(batch, spec_);
    sums = {};
    compute_hidden(batch);
    for (std::size_t n = 0; n < batch.labels.size(); ++n) {
      compute_logits(n);
      nn::add_sample(logits_, batch.labels[n], sums);
    }
  }

 private:
  /// The parts of a flat array of parameters or gradients, in their order there.
  struct Layers {
    std::span<float> weights;      ///< (H * W * C)
    std::span<float> bias;         ///< (1)
    std::span<float> out_weights;  ///< (classes)
    std::span<float> out_bias;     ///< (classes)
  };

  [[nodiscard]] Layers cut(std::span<float> all) const {
    return {all.first(pixels_), all.subspan(pixels_, 1), all.subspan(pixels_ + 1, classes_),
            all.last(classes_)};
  }

  void compute_hidden(const Batch& batch) {
    const std::span<float> hidden = std::span(hidden_).first(batch.labels.size());
    std::ranges::fill(hidden, layers_.bias[0]);
    for (std::size_t begin = 0; begin < pixels_; begin += kTile) {
      const std::size_t length = std::min(kTile, pixels_ - begin);
      for (std::size_t n = 0; n < hidden.size(); ++n) {
        hidden[n] +=
            static_cast<float>(nn::dot_centered(batch.images.subspan(n * pixels_ + begin, length),
                                                layers_.weights.subspan(begin, length), kMeans));
      }
    }
  }

  void compute_logits(std::size_t sample) {
    std::ranges::copy(layers_.out_bias, logits_.begin());
    nn::add_scaled(layers_.out_weights, hidden_[sample], logits_);
  }

  /// Adds what a sample with this hidden value gives to the gradients of the last layer; `logits_`
  /// holds those of its logits. Returns the gradient of the hidden value.
  float backward_to_hidden(float hidden) {
    nn::add_scaled(logits_, hidden, gradients_.out_weights);
    nn::add_scaled(logits_, 1.0f, gradients_.out_bias);
    double gradient = 0;
    for (std::size_t i = 0; i < classes_; ++i) {
      gradient += static_cast<double>(logits_[i] * layers_.out_weights[i]);
    }
    return static_cast<float>(gradient);
  }

  ModelSpec spec_;
  std::size_t pixels_ = 0;  ///< values of one image, H * W * C
  std::size_t classes_ = 0;
  nn::Parameters parameters_;
  Layers layers_;              ///< of the parameters
  Layers gradients_;           ///< of their gradients
  std::vector<float> hidden_;  ///< (max batch size): the value, then its gradient
  std::vector<float> logits_;  ///< (classes) of one sample: the values, then their gradients
};

}  // namespace

SLACKLINE_PLUGIN(Model, TrivialModel, "trivial",
                 "one hidden number: computes next to nothing, so that the input sets the pace");

}  // namespace slackline
