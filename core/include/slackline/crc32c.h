#pragma once

#include <slackline/export.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace slackline {

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) of `bytes`, as iSCSI (RFC 3720) and
/// TFRecord use it: crc32c("123456789") = 0xE3069283. By the SSE4.2 instruction in three
/// interleaved lanes where the CPU has it, else by tables. `crc` is that of the bytes before.
SLACKLINE_API std::uint32_t crc32c(std::span<const std::byte> bytes,
                                   std::uint32_t crc = 0) noexcept;

/// The same by slicing-by-8 tables on any CPU.
SLACKLINE_API std::uint32_t crc32c_tables(std::span<const std::byte> bytes,
                                          std::uint32_t crc = 0) noexcept;

/// True if crc32c() uses the CPU's instruction here.
SLACKLINE_API bool crc32c_is_in_hardware() noexcept;

/// The form that TFRecord stores: rotated right by 15 bits plus 0xA282EAD8, so that a checksum of
/// data that contains checksums stays good.
inline std::uint32_t mask_crc32c(std::uint32_t crc) noexcept {
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

inline std::uint32_t masked_crc32c(std::span<const std::byte> bytes) noexcept {
  return mask_crc32c(crc32c(bytes));
}

}  // namespace slackline
