#include <slackline/crc32c.h>

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace slackline {
namespace {

static_assert(std::endian::native == std::endian::little, "words are loaded as they lie in memory");

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // reflected: bit 31 is x^0

std::uint64_t load_word(const std::byte* at) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

// ---- tables ----------------------------------------------------------------------------------

/// kTables[k][b] is what byte b does to the checksum when k more bytes follow it.
constexpr auto kTables = [] {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}();

std::uint32_t extend_by_tables(std::uint32_t state, const std::byte* at,
                               std::size_t size) noexcept {
  for (; size >= 8; at += 8, size -= 8) {
    const std::uint64_t word = load_word(at) ^ state;
    state = kTables[7][word & 0xff] ^ kTables[6][(word >> 8) & 0xff] ^
            kTables[5][(word >> 16) & 0xff] ^ kTables[4][(word >> 24) & 0xff] ^
            kTables[3][(word >> 32) & 0xff] ^ kTables[2][(word >> 40) & 0xff] ^
            kTables[1][(word >> 48) & 0xff] ^ kTables[0][word >> 56];
  }
  for (; size > 0; ++at, --size) {
    state = (state >> 8) ^ kTables[0][(state ^ std::to_integer<std::uint32_t>(*at)) & 0xff];
  }
  return state;
}

#if defined(__x86_64__)

// ---- the instruction, in three lanes ---------------------------------------------------------
//
// crc32q takes three cycles but can start every cycle, so three independent checksums run side by
// side over neighbouring blocks. The state is a polynomial and appending zero bytes multiplies it
// by a power of x: that is linear, so four table look-ups move the state of one block to the end of
// the next, where the two are added.

constexpr std::size_t kLongBlock = 4096;  // bytes of one lane; larger gains nothing measurable
constexpr std::size_t kShortBlock = 256;

/// a * b modulo the polynomial, all reflected.
constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (std::uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? kPolynomial : 0);
  }
  return product;
}

/// Multiplication by x^(8 * Bytes), by the four bytes of the factor.
template <std::size_t Bytes>
constexpr auto kShift = [] {
  std::uint32_t power = 0x80000000u;   // 1
  std::uint32_t square = 0x40000000u;  // x, then x^2, x^4, …
  for (std::size_t n = Bytes * 8; n > 0; n >>= 1) {
    if ((n & 1) != 0) power = multiply(power, square);
    square = multiply(square, square);
  }
  std::array<std::array<std::uint32_t, 256>, 4> table{};
  for (std::size_t k = 0; k < 4; ++k) {
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      table[k][byte] = multiply(power, byte << (8 * k));
    }
  }
  return table;
}();

template <std::size_t Bytes>
std::uint64_t shift(std::uint64_t state) noexcept {
  const auto& table = kShift<Bytes>;
  return table[0][state & 0xff] ^ table[1][(state >> 8) & 0xff] ^ table[2][(state >> 16) & 0xff] ^
         table[3][(state >> 24) & 0xff];
}

/// Three blocks of `Block` bytes at a time, as many as there are.
template <std::size_t Block>
[[gnu::target("sse4.2")]] std::uint64_t extend_by_lanes(std::uint64_t state, const std::byte*& at,
                                                        std::size_t& size) noexcept {
  for (; size >= 3 * Block; at += 3 * Block, size -= 3 * Block) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (const std::byte* word = at; word != at + Block; word += 8) {
      state = _mm_crc32_u64(state, load_word(word));
      second = _mm_crc32_u64(second, load_word(word + Block));
      third = _mm_crc32_u64(third, load_word(word + 2 * Block));
    }
    state = shift<Block>(state) ^ second;
    state = shift<Block>(state) ^ third;
  }
  return state;
}

[[gnu::target("sse4.2")]] std::uint32_t extend_in_hardware(std::uint32_t crc, const std::byte* at,
                                                           std::size_t size) noexcept {
  std::uint64_t state = crc;
  state = extend_by_lanes<kLongBlock>(state, at, size);
  state = extend_by_lanes<kShortBlock>(state, at, size);
  for (; size >= 8; at += 8, size -= 8) state = _mm_crc32_u64(state, load_word(at));
  auto last = static_cast<std::uint32_t>(state);
  for (; size > 0; ++at, --size) last = _mm_crc32_u8(last, std::to_integer<unsigned char>(*at));
  return last;
}

#endif

}  // namespace

bool crc32c_is_in_hardware() noexcept {
#if defined(__x86_64__)
  static const bool has_it = __builtin_cpu_supports("sse4.2") != 0;
  return has_it;
#else
  return false;
#endif
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc) noexcept {
#if defined(__x86_64__)
  if (crc32c_is_in_hardware()) return ~extend_in_hardware(~crc, bytes.data(), bytes.size());
#endif
  return crc32c_tables(bytes, crc);
}

std::uint32_t crc32c_tables(std::span<const std::byte> bytes, std::uint32_t crc) noexcept {
  return ~extend_by_tables(~crc, bytes.data(), bytes.size());
}

}  // namespace slackline
