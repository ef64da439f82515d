#pragma once

// Compares an executor, on whatever device, with the float64 reference: every kind of operation
// alone.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "net/reference.h"

namespace slackline::net::testing_support {

inline constexpr Normalisation kNormalisation{{120, 110, 100}, {1 / 60.f, 1 / 50.f, 1 / 40.f}};

inline std::vector<std::uint8_t> made_up_images(const Program& program, std::int64_t batch) {
  const Extents& e = program.tensor(std::get<Ingest>(program.ops.front()).y).extents;
  std::mt19937 words(21);
  std::vector<std::uint8_t> images(static_cast<std::size_t>(batch * e[2] * e[3] * 3));
  for (std::uint8_t& pixel : images) pixel = static_cast<std::uint8_t>(words());
  return images;
}

inline std::vector<std::int32_t> made_up_labels(std::int64_t batch, std::int32_t classes) {
  std::vector<std::int32_t> labels;
  labels.reserve(static_cast<std::size_t>(batch));
  for (std::int32_t i = 0; i < batch; ++i) labels.push_back((i * 7 + 3) % classes);
  return labels;
}

/// |found - expected| / |expected|.
template <class Found>
double relative_error(const Found& found, std::span<const double> expected) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(found[i]) - expected[i];
    error += difference * difference;
    size += expected[i] * expected[i];
  }
  return size == 0 ? std::sqrt(error) : std::sqrt(error / size);
}

/// Of the angle between two gradients.
inline double cosine(std::span<const float> found, std::span<const double> expected) {
  double product = 0, ours = 0, theirs = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto value = static_cast<double>(found[i]);
    product += value * expected[i];
    ours += value * value;
    theirs += expected[i] * expected[i];
  }
  return product / std::sqrt(ours * theirs);
}

/// How an executor stores numbers, and how close that lets it come.
struct Numbers {
  float (*rounded)(float);  ///< to what the executor holds exactly
  double tolerance;         ///< relative L2 of an operation's results
  double loss_tolerance;    ///< relative
};

/// An executor and the reference, with the same numbers in both.
///
/// `Executor` has program(), read(TensorId, values), write(TensorId, values) for every tensor,
/// dense and in its logical order, and run(op, mode, input, sums) for one operation.
template <class Executor>
class Comparison {
 public:
  /// `program` is the executor's.
  Comparison(std::unique_ptr<Executor> executor, const Numbers& numbers, std::int64_t batch)
      : executor_(std::move(executor)),
        program_(executor_->program()),
        numbers_(numbers),
        reference_(program_, kNormalisation),
        batch_(batch),
        images_(made_up_images(program_, batch)),
        labels_(made_up_labels(batch, classes_of(program_))) {}

  const Program& program() const { return program_; }
  Executor& executor() { return *executor_; }
  Reference& reference() { return reference_; }
  [[nodiscard]] StepInput input() const { return {images_, labels_, 7}; }

