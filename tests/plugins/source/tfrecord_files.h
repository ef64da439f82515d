#pragma once

// Writes TFRecord files.

#include <slackline/crc32c.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <zlib.h>

namespace slackline::testing_support {

template <class Number>
std::string little_endian(Number number) {
  std::string out(sizeof(number), '\0');
  std::memcpy(out.data(), &number, sizeof(number));
  return out;
}

inline std::string masked(std::string_view bytes) {
  return little_endian(masked_crc32c(std::as_bytes(std::span(bytes))));
}

/// The twelve bytes in front of a payload.
inline std::string header(std::uint64_t length) {
  const std::string bytes = little_endian(length);
  return bytes + masked(bytes);
}

/// A payload with all that stands around it.
inline std::string frame(std::string_view payload) {
  return header(payload.size()) + std::string(payload) + masked(payload);
}

enum class Packing { kZlib = 15, kGzip = 15 + 16 };  ///< numbers as zlib wants them

inline std::string packed(std::string_view bytes, Packing packing) {
  z_stream zlib{};
  deflateInit2(&zlib, 6, Z_DEFLATED, static_cast<int>(packing), 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&zlib, bytes.size()) + 64, '\0');
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  zlib.avail_in = static_cast<uInt>(bytes.size());
  zlib.next_out = reinterpret_cast<Bytef*>(out.data());
  zlib.avail_out = static_cast<uInt>(out.size());
  deflate(&zlib, Z_FINISH);
  out.resize(zlib.total_out);
  deflateEnd(&zlib);
  return out;
}

}  // namespace slackline::testing_support
