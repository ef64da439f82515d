#include "resize_kernels.h"

#include <cmath>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "imagenet/row_sink.h"

namespace slackline::imagenet::resize_kernels {
namespace {

// Not contracted to a fused multiply-add: the whole tree is compiled with -ffp-contract=off.
float lerp(float a, float b, float weight) { return a + (b - a) * weight; }

}  // namespace

void lerp_columns(const std::uint8_t* pixels, const Columns& columns, float* out) noexcept {
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

void lerp_rows_to_float(const float* top, const float* bottom, float weight, int count,
                        float* out) noexcept {
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < kPixelBytes; ++c) {
      out[kPixelBytes * i + c] = lerp(top[4 * i + c], bottom[4 * i + c], weight);
    }
  }
}

void lerp_rows(const float* top, const float* bottom, float weight, int count,
               std::uint8_t* out) noexcept {
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < kPixelBytes; ++c) {
      const float value = lerp(top[4 * i + c], bottom[4 * i + c], weight);
      out[kPixelBytes * i + c] = static_cast<std::uint8_t>(std::lrint(value));
    }
  }
}

#if defined(__x86_64__)

bool cpu_has_avx2() noexcept {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
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
    if (count - i > 5) {
      // The four bytes too many are overwritten by what follows.
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + kPixelBytes * i), pixels);
    } else {
      alignas(16) std::uint8_t last[16];
      _mm_store_si128(reinterpret_cast<__m128i*>(last), pixels);
      const auto left = static_cast<std::size_t>(count - i < 4 ? count - i : 4);
      std::memcpy(out + kPixelBytes * i, last, left * kPixelBytes);
    }
  }
}

#else

bool cpu_has_avx2() noexcept { return false; }
void lerp_columns_avx2(const std::uint8_t* pixels, const Columns& columns, float* out) noexcept {
  lerp_columns(pixels, columns, out);
}
void lerp_rows_avx2(const float* top, const float* bottom, float weight, int count,
                    std::uint8_t* out) noexcept {
  lerp_rows(top, bottom, weight, count, out);
}

#endif

}  // namespace slackline::imagenet::resize_kernels
