#include "bare_loop.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace slackline::bench {
namespace {

constexpr int kPad = 32;        // bytes readable beyond both ends of a row
constexpr int kWeightBits = 7;  // _mm256_maddubs_epi16 multiplies by signed bytes
constexpr int kOne = (1 << kWeightBits) - 1;

/// Marsaglia's xorshift.
class Random {
 public:
  explicit Random(std::uint32_t seed) : state_(seed * 2654435769u + 1) {}
  std::uint32_t word() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    return state_ ^= state_ << 5;
  }
  float uniform() { return static_cast<float>(word() >> 8) * 0x1p-24f; }
  int below(int n) { return n > 0 ? static_cast<int>(std::uint64_t{word()} * n >> 32) : 0; }

 private:
  std::uint32_t state_;
};

bool touches(const BareCrop& crop, int height, int width, const std::array<float, 4>& box) {
  const float y0 = box[0] * static_cast<float>(height), x0 = box[1] * static_cast<float>(width);
  const float y1 = box[2] * static_cast<float>(height), x1 = box[3] * static_cast<float>(width);
  const float h = std::min(static_cast<float>(crop.y + crop.height), y1) -
                  std::max(static_cast<float>(crop.y), y0);
  const float w = std::min(static_cast<float>(crop.x + crop.width), x1) -
                  std::max(static_cast<float>(crop.x), x0);
  return h > 0 && w > 0 && h * w >= 0.1f * (y1 - y0) * (x1 - x0);
}

BareCrop draw_crop(const EncodedImage& image, int height, int width, Random& random) {
  static const std::vector<std::array<float, 4>> kWhole{{0, 0, 1, 1}};
  const auto& boxes = image.boxes.empty() ? kWhole : image.boxes;
  const float whole = static_cast<float>(height) * static_cast<float>(width);
  BareCrop crop{0, 0, height, width, random.uniform() < 0.5f};
  for (int attempt = 0; attempt < 100; ++attempt) {
    const float ratio = 0.75f + 0.58f * random.uniform();
    const int low = static_cast<int>(std::sqrt(0.05f * whole / ratio));
    const int high = std::min({height, static_cast<int>(static_cast<float>(width) / ratio)});
    const int h = low + random.below(high - low + 1);
    const int w = static_cast<int>(static_cast<float>(h) * ratio);
    if (h < 1 || w < 1 || h > height || w > width) continue;
    const BareCrop tried{random.below(height - h + 1), random.below(width - w + 1), h, w,
                         crop.flip};
    for (const auto& box : boxes) {
      if (touches(tried, height, width, box)) return tried;
    }
  }
  return crop;
}

struct Tap {
  int low;
  int weight;  // of low + 1, 0..kOne
};

/// Bilinear: between pixel centres, or TensorFlow 1's corner to corner. The latter is not
/// symmetric, so there a mirrored image is one that was mirrored before the resize.
void make_taps(int in, int out, bool corners, bool flip, std::vector<Tap>& taps) {
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  taps.resize(static_cast<std::size_t>(out));
  for (int i = 0; i < out; ++i) {
    const auto end = static_cast<float>(in - 1);
    const auto place = static_cast<float>(i);
    float at = corners ? std::min(place * scale, end)
                       : std::clamp((place + 0.5f) * scale - 0.5f, 0.0f, end);
    if (flip) at = end - at;
    const int low = std::max(std::min(static_cast<int>(at), in - 2), 0);
    const float weight = in > 1 ? at - static_cast<float>(low) : 0.0f;
    taps[static_cast<std::size_t>(i)] = {low, static_cast<int>(std::lround(weight * kOne))};
  }
}

/// The horizontal taps of four output pixels, as the vector code wants them.
struct Columns {
  std::vector<int> offsets;           // bytes to the left one of two pixels
  std::vector<std::int16_t> weights;  // for each pixel four pairs (left, right) of signed bytes
};

std::int16_t pair(int left, int right) { return static_cast<std::int16_t>(left | right << 8); }

