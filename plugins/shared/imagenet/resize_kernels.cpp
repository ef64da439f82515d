#include "imagenet/resize_kernels.h"

#include <array>
#include <cmath>
#include <cstring>

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 says of its own AVX-512 header that it reads what it did not set (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

#include "imagenet/row_sink.h"

namespace slackline::imagenet::resize_kernels {
namespace {

// Not contracted to a fused multiply-add: the whole tree is compiled with -ffp-contract=off.
float lerp(float a, float b, float weight) { return a + (b - a) * weight; }

void lerp_columns_portable(const std::uint8_t* pixels, const Columns& columns,
                           float* out) noexcept {
  for (int i = 0; i < columns.count; ++i) {
    const std::uint8_t* const left = pixels + columns.offsets[i];
    const std::uint8_t* const right = left + kPixelBytes;
    const std::uint8_t* const a = columns.flip ? right : left;
    const std::uint8_t* const b = columns.flip ? left : right;
    for (int c = 0; c < kPixelBytes; ++c) {
      out[4 * i + c] = lerp(a[c], b[c], columns.weights[4 * i]);
    }
  }
}

void lerp_rows_portable(const float* top, const float* bottom, float weight, int count,
                        std::uint8_t* out) noexcept {
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < kPixelBytes; ++c) {
      const float value = lerp(top[4 * i + c], bottom[4 * i + c], weight);
      out[kPixelBytes * i + c] = static_cast<std::uint8_t>(std::lrint(value));
    }
  }
}

#if defined(__x86_64__)

/// Stores the first twelve bytes, four pixels, or what of them is left in the row.
inline void store_pixels(__m128i pixels, int left, std::uint8_t* out) noexcept {
  if (left > 5) {
    // The four bytes too many are overwritten by what follows.
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), pixels);
  } else {
    alignas(16) std::uint8_t last[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(last), pixels);
    std::memcpy(out, last, static_cast<std::size_t>(left < 4 ? left : 4) * kPixelBytes);
  }
}

// Two output pixels at a time. Eight bytes hold the two neighbours of one; a byte shuffle widens
// the first of both outputs to 32-bit lanes, and another the second.
[[gnu::target("avx2")]] void lerp_columns_avx2(const std::uint8_t* pixels, const Columns& columns,
                                               float* out) noexcept {
  const __m256i left =
      _mm256_setr_epi8(0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, -1, -1, -1, -1, 8, -1, -1, -1,
                       9, -1, -1, -1, 10, -1, -1, -1, -1, -1, -1, -1);
  const __m256i right =
      _mm256_setr_epi8(3, -1, -1, -1, 4, -1, -1, -1, 5, -1, -1, -1, -1, -1, -1, -1,  //
                       11, -1, -1, -1, 12, -1, -1, -1, 13, -1, -1, -1, -1, -1, -1, -1);
  const __m256i first = columns.flip ? right : left;
  const __m256i second = columns.flip ? left : right;
  for (int i = 0; i < columns.count; i += 2) {
    const __m128i even =
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels + columns.offsets[i]));
    const __m128i odd =
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels + columns.offsets[i + 1]));
    const __m256i both = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(even, odd));
    const __m256 a = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(both, first));
    const __m256 b = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(both, second));
    const __m256 weight = _mm256_load_ps(columns.weights + 4 * i);
    _mm256_store_ps(out + 4 * i, _mm256_add_ps(a, _mm256_mul_ps(_mm256_sub_ps(b, a), weight)));
  }
}

// Four output pixels at a time: sixteen floats become sixteen bytes, of which a shuffle keeps
// twelve.
[[gnu::target("avx2")]] void lerp_rows_avx2(const float* top, const float* bottom, float weight,
                                            int count, std::uint8_t* out) noexcept {
  const __m256 weights = _mm256_set1_ps(weight);
  // Packing works within halves, so the pixels come out in the order 0, 2, 1, 3.
  const __m128i in_order = _mm_setr_epi8(0, 1, 2, 8, 9, 10, 4, 5, 6, 12, 13, 14, -1, -1, -1, -1);
  for (int i = 0; i < count; i += 4) {
    const __m256 a0 = _mm256_load_ps(top + 4 * i);
    const __m256 a1 = _mm256_load_ps(top + 4 * i + 8);
    const __m256 d0 = _mm256_sub_ps(_mm256_load_ps(bottom + 4 * i), a0);
    const __m256 d1 = _mm256_sub_ps(_mm256_load_ps(bottom + 4 * i + 8), a1);
    const __m256i v0 = _mm256_cvtps_epi32(_mm256_add_ps(a0, _mm256_mul_ps(d0, weights)));
    const __m256i v1 = _mm256_cvtps_epi32(_mm256_add_ps(a1, _mm256_mul_ps(d1, weights)));
    const __m256i words = _mm256_packs_epi32(v0, v1);
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    const __m128i pixels = _mm_shuffle_epi8(bytes, in_order);
    store_pixels(pixels, count - i, out + kPixelBytes * i);
  }
}

