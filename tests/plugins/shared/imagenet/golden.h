#pragma once

// The golden files of tests/golden: tensors that TensorFlow made, and the list of cases.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace slackline::testing_support {

inline std::filesystem::path golden_dir() {
  return std::filesystem::path(SLACKLINE_TEST_SOURCE_DIR) / "tests" / "golden";
}

inline std::string read_golden(const std::string& name) {
  std::ifstream in(golden_dir() / name, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open golden file " + name);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline nlohmann::json read_golden_json(const std::string& name) {
  return nlohmann::json::parse(read_golden(name));
}

/// The manifest's cases with one `op`.
inline std::vector<nlohmann::json> golden_cases(const std::string& op) {
  std::vector<nlohmann::json> cases;
  const nlohmann::json manifest = read_golden_json("manifest.json");
  for (const auto& item : manifest["cases"]) {
    if (item["op"] == op) cases.push_back(item);
  }
  return cases;
}

/// (H, W, 3). Holds uint8 tensors too, whose values float keeps exactly.
struct Tensor {
  int height = 0;
  int width = 0;
  std::vector<float> values;

  [[nodiscard]] float at(int y, int x, int c) const {
    return values[static_cast<std::size_t>((y * width + x) * 3 + c)];
  }
};

/// A .npy file of version 1.0 in C order, |u1 or <f4.
inline Tensor read_npy(const std::string& name) {
  const std::string file = read_golden(name);
  std::uint16_t header_size = 0;
  std::memcpy(&header_size, file.data() + 8, sizeof header_size);
  const std::string header = file.substr(10, header_size);
  const std::string data = file.substr(10u + header_size);

  Tensor tensor;
  int channels = 0;
  const std::string shape = header.substr(header.find("'shape': (") + 10);
  if (std::sscanf(shape.c_str(), "%d, %d, %d)", &tensor.height, &tensor.width, &channels) != 3 ||
      channels != 3) {
    throw std::runtime_error(name + " is no (H, W, 3) tensor: " + header);
  }
  tensor.values.resize(static_cast<std::size_t>(tensor.height * tensor.width * 3));
  if (header.find("'<f4'") != std::string::npos) {
    std::memcpy(tensor.values.data(), data.data(), tensor.values.size() * sizeof(float));
  } else {
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      tensor.values[i] = static_cast<unsigned char>(data[i]);
    }
  }
  return tensor;
}

/// The largest difference between `expected`, of which only every `stride`th row and column is
/// stored, and `mine`. `offset` is taken off mine first, by channel.
template <class T>
double largest_difference(const Tensor& expected, int stride, const std::vector<T>& mine,
                          int mine_width, const std::array<float, 3>& offset = {}) {
  double largest = 0;
  for (int y = 0; y < expected.height; ++y) {
    for (int x = 0; x < expected.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const auto at = static_cast<std::size_t>((y * stride * mine_width + x * stride) * 3 + c);
        const float value = static_cast<float>(mine.at(at)) - offset[static_cast<std::size_t>(c)];
        largest = std::max(largest, std::abs(double{value} - double{expected.at(y, x, c)}));
      }
    }
  }
  return largest;
}

/// What upstream takes off the pixels.
inline constexpr std::array<float, 3> kMeans{123.68f, 116.78f, 103.94f};

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace slackline::testing_support
