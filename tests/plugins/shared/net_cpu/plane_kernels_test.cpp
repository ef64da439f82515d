// The versions of batch norm's inner loops for different instruction sets have the same bits.

#include "plane_kernels.h"

#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace slackline::net::cpu {
namespace {

template <class T>
using Version = std::pair<std::string, const PlaneKernels<T>*>;

/// Those that this CPU can run; the portable one first.
template <class T>
std::vector<Version<T>> versions(std::size_t lanes) {
  std::vector<Version<T>> all = {{"portable", &plane_kernels_portable<T>(lanes)}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) all.emplace_back("avx2", &plane_kernels_avx2<T>(lanes));
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    all.emplace_back("avx512", &plane_kernels_avx512<T>(lanes));
  }
#endif
  return all;
}

template <class T>
T stored(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return to_bf16(value);
  }
}

template <class T>
std::vector<T> made_up(std::size_t count, std::uint32_t seed) {
  std::mt19937 words(seed);
  std::vector<T> all;
  for (std::size_t i = 0; i < count; ++i) {
    all.push_back(stored<T>(static_cast<float>(words()) * 0x1p-31f - 0.9f));
  }
  return all;
}

/// The bytes of everything that the kernels write, one behind the other.
template <class T>
std::string results(const PlaneKernels<T>& kernels, std::size_t lanes, std::size_t pixels,
                    std::size_t stride) {
  const std::size_t count = pixels * stride;
  const auto x = made_up<T>(count, 1), other = made_up<T>(count, 2), y = made_up<T>(count, 3);
  const auto dy = made_up<T>(count, 4);
  const auto mean = made_up<float>(lanes, 5), factor = made_up<float>(lanes, 6);
  const auto bias = made_up<float>(lanes, 7), x_factor = made_up<float>(lanes, 8);
  std::string bytes;
  const auto keep = [&](const auto& values) {
    bytes.append(reinterpret_cast<const char*>(values.data()),
                 values.size() * sizeof(values.front()));
  };
  std::vector<double> first(lanes), second(lanes);
  kernels.statistics(x.data(), pixels, stride, first.data(), second.data());
  keep(first);
  keep(second);
  for (int extras = 0; extras < 4; ++extras) {
    const bool with_other = (extras & 1) != 0, with_relu = (extras & 2) != 0;
    std::vector<T> out(count);
    kernels.apply(x.data(), with_other ? other.data() : nullptr, out.data(), pixels, stride,
                  mean.data(), factor.data(), bias.data(), with_relu);
    keep(out);
    const typename PlaneKernels<T>::Derivative derivative = {
        dy.data(), with_other ? other.data() : nullptr, with_relu ? y.data() : nullptr};
    for (T* dz : {static_cast<T*>(nullptr), out.data()}) {
      kernels.backward_sums(derivative, x.data(), dz, pixels, stride, mean.data(), first.data(),
                            second.data());
      keep(first);
      keep(second);
    }
    keep(out);
    kernels.backward_apply(derivative, x.data(), out.data(), pixels, stride, mean.data(),
                           factor.data(), x_factor.data(), bias.data());
    keep(out);
  }
  return bytes;
}

template <class T>
void expect_the_same_bits() {
  for (const std::size_t lanes : {1u, 8u, 16u}) {
    for (const std::size_t pixels : {1u, 3u, 49u, 127u, 128u, 129u, 300u}) {
      for (const std::size_t stride : {lanes, lanes + 5}) {
        const auto all = versions<T>(lanes);
        const std::string expected = results<T>(*all.front().second, lanes, pixels, stride);
        for (const auto& [name, kernels] : all) {
          EXPECT_EQ(results<T>(*kernels, lanes, pixels, stride) == expected, true)
              << name << ", " << lanes << " lanes, " << pixels << " pixels";
        }
      }
    }
  }
}

TEST(PlaneKernelsTest, AllInstructionSetsHaveTheSameBits) { expect_the_same_bits<float>(); }

TEST(PlaneKernelsTest, AllInstructionSetsHaveTheSameBitsInBf16) { expect_the_same_bits<Bf16>(); }

TEST(PlaneKernelsTest, TheFastestVersionIsOneOfThoseThatTheCpuCanRun) {
  for (const std::size_t lanes : {1u, 8u, 16u}) {
    EXPECT_EQ(&plane_kernels<float>(lanes), versions<float>(lanes).back().second);
    EXPECT_EQ(&plane_kernels<Bf16>(lanes), versions<Bf16>(lanes).back().second);
  }
}

}  // namespace
}  // namespace slackline::net::cpu