  /// Runs every kind of operation once for each set of shapes. Returns how many ran.
  std::size_t run_each() {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < program_.ops.size(); ++i) {
      if (!seen.insert(description(i)).second) continue;
      // The backward pass of a pool reads what only the forward pass can write.
      if (const auto* o = std::get_if<MaxPoolBackward>(&program_.ops[i])) run_pool(o->index);
      run_one(i);
    }
    return seen.size();
  }

  /// The values of the samples that take part.
  std::size_t size_of(TensorId id) const {
    Extents e = program_.tensor(id).extents;
    if (program_.tensor(id).kind == TensorKind::kActivation) e[0] = batch_;
    return values_of(e);
  }

  std::vector<float> read(TensorId id) {
    std::vector<float> values(values_of(program_.tensor(id).extents));
    executor_->read(id, values);
    return values;
  }

  void write(TensorId id, double mean, double reach) {
    std::vector<float> values(values_of(program_.tensor(id).extents));
    for (float& value : values) {
      value =
          rounded(static_cast<float>(mean + reach * (static_cast<double>(words_()) * 0x1p-30 - 1)));
    }
    executor_->write(id, values);
    std::ranges::copy(values, reference_.tensor(id).begin());
  }

  /// As before training.
  void write_state() {
    for (const TensorId id : program_.all(TensorKind::kParameter)) {
      const Tensor& tensor = program_.tensor(id);
      if (tensor.is_kernel) {
        write(id, 0,
              std::sqrt(3.0 * static_cast<double>(tensor.extents[0]) /
                        static_cast<double>(values_of(tensor.extents))));
      } else {
        write(id, tensor.name.ends_with(".weight") ? 1 : 0, 0.2);
      }
    }
    for (const TensorId id : program_.all(TensorKind::kStatistic)) {
      write(id, program_.tensor(id).name.ends_with("_var") ? 1 : 0, 0.5);
    }
  }

 private:
  /// Its kind and the shapes, strides and paddings that it works with.
  [[nodiscard]] std::string description(std::size_t i) const {
    const Op& op = program_.ops[i];
    std::ostringstream words;
    words << name_of(op);
    const Accesses accesses = accesses_of(op);
    for (const auto* ids : {&accesses.reads, &accesses.writes}) {
      for (const TensorId id : *ids) {
        for (const std::int64_t extent : program_.tensor(id).extents) words << ' ' << extent;
        words << (std::ranges::find(accesses.writes, id) == accesses.writes.end() ? ';' : '!');
      }
    }
    std::visit(
        [&](const auto& o) {
          if constexpr (requires { o.window; }) {
            words << " stride " << o.window.stride << " pad " << o.window.top << o.window.left
                  << o.window.bottom << o.window.right;
          }
          if constexpr (requires { o.relu; }) words << " relu " << o.relu;
        },
        op);
    return words.str();
  }

  void run_pool(TensorId index) {
    for (std::size_t i = 0; i < program_.forward_ops; ++i) {
      const auto* pool = std::get_if<MaxPool>(&program_.ops[i]);
      if (pool != nullptr && pool->index == index) run_one(i);
    }
  }

  void write_input(TensorId id) {
    const Tensor& tensor = program_.tensor(id);
    if (tensor.kind == TensorKind::kIndex) return;  // the forward pass wrote it
    const bool is_positive = tensor.name.ends_with("_var") || tensor.name.ends_with("deviation");
    write(id, is_positive ? 1 : 0.1, is_positive ? 0.5 : 1);
  }

  void poison(TensorId id) {
    if (program_.tensor(id).kind == TensorKind::kIndex) return;
    executor_->write(id, std::vector<float>(values_of(program_.tensor(id).extents),
                                            std::numeric_limits<float>::quiet_NaN()));
  }

  void run_one(std::size_t i) {
    const Op& op = program_.ops[i];
    const Accesses accesses = accesses_of(op);
    for (const TensorId id : accesses.writes) poison(id);
    for (const TensorId id : accesses.reads) write_input(id);
    StepSums sums;
    executor_->run(i, Mode::kTraining, input(), sums);
    if (const auto* ingest = std::get_if<Ingest>(&op)) {
      expect_ingested(ingest->y);
    } else if (const auto* loss = std::get_if<SoftmaxLoss>(&op)) {
      expect_loss(*loss, sums);
    } else {
      reference_.run(op, Mode::kTraining, batch_);
      for (const TensorId id : accesses.writes) expect_same(id, description(i));
    }
  }

  [[nodiscard]] float rounded(float value) const { return numbers_.rounded(value); }

  static std::int32_t classes_of(const Program& program) {
    const auto& loss = std::get<SoftmaxLoss>(program.ops[program.forward_ops - 1]);
    return static_cast<std::int32_t>(program.tensor(loss.logits).extents[1]);
  }

  void expect_same(TensorId id, const std::string& of) {
    if (program_.tensor(id).kind == TensorKind::kIndex) return;  // any type the executor likes
    const double error =
        relative_error(read(id), std::span(reference_.tensor(id)).first(size_of(id)));
    EXPECT_LT(error, numbers_.tolerance)
        << program_.tensor(id).name << " of " << of;  // also if it is NaN
  }

  void expect_ingested(TensorId y) {
    const Extents& e = program_.tensor(y).extents;
    const std::vector<float> found = read(y);
    std::size_t wrong = 0, pixel = 0;
    for (std::int64_t n = 0; n < batch_; ++n) {
      for (std::int64_t at = 0; at < e[2] * e[3]; ++at) {
        for (std::int64_t c = 0; c < 3; ++c, ++pixel) {
          const float expected =
              rounded(kNormalisation.apply(images_[pixel], static_cast<std::size_t>(c)));
          const auto place = static_cast<std::size_t>((n * 3 + c) * e[2] * e[3] + at);
          wrong += found[place] == expected ? 0 : 1;
        }
      }
    }
    EXPECT_EQ(wrong, 0u) << "pixels";
  }

  void expect_loss(const SoftmaxLoss& o, const StepSums& found) {
    const auto classes = static_cast<std::size_t>(program_.tensor(o.logits).extents[1]);
    StepSums sums;
    for (std::size_t n = 0; n < labels_.size(); ++n) {
      softmax_loss(reference_.tensor(o.logits).subspan(n * classes, classes), labels_[n],
                   static_cast<double>(program_.label_smoothing), 1.0 / 7,
                   reference_.tensor(o.dlogits).subspan(n * classes, classes), sums);
    }
    EXPECT_NEAR(found.loss, sums.loss, numbers_.loss_tolerance * sums.loss);
    EXPECT_EQ(found.correct, sums.correct);
    EXPECT_EQ(found.correct_top5, sums.correct_top5);
    EXPECT_EQ(found.samples, batch_);
    expect_same(o.dlogits, "softmax loss");
  }

  const std::unique_ptr<Executor> executor_;
  const Program& program_;
  const Numbers numbers_;
  Reference reference_;
  const std::int64_t batch_;
  const std::vector<std::uint8_t> images_;
  const std::vector<std::int32_t> labels_;
  std::minstd_rand words_{22};
};

}  // namespace slackline::net::testing_support