void make_columns(int in, int out, bool corners, bool flip, std::vector<Tap>& taps,
                  Columns& columns) {
  make_taps(in, out, corners, flip, taps);
  const int padded = (out + 3) / 4 * 4;
  columns.offsets.resize(static_cast<std::size_t>(padded));
  columns.weights.resize(static_cast<std::size_t>(padded) * 4);
  for (int i = 0; i < padded; ++i) {
    const int from = std::min(i, out - 1);
    const Tap& tap = taps[static_cast<std::size_t>(from)];
    columns.offsets[static_cast<std::size_t>(i)] = tap.low * 3;
    std::fill_n(columns.weights.begin() + i * 4, 4, pair(kOne - tap.weight, tap.weight));
  }
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void blend_rows(const std::uint8_t* a, const std::uint8_t* b, int weight,
                                        int bytes, std::uint8_t* out) {
  const __m256i weights = _mm256_set1_epi16(pair(kOne - weight, weight));
  const __m256i half = _mm256_set1_epi16(1 << (kWeightBits - 1));
  for (int i = 0; i < bytes; i += 32) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i));
    const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + i));
    const __m256i low = _mm256_maddubs_epi16(_mm256_unpacklo_epi8(x, y), weights);
    const __m256i high = _mm256_maddubs_epi16(_mm256_unpackhi_epi8(x, y), weights);
    // One is 127/128 here: adding the value's own 1/128 would cost more than the half it loses.
    const __m256i l = _mm256_srli_epi16(_mm256_add_epi16(low, half), kWeightBits);
    const __m256i h = _mm256_srli_epi16(_mm256_add_epi16(high, half), kWeightBits);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_packus_epi16(l, h));
  }
}

[[gnu::target("avx2")]] void blend_columns(const std::uint8_t* row, const Columns& columns,
                                           int count, std::uint8_t* out) {
  const __m256i pairs = _mm256_setr_epi8(0, 3, 1, 4, 2, 5, -1, -1, 8, 11, 9, 12, 10, 13, -1, -1,  //
                                         0, 3, 1, 4, 2, 5, -1, -1, 8, 11, 9, 12, 10, 13, -1, -1);
  const __m128i compact = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
  const __m256i half = _mm256_set1_epi16(1 << (kWeightBits - 1));
  const auto load = [&](int i) {
    return _mm_loadl_epi64(
        reinterpret_cast<const __m128i*>(row + columns.offsets[static_cast<std::size_t>(i)]));
  };
  for (int i = 0; i < count; i += 4) {
    const __m128i first = _mm_unpacklo_epi64(load(i), load(i + 1));
    const __m128i second = _mm_unpacklo_epi64(load(i + 2), load(i + 3));
    const __m256i pixels = _mm256_shuffle_epi8(_mm256_set_m128i(second, first), pairs);
    const __m256i weights =
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns.weights.data() + i * 4));
    const __m256i sums = _mm256_srli_epi16(
        _mm256_add_epi16(_mm256_maddubs_epi16(pixels, weights), half), kWeightBits);
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    const __m128i packed = _mm_shuffle_epi8(bytes, compact);
    if (count - i > 5) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i * 3), packed);
    } else {
      const auto left = static_cast<std::size_t>(std::min(count - i, 4));
      std::memcpy(out + i * 3, &packed, left * 3);
    }
  }
}
#else
void blend_rows(const std::uint8_t* a, const std::uint8_t* b, int weight, int bytes,
                std::uint8_t* out) {
  for (int i = 0; i < bytes; ++i) {
    out[i] =
        static_cast<std::uint8_t>((a[i] * (kOne - weight) + b[i] * weight + 64) >> kWeightBits);
  }
}

