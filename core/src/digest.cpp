#include <slackline/digest.h>

namespace slackline {
namespace {

constexpr std::uint64_t kPrime = (std::uint64_t{1} << 61) - 1;
__extension__ using Uint128 = unsigned __int128;

/// Any large number below the prime: the fractional part of the golden ratio.
constexpr std::uint64_t kBase = 0x9e3779b97f4a7c15 & kPrime;

std::uint64_t reduce(std::uint64_t value) noexcept {
  value = (value & kPrime) + (value >> 61);
  return value >= kPrime ? value - kPrime : value;
}

std::uint64_t multiply(std::uint64_t a, std::uint64_t b) noexcept {
  const auto product = static_cast<Uint128>(a) * b;
  return reduce((static_cast<std::uint64_t>(product) & kPrime) +
                static_cast<std::uint64_t>(product >> 61));
}

std::uint64_t power_of_base(std::uint64_t exponent) noexcept {
  std::uint64_t result = 1;
  for (std::uint64_t square = kBase; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) result = multiply(result, square);
    square = multiply(square, square);
  }
  return result;
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014): every bit of the argument changes every
/// bit of the result with probability 1/2.
std::uint64_t mixed(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

void SequenceDigest::append(std::uint64_t item) noexcept {
  value_ = reduce(multiply(value_, kBase) + reduce(item));
  ++length_;
}

void SequenceDigest::append(const SequenceDigest& behind) noexcept {
  value_ = reduce(multiply(value_, power_of_base(behind.length_)) + behind.value_);
  length_ += behind.length_;
}

std::uint64_t order_item(std::uint32_t epoch, std::uint64_t record_id,
                         std::int32_t label) noexcept {
  const std::uint64_t where = mixed(record_id + 0x9e3779b97f4a7c15);
  return mixed(where ^ (std::uint64_t{epoch} << 32) ^ static_cast<std::uint32_t>(label));
}

}  // namespace slackline
