#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "bodies/body.h"

/// Values of float, __half or __nv_bfloat16 as memory has them, and as floats to compute with.
namespace slackline::net::cuda::bodies {

/// Values of T that one access of 16 bytes moves.
template <class T>
inline constexpr int kWidth = static_cast<int>(16 / sizeof(T));

SLACKLINE_BODY float to_float(float value) { return value; }
SLACKLINE_BODY float to_float(__half value) { return __half2float(value); }
SLACKLINE_BODY float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

/// Rounded to nearest even.
template <class T>
SLACKLINE_BODY T from_float(float value);
template <>
SLACKLINE_BODY float from_float<float>(float value) {
  return value;
}
template <>
SLACKLINE_BODY __half from_float<__half>(float value) {
  return __float2half_rn(value);
}
template <>
SLACKLINE_BODY __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

/// N values as they lie in memory: what is kept in registers while loads are under way.
template <class T, int N = kWidth<T>>
struct Raw {
  static constexpr int kWords = static_cast<int>(N * sizeof(T) / 4);
  std::uint32_t words[kWords];
};

template <int N>
struct Floats {
  float of[N];
};

/// One access for up to 16 bytes, of memory that is aligned to as many.
template <int kWords>
SLACKLINE_BODY void copy_words(void* to, const void* from) {
#ifdef __CUDA_ARCH__
  if constexpr (kWords % 4 == 0) {
    SLACKLINE_UNROLL
    for (int i = 0; i < kWords / 4; ++i) {
      static_cast<uint4*>(to)[i] = static_cast<const uint4*>(from)[i];
    }
  } else if constexpr (kWords == 2) {
    *static_cast<uint2*>(to) = *static_cast<const uint2*>(from);
  } else {
    static_assert(kWords == 1);
    *static_cast<std::uint32_t*>(to) = *static_cast<const std::uint32_t*>(from);
  }
#else
  __builtin_memcpy(to, from, kWords * 4);
#endif
}

template <class T, int N = kWidth<T>>
SLACKLINE_BODY Raw<T, N> load(const T* from) {
  alignas(16) Raw<T, N> raw;
  copy_words<Raw<T, N>::kWords>(&raw, from);
  return raw;
}

template <class T, int N>
SLACKLINE_BODY void store(T* to, const Raw<T, N>& raw) {
#ifdef __CUDA_ARCH__
  if constexpr (Raw<T, N>::kWords == 4) {
    // An assignment is not always kept as one store.
    __stwb(reinterpret_cast<uint4*>(to),
           make_uint4(raw.words[0], raw.words[1], raw.words[2], raw.words[3]));
    return;
  }
#endif
  alignas(16) const Raw<T, N> aligned = raw;
  copy_words<Raw<T, N>::kWords>(to, &aligned);
}

template <int N>
SLACKLINE_BODY Floats<N> unpack(const Raw<float, N>& raw) {
  Floats<N> floats;
  SLACKLINE_UNROLL
  for (int i = 0; i < N; ++i) __builtin_memcpy(&floats.of[i], &raw.words[i], 4);
  return floats;
}
template <int N>
SLACKLINE_BODY Floats<N> unpack(const Raw<__half, N>& raw) {
  Floats<N> floats;
  SLACKLINE_UNROLL
  for (int i = 0; i < N / 2; ++i) {
    __half2 pair;
    __builtin_memcpy(static_cast<void*>(&pair), &raw.words[i], 4);
    const float2 two = __half22float2(pair);
    floats.of[2 * i] = two.x;
    floats.of[2 * i + 1] = two.y;
  }
  return floats;
}
template <int N>
SLACKLINE_BODY Floats<N> unpack(const Raw<__nv_bfloat16, N>& raw) {
  Floats<N> floats;
  SLACKLINE_UNROLL
  for (int i = 0; i < N / 2; ++i) {
    __nv_bfloat162 pair;
    __builtin_memcpy(static_cast<void*>(&pair), &raw.words[i], 4);
    const float2 two = __bfloat1622float2(pair);
    floats.of[2 * i] = two.x;
    floats.of[2 * i + 1] = two.y;
  }
  return floats;
}

SLACKLINE_BODY __half2 pair_of(__half, float first, float second) {
  return __floats2half2_rn(first, second);
}
SLACKLINE_BODY __nv_bfloat162 pair_of(__nv_bfloat16, float first, float second) {
  return __floats2bfloat162_rn(first, second);
}

/// Rounded to nearest even.
template <class T, int N>
SLACKLINE_BODY Raw<T, N> pack(const Floats<N>& floats) {
  Raw<T, N> raw;
  SLACKLINE_UNROLL
  for (int i = 0; i < Raw<T, N>::kWords; ++i) {
    if constexpr (sizeof(T) == 4) {
      __builtin_memcpy(&raw.words[i], &floats.of[i], 4);
    } else {
      const auto pair = pair_of(T{}, floats.of[2 * i], floats.of[2 * i + 1]);
      __builtin_memcpy(&raw.words[i], &pair, 4);
    }
  }
  return raw;
}

template <int N>
SLACKLINE_BODY Floats<N> load_floats(const float* from) {
  return unpack(load<float, N>(from));
}

}  // namespace slackline::net::cuda::bodies
