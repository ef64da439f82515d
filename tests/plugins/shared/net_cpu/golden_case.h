#pragma once

// A case of tests/golden/resnet: what PyTorch says in float64, and the formulas from which weights
// and batches are made. The README there defines all of it.

#include <slackline/safetensors.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "net/resnet.h"

namespace slackline::testing_support {

inline std::uint64_t splitmix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

class GoldenCase {
 public:
  explicit GoldenCase(const std::string& name)
      : file_(std::string(SLACKLINE_TEST_SOURCE_DIR) + "/tests/golden/resnet/" + name +
              ".safetensors") {
    const std::string arch = meta("arch");
    spec_.depth = std::stoi(arch.substr(arch.find_first_of("0123456789")));
    spec_.batch_size = std::stoi(meta("batch_size"));
    spec_.height = std::stoi(meta("height"));
    spec_.width = std::stoi(meta("width"));
    spec_.classes = std::stoi(meta("classes"));
    spec_.padding = meta("padding") == "same" ? net::Padding::kSame : net::Padding::kSymmetric;
  }

  [[nodiscard]] net::ResnetSpec spec() const { return spec_; }
  [[nodiscard]] std::string meta(const std::string& key) const { return file_.metadata().at(key); }

  /// How far the logits of PyTorch's own float32 are from its float64: the worse of its two
  /// layouts.
  [[nodiscard]] double float32_error_of_logits() const {
    const auto ways = nlohmann::json::parse(meta("other_ways"));
    return std::max(ways["float32_nchw"]["logits"].get<double>(),
                    ways["float32_channels_last"]["logits"].get<double>());
  }

  /// What the case's normalisation is to the network.
  static net::Normalisation normalisation() {
    return {{123.68f, 116.78f, 103.94f}, {1 / 58.0f, 1 / 58.0f, 1 / 58.0f}};
  }

  /// A tensor of the file, which is float64.
  [[nodiscard]] std::vector<double> doubles(const std::string& name) const {
    const StoredTensor* const tensor = file_.find(name);
    EXPECT_NE(tensor, nullptr) << name;
    std::vector<double> values(tensor->values());
    EXPECT_EQ(tensor->type, StoredType::kF64);
    file_.read_bytes(tensor->begin, std::as_writable_bytes(std::span(values)));
    return values;
  }

  /// The initial values of the t-th parameter.
  [[nodiscard]] std::vector<float> weights(const net::Tensor& tensor, std::size_t t) const {
    std::vector<float> values(net::values_of(tensor.extents));
    const auto fan_in =
        static_cast<double>(tensor.extents[1] * tensor.extents[2] * tensor.extents[3]);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double u = static_cast<double>(word(t, i) >> 40) * 0x1p-24;
      double value = 0.5 + u;
      if (tensor.name.ends_with("bias")) value = (2 * u - 1) * 0.1;
      if (tensor.is_kernel) value = (2 * u - 1) * std::sqrt(6 / fan_in);
      if (tensor.name == "fc.weight") value = (2 * u - 1) / std::sqrt(fan_in);
      values[i] = static_cast<float>(value);
    }
    return values;
  }

  [[nodiscard]] std::vector<std::uint8_t> images(std::uint64_t batch) const {
    std::vector<std::uint8_t> pixels(
        static_cast<std::size_t>(spec_.batch_size * spec_.height * spec_.width * 3));
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      pixels[i] = static_cast<std::uint8_t>(word(10000 + 2 * batch, i) >> 56);
    }
    return pixels;
  }

  [[nodiscard]] std::vector<std::int32_t> labels(std::uint64_t batch) const {
    std::vector<std::int32_t> labels(static_cast<std::size_t>(spec_.batch_size));
    for (std::size_t i = 0; i < labels.size(); ++i) {
      labels[i] = static_cast<std::int32_t>(word(10001 + 2 * batch, i) %
                                            static_cast<std::uint64_t>(spec_.classes));
    }
    return labels;
  }

 private:
  [[nodiscard]] std::uint64_t word(std::uint64_t tensor, std::uint64_t i) const {
    return splitmix64(seed_ + (tensor << 32) + i);
  }

  SafetensorsFile file_;
  net::ResnetSpec spec_;
  std::uint64_t seed_ = std::stoull(meta("seed"));
};

/// |a - b| / |b|.
template <class A, class B>
double relative_error(const A& a, const B& b) {
  EXPECT_EQ(std::size(a), std::size(b));
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < std::size(b); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / norm);
}

/// Estimates relative errors of tensors from the projections of a sketch.
class SketchComparison {
 public:
  /// `projections`: 32 of each tensor; `norms`: one of each.
  SketchComparison(std::vector<double> projections, std::vector<double> norms)
      : projections_(std::move(projections)), norms_(std::move(norms)) {}

  /// The estimated relative error of `values`, which are row `row` and have index `t` in the
  /// formulas.
  template <class T>
  double compare(std::size_t row, std::uint64_t t, std::span<const T> values) {
    double sums[32] = {};
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint64_t signs = splitmix64((std::uint64_t{0x5EED} << 48) + (t << 32) + i);
      const auto value = static_cast<double>(values[i]);
      for (unsigned p = 0; p < 32; ++p) sums[p] += ((signs >> p) & 1) != 0 ? value : -value;
    }
    double squares = 0;
    for (unsigned p = 0; p < 32; ++p) {
      const double difference = sums[p] - projections_[row * 32 + p];
      squares += difference * difference / 32;
    }
    all_squares_ += squares;
    all_norms_ += norms_[row] * norms_[row];
    return std::sqrt(squares) / norms_[row];
  }

  /// Of all tensors so far together.
  [[nodiscard]] double error_of_all() const { return std::sqrt(all_squares_ / all_norms_); }

 private:
  std::vector<double> projections_, norms_;
  double all_squares_ = 0, all_norms_ = 0;
};

}  // namespace slackline::testing_support
