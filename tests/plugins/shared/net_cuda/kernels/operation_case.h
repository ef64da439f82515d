#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "bodies/vector.h"
#include "emulated_launch.h"
#include "net/reference.h"

namespace slackline::net::cuda {

using Types = testing::Types<float, __half, __nv_bfloat16>;

/// How far results may be from float64's, by relative L2 norm: about twice what rounding a value
/// once costs, and for floats what sums cost.
template <class T>
inline constexpr double kBound = std::is_same_v<T, float>    ? 1e-6
                                 : std::is_same_v<T, __half> ? 5e-4
                                                             : 4e-3;

inline double made_up(std::mt19937& words) { return static_cast<double>(words()) * 0x1p-31 - 1; }

template <class T>
T stored(double value) {
  return bodies::from_float<T>(static_cast<float>(value));
}
template <class T>
double value_of(T value) {
  return static_cast<double>(bodies::to_float(value));
}

/// Memory that nobody has written: what is read of it is not a number.
template <class T>
std::vector<T> poisoned(std::size_t size) {
  std::vector<T> values(size);
  std::memset(static_cast<void*>(values.data()), 0xff, size * sizeof(T));
  return values;
}

template <class T>
void append_bytes(std::string& bytes, const std::vector<T>& values) {
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

/// `f(launch)` returns the bytes of all that it has written: they are the same in any order of
/// blocks.
template <class Function>
void expect_the_same_in_any_order(Function f) {
  const std::string bytes = f(EmulatedLaunch());
  EXPECT_EQ(f(EmulatedLaunch()) == bytes, true) << "twice in order";
  for (std::uint32_t seed = 1; seed <= 2; ++seed) {
    EXPECT_EQ(f(EmulatedLaunch(seed)) == bytes, true) << "shuffled by " << seed;
  }
}

/// Found against expected, by relative L2 norm.
template <class Found, class Expected>
void expect_near(const Found& found, const Expected& expected, double bound, const char* what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto exact = static_cast<double>(expected[i]);
    difference += std::pow(value_of(found[i]) - exact, 2);
    norm += std::pow(exact, 2);
  }
  EXPECT_LE(std::sqrt(difference), bound * std::sqrt(norm)) << what;
}

/// Tensors of one operation, for the reference in its order and for the kernels in theirs.
template <class T>
class OperationCase {
 public:
  explicit OperationCase(std::uint32_t seed = 1) : words_(seed) {}

  TensorId activation(const Extents& extents) { return add(extents, TensorKind::kActivation); }
  TensorId index(const Extents& extents) { return add(extents, TensorKind::kIndex); }
  TensorId channel(std::int64_t channels) { return add({channels, 1, 1, 1}, TensorKind::kChannel); }

  Program& program() { return program_; }
  /// After the last tensor was added.
  Reference& reference() {
    if (!reference_) reference_ = std::make_unique<Reference>(program_, Normalisation{});
    return *reference_;
  }

  /// Values that T, or float for what is per channel, can hold.
  void fill(TensorId id, double middle = 0, double reach = 1) {
    for (double& value : reference().tensor(id)) set(id, value, middle + reach * made_up(words_));
  }
  void set(TensorId id, double& value, double to) const {
    const bool is_stored = program_.tensor(id).kind == TensorKind::kActivation;
    value = is_stored ? value_of(stored<T>(to)) : static_cast<double>(static_cast<float>(to));
  }

  /// The reference's values as they lie on the device: NHWC, of the first `images`.
  std::vector<T> values(TensorId id, std::int64_t images = -1) {
    const std::vector<double> nhwc = nhwc_of(id, images);
    std::vector<T> values(nhwc.size());
    for (std::size_t i = 0; i < nhwc.size(); ++i) values[i] = stored<T>(nhwc[i]);
    return values;
  }
  std::vector<float> floats(TensorId id) {
    const std::span<const double> from = reference().tensor(id);
    std::vector<float> values(from.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(from[i]);
    return values;
  }

  void expect(const std::vector<T>& found, TensorId id, const char* what, std::int64_t images = -1,
              double bound = kBound<T>) {
    expect_near(found, nhwc_of(id, images), bound, what);
  }
  void expect_floats(const std::vector<float>& found, TensorId id, const char* what,
                     double bound = 2e-6) {
    expect_near(found, reference().tensor(id), bound, what);
  }

  std::vector<double> nhwc_of(TensorId id, std::int64_t images = -1) {
    Extents e = program_.tensor(id).extents;
    if (images >= 0) e[0] = images;
    const std::span<const double> from = reference().tensor(id);
    std::vector<double> to(values_of(e));
    std::size_t at = 0;
    for (std::int64_t n = 0; n < e[0]; ++n) {
      for (std::int64_t c = 0; c < e[1]; ++c) {
        for (std::int64_t pixel = 0; pixel < e[2] * e[3]; ++pixel, ++at) {
          to[static_cast<std::size_t>((n * e[2] * e[3] + pixel) * e[1] + c)] = from[at];
        }
      }
    }
    return to;
  }

 private:
  TensorId add(const Extents& extents, TensorKind kind) {
    program_.tensors.push_back({.name = "", .kind = kind, .extents = extents});
    return static_cast<TensorId>(program_.tensors.size()) - 1;
  }

  std::mt19937 words_;
  Program program_;
  std::unique_ptr<Reference> reference_;
};

}  // namespace slackline::net::cuda
