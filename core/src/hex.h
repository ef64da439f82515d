#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace slackline {

/// As 16 hexadecimal digits.
inline std::string hex(std::uint64_t value) {
  std::array<char, 17> digits{};
  for (int i = 15; i >= 0; --i, value >>= 4) {
    digits[static_cast<std::size_t>(i)] = "0123456789abcdef"[value & 15];
  }
  return digits.data();
}

/// The reverse; std::invalid_argument for anything that hex() does not make.
inline std::uint64_t from_hex(const std::string& digits) {
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != 16 || error != std::errc{} || end != digits.data() + digits.size()) {
    throw std::invalid_argument("'" + digits + "' is not 16 hexadecimal digits");
  }
  return value;
}

}  // namespace slackline