void blend_columns(const std::uint8_t* row, const Columns& columns, int count, std::uint8_t* out) {
  for (int i = 0; i < count; ++i) {
    const std::uint8_t* const at = row + columns.offsets[static_cast<std::size_t>(i)];
    const int weight = columns.weights[static_cast<std::size_t>(i) * 4] >> 8;
    for (int c = 0; c < 3; ++c) {
      out[i * 3 + c] = static_cast<std::uint8_t>(
          (at[c] * (kOne - weight) + at[c + 3] * weight + 64) >> kWeightBits);
    }
  }
}
#endif

class Loop {
 public:
  explicit Loop(const BareLoopOptions& options) : options_(options), random_(options.seed) {}

  void decode(const EncodedImage& image, std::uint8_t* out) {
    jpeg_decompress_struct jpeg{};
    jpeg_error_mgr errors{};
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(image.jpeg.data()),
                 static_cast<unsigned long>(image.jpeg.size()));
    jpeg_read_header(&jpeg, TRUE);
    const BareCrop crop = image.crop ? *image.crop
                                     : draw_crop(image, static_cast<int>(jpeg.image_height),
                                                 static_cast<int>(jpeg.image_width), random_);
    jpeg.out_color_space = JCS_RGB;
    jpeg.dct_method = options_.accurate ? JDCT_ISLOW : JDCT_IFAST;
    jpeg_start_decompress(&jpeg);
    auto x = static_cast<JDIMENSION>(crop.x);
    auto width = static_cast<JDIMENSION>(crop.width);
    jpeg_crop_scanline(&jpeg, &x, &width);
    if (crop.y > 0) jpeg_skip_scanlines(&jpeg, static_cast<JDIMENSION>(crop.y));
    resize(jpeg, crop, (crop.x - static_cast<int>(x)) * 3, out);
    jpeg_destroy_decompress(&jpeg);
  }

 private:
  void resize(jpeg_decompress_struct& jpeg, const BareCrop& crop, int skip, std::uint8_t* out) {
    const int size = options_.size;
    const bool corners = !options_.accurate;
    make_columns(crop.width, size, corners, crop.flip, taps_, columns_);
    make_taps(crop.height, size, corners, false, taps_);
    const auto stride = static_cast<std::size_t>(jpeg.output_width) * 3 + 2 * kPad;
    rows_.resize(stride * kRing + kPad);
    blended_.resize(stride + kPad);
    const auto row = [&](int y) {
      return rows_.data() + static_cast<std::size_t>(y % kRing) * stride + kPad;
    };
    int have = 0;
    for (int i = 0; i < size; ++i) {
      const Tap& tap = taps_[static_cast<std::size_t>(i)];
      const int last = std::min(tap.low + 1, crop.height - 1);
      while (have <= last) {
        // Two rows come at once where chroma is subsampled; four fit.
        JSAMPROW rows[2] = {row(have), row(have + 1)};
        const int ask = have + 1 <= crop.height - 1 && have < last + 1 ? 2 : 1;
        have += static_cast<int>(jpeg_read_scanlines(&jpeg, rows, static_cast<JDIMENSION>(ask)));
      }
      blend_rows(row(tap.low) + skip, row(last) + skip, tap.weight, crop.width * 3,
                 blended_.data());
      blend_columns(blended_.data(), columns_, size,
                    out + static_cast<std::size_t>(i) * static_cast<std::size_t>(size) * 3);
    }
  }

  static constexpr int kRing = 4;

  BareLoopOptions options_;
  Random random_;
  std::vector<Tap> taps_;
  Columns columns_;
  std::vector<std::uint8_t> rows_, blended_;
};

}  // namespace

double run_bare_loop(std::span<const EncodedImage> images, const BareLoopOptions& options,
                     std::span<std::uint8_t> batch) {
  const auto start = std::chrono::steady_clock::now();
  const std::size_t sample =
      static_cast<std::size_t>(options.size) * static_cast<std::size_t>(options.size) * 3;
  const std::size_t places = batch.size() / sample;
  Loop loop(options);
  for (std::size_t i = 0; i < images.size(); ++i) {
    loop.decode(images[i], batch.data() + i % places * sample);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace slackline::bench
