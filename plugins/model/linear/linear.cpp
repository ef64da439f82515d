// Softmax regression on the image averaged over a coarse grid: the smallest model that learns
// something real, in time that does not hide the input.

#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/plugin.h>

#include <algorithm>
#include <array>
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

constexpr std::size_t kChannels = 3;

/// Features are (mean - kMiddle) / kMiddle: -1 is black, 1 is white.
constexpr double kMiddle = 127.5;

class LinearModel final : public Model {
 public:
  struct Options {
    std::array<std::int32_t, 2> grid{8, 8};

    static OptionTable<Options> table() {
      return {
          option("grid", &Options::grid,
                 "rows and columns of cells; each gives the mean of its red, green and blue, and "
                 "there are at most as many as rows and columns of pixels")
              .range(1, 1 << 14)
              .unit("cells"),
      };
    }
  };

  explicit LinearModel(const Options& options) : options_(options) {}

  void build(const ModelSpec& spec) override {
    nn::check_spec(spec, "linear");
    const auto [rows, columns] = options_.grid;
    if (rows > spec.image.height || columns > spec.image.width) {
      throw ConfigError(
          "grid", text("[", rows, ", ", columns, "] is finer than the image of ", spec.image.height,
                       " by ", spec.image.width, " pixels: a cell needs one pixel or more"));
    }
    spec_ = spec;
    classes_ = static_cast<std::size_t>(spec.num_classes);
    features_per_sample_ =
        static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns) * kChannels;
    // All zero is a good start: the loss is convex in the parameters.
    const auto features = static_cast<std::int64_t>(features_per_sample_);
    parameters_.allocate({{.name = "weight", .shape = {features, spec.num_classes}},
                          {.name = "bias", .shape = {spec.num_classes}}},
                         spec.optimizer.momentum);
    const auto samples = static_cast<std::size_t>(spec.max_batch_size);
    features_.resize(samples * features_per_sample_);
    logits_.resize(samples * classes_);
    column_sums_.resize(static_cast<std::size_t>(spec.image.width) * kChannels);
  }

  void forward_backward(const Batch& batch, std::int32_t global_batch_size,
                        StepSums& sums) override {
    nn::check_batch(batch, spec_);
    sums = {};
    const std::size_t samples = batch.labels.size();
    compute_logits(batch);
    const float scale = 1.0f / static_cast<float>(global_batch_size);
    for (std::size_t n = 0; n < samples; ++n) {
      nn::add_sample_with_gradient(logits(n), batch.labels[n], scale, sums);
    }
    std::ranges::fill(parameters_.gradients(), 0.0f);
    for (std::size_t i = 0; i < features_per_sample_; ++i) {
      for (std::size_t n = 0; n < samples; ++n) {
        nn::add_scaled(logits(n), feature(n, i), row(parameters_.gradients(), i));
      }
    }
    for (std::size_t n = 0; n < samples; ++n) {
      nn::add_scaled(logits(n), 1.0f, row(parameters_.gradients(), features_per_sample_));
    }
  }

  std::span<float> gradients() override { return parameters_.gradients(); }
  std::span<float> statistics() override { return {}; }
  TensorStore& state() override { return parameters_; }
  void update(const UpdateRule& rule) override { parameters_.update(rule); }

  void evaluate(const Batch& batch, StepSums& sums) override {
    nn::check_batch(batch, spec_);
    sums = {};
    compute_logits(batch);
    for (std::size_t n = 0; n < batch.labels.size(); ++n) {
      nn::add_sample(logits(n), batch.labels[n], sums);
    }
  }

 private:
  /// The weights (or gradients) of one feature for every class; those of feature
  /// `features_per_sample_` are the biases.
  [[nodiscard]] std::span<float> row(std::span<float> all, std::size_t feature) const {
    return all.subspan(feature * classes_, classes_);
  }
  [[nodiscard]] std::span<float> logits(std::size_t sample) {
    return std::span(logits_).subspan(sample * classes_, classes_);
  }
  [[nodiscard]] float& feature(std::size_t sample, std::size_t i) {
    return features_[sample * features_per_sample_ + i];
  }

  void compute_logits(const Batch& batch) {
    const std::size_t samples = batch.labels.size();
    for (std::size_t n = 0; n < samples; ++n) {
      average(batch.images.subspan(n * spec_.image.size(), spec_.image.size()), n);
      std::ranges::copy(row(parameters_.values(), features_per_sample_), logits(n).begin());
    }
    // Feature by feature, so that its weights are read from memory once for the whole batch.
    for (std::size_t i = 0; i < features_per_sample_; ++i) {
      for (std::size_t n = 0; n < samples; ++n) {
        nn::add_scaled(row(parameters_.values(), i), feature(n, i), logits(n));
      }
    }
  }

  /// Writes the features of one image. Cell k of n covers pixels k * size / n up to those of the
  /// next: sizes of cells differ by one at most.
  void average(std::span<const std::uint8_t> image, std::size_t sample) {
    const auto rows = static_cast<std::size_t>(options_.grid[0]);
    const auto columns = static_cast<std::size_t>(options_.grid[1]);
    const auto height = static_cast<std::size_t>(spec_.image.height);
    const auto width = static_cast<std::size_t>(spec_.image.width);
    std::size_t out = 0;
    for (std::size_t cell_row = 0; cell_row < rows; ++cell_row) {
      const std::size_t top = cell_row * height / rows;
      const std::size_t bottom = (cell_row + 1) * height / rows;
      std::ranges::fill(column_sums_, 0u);
      for (std::size_t y = top; y < bottom; ++y) {
        nn::add_pixels(image.subspan(y * column_sums_.size(), column_sums_.size()), column_sums_);
      }
      for (std::size_t cell_column = 0; cell_column < columns; ++cell_column) {
        const std::size_t left = cell_column * width / columns;
        const std::size_t right = (cell_column + 1) * width / columns;
        const auto pixels = static_cast<double>((bottom - top) * (right - left));
        std::array<std::uint64_t, kChannels> sums{};
        for (std::size_t x = left; x < right; ++x) {
          for (std::size_t c = 0; c < kChannels; ++c) sums[c] += column_sums_[x * kChannels + c];
        }
        for (const std::uint64_t sum : sums) {
          const double mean = static_cast<double>(sum) / pixels;
          feature(sample, out++) = static_cast<float>((mean - kMiddle) / kMiddle);
        }
      }
    }
  }

  const Options options_;
  ModelSpec spec_;
  std::size_t classes_ = 0;
  std::size_t features_per_sample_ = 0;     ///< cells * channels
  nn::Parameters parameters_;               ///< (features + 1, classes); the last row is the bias
  std::vector<float> features_;             ///< (max batch size, features)
  std::vector<float> logits_;               ///< (max batch size, classes); then their gradients
  std::vector<std::uint32_t> column_sums_;  ///< (W, C) of one row of cells
};

}  // namespace

SLACKLINE_PLUGIN(Model, LinearModel, "linear",
                 "softmax regression on the image averaged over a grid of cells");

}  // namespace slackline