/// Which bytes of four pairs of pixels, eight bytes each, become the low bytes of 32-bit lanes: the
/// colours of the pixel at `start` of each pair. All other bytes are taken from byte 32, a zero.
constexpr std::array<std::uint8_t, 64> widening(std::size_t start) {
  std::array<std::uint8_t, 64> from{};
  for (std::size_t i = 0; i < from.size(); ++i) {
    const bool is_colour = i % 4 == 0 && i % 16 < 12;
    from[i] = static_cast<std::uint8_t>(is_colour ? 8 * (i / 16) + i % 16 / 4 + start : 32);
  }
  return from;
}
alignas(64) constexpr auto kLeftBytes = widening(0);
alignas(64) constexpr auto kRightBytes = widening(kPixelBytes);

// Four output pixels at a time: one byte permutation widens the first neighbours of all four,
// another the second ones.
[[gnu::target("avx512f,avx512bw,avx512vl,avx512vbmi")]] void lerp_columns_avx512(
    const std::uint8_t* pixels, const Columns& columns, float* out) noexcept {
  const __m512i left = _mm512_load_si512(kLeftBytes.data());
  const __m512i right = _mm512_load_si512(kRightBytes.data());
  const __m512i first = columns.flip ? right : left;
  const __m512i second = columns.flip ? left : right;
  const auto load = [&](int i) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels + columns.offsets[i]));
  };
  for (int i = 0; i < columns.count; i += 4) {
    const __m128i low = _mm_unpacklo_epi64(load(i), load(i + 1));
    const __m128i high = _mm_unpacklo_epi64(load(i + 2), load(i + 3));
    const __m512i four =
        _mm512_zextsi256_si512(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
    const __m512 a = _mm512_cvtepi32_ps(_mm512_permutexvar_epi8(first, four));
    const __m512 b = _mm512_cvtepi32_ps(_mm512_permutexvar_epi8(second, four));
    const __m512 weight = _mm512_load_ps(columns.weights + 4 * i);
    _mm512_store_ps(out + 4 * i, _mm512_add_ps(a, _mm512_mul_ps(_mm512_sub_ps(b, a), weight)));
  }
}

[[gnu::target("avx512f,avx512bw,avx512vl,avx512vbmi")]] void lerp_rows_avx512(
    const float* top, const float* bottom, float weight, int count, std::uint8_t* out) noexcept {
  const __m512 weights = _mm512_set1_ps(weight);
  const __m128i colours = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
  for (int i = 0; i < count; i += 4) {
    const __m512 a = _mm512_load_ps(top + 4 * i);
    const __m512 d = _mm512_sub_ps(_mm512_load_ps(bottom + 4 * i), a);
    const __m512i values = _mm512_cvtps_epi32(_mm512_add_ps(a, _mm512_mul_ps(d, weights)));
    const __m128i pixels = _mm_shuffle_epi8(_mm512_cvtusepi32_epi8(values), colours);
    store_pixels(pixels, count - i, out + kPixelBytes * i);
  }
}

constexpr std::array kAll{Kernels{"avx512vbmi", lerp_columns_avx512, lerp_rows_avx512},
                          Kernels{"avx2", lerp_columns_avx2, lerp_rows_avx2},
                          Kernels{"portable", lerp_columns_portable, lerp_rows_portable}};

std::size_t fastest() noexcept {
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512vbmi");
  if (has_avx512) return 0;
  return __builtin_cpu_supports("avx2") ? 1 : 2;
}

#else

constexpr std::array kAll{Kernels{"portable", lerp_columns_portable, lerp_rows_portable}};
std::size_t fastest() noexcept { return 0; }

#endif

}  // namespace

std::span<const Kernels> usable_kernels() noexcept {
  static const std::size_t first = fastest();
  return std::span(kAll).subspan(first);
}

void lerp_rows_to_float(const float* top, const float* bottom, float weight, int count,
                        float* out) noexcept {
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < kPixelBytes; ++c) {
      out[kPixelBytes * i + c] = lerp(top[4 * i + c], bottom[4 * i + c], weight);
    }
  }
}

}  // namespace slackline::imagenet::resize_kernels
