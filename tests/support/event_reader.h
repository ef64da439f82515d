#pragma once

// Reads TensorBoard's event files, knowing nothing of the code that writes them.

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slackline::testing_support {

struct ReadEvent {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string file_version;
  bool is_session_start = false;
  std::map<std::string, float> scalars;
};

namespace event_reader_detail {

/// Bit by bit: slow, and nothing to get wrong.
inline std::uint32_t masked_crc(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0x82F63B78u : 0u);
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

template <class T>
T take(std::string_view& bytes) {
  T value;
  if (bytes.size() < sizeof value) throw std::runtime_error("a record is cut off");
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes.remove_prefix(sizeof value);
  return value;
}

inline std::string_view take(std::string_view& bytes, std::uint64_t size) {
  if (bytes.size() < size) throw std::runtime_error("a record is cut off");
  const std::string_view out = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return out;
}

inline std::uint64_t take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<std::uint8_t>(bytes);
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
}

/// A field of a message: its bytes, or its number as bytes.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t varint = 0;
  std::string_view bytes;
};

inline std::vector<Field> fields(std::string_view message) {
  std::vector<Field> out;
  while (!message.empty()) {
    const std::uint64_t tag = take_varint(message);
    Field field{.number = tag >> 3, .varint = 0, .bytes = {}};
    switch (tag & 7) {
      case 0:
        field.varint = take_varint(message);
        break;
      case 1:
        field.bytes = take(message, 8);
        break;
      case 2:
        field.bytes = take(message, take_varint(message));
        break;
      case 5:
        field.bytes = take(message, 4);
        break;
      default:
        throw std::runtime_error("a field of no known type");
    }
    out.push_back(field);
  }
  return out;
}

/// The only field with this number.
inline Field field(std::string_view message, std::uint64_t number) {
  std::vector<Field> found;
  for (const Field& each : fields(message)) {
    if (each.number == number) found.push_back(each);
  }
  if (found.size() != 1) throw std::runtime_error("no field " + std::to_string(number));
  return found.front();
}

template <class T>
T as(std::string_view bytes) {
  if (bytes.size() != sizeof(T)) throw std::runtime_error("a number of another size");
  return take<T>(bytes);
}

/// A Summary.Value: a float tensor without dimensions, for the plugin "scalars".
inline std::pair<std::string, float> scalar(std::string_view value) {
  const std::string_view metadata = field(value, 9).bytes;
  if (field(field(metadata, 1).bytes, 1).bytes != "scalars" || field(metadata, 4).varint != 1) {
    throw std::runtime_error("no scalar");
  }
  const std::string_view tensor = field(value, 8).bytes;
  if (field(tensor, 1).varint != 1 || !field(tensor, 2).bytes.empty()) {
    throw std::runtime_error("no single float");
  }
  return {std::string(field(value, 1).bytes), as<float>(field(tensor, 5).bytes)};
}

inline ReadEvent event(std::string_view message) {
  ReadEvent out;
  for (const Field& each : fields(message)) {
    if (each.number == 1) out.wall_time = as<double>(each.bytes);
    if (each.number == 2) out.step = static_cast<std::int64_t>(each.varint);
    if (each.number == 3) out.file_version = each.bytes;
    if (each.number == 5) {
      for (const Field& value : fields(each.bytes)) out.scalars.insert(scalar(value.bytes));
    }
    if (each.number == 7) out.is_session_start = field(each.bytes, 1).varint == 1;
  }
  return out;
}

}  // namespace event_reader_detail

/// All events of a file. Throws std::runtime_error if a byte of it is not as it should be.
inline std::vector<ReadEvent> read_events(const std::filesystem::path& path) {
  namespace detail = event_reader_detail;
  std::ifstream file(path, std::ios::binary);
  const std::string contents{std::istreambuf_iterator<char>(file), {}};
  std::vector<ReadEvent> out;
  for (std::string_view bytes = contents; !bytes.empty();) {
    const std::string_view length = bytes.substr(0, 8);
    const auto size = detail::take<std::uint64_t>(bytes);
    if (detail::take<std::uint32_t>(bytes) != detail::masked_crc(length)) {
      throw std::runtime_error("the checksum of a length does not match");
    }
    const std::string_view message = detail::take(bytes, size);
    if (detail::take<std::uint32_t>(bytes) != detail::masked_crc(message)) {
      throw std::runtime_error("the checksum of an event does not match");
    }
    out.push_back(detail::event(message));
  }
  return out;
}

}  // namespace slackline::testing_support
