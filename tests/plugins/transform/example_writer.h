#pragma once

// Serialized tf.train.Examples, as a writer of ImageNet's records makes them.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace slackline::testing_support {

class ExampleWriter {
 public:
  ExampleWriter& bytes(std::string_view key, std::string_view value) {
    return feature(key, field(1, field(1, value)));
  }
  ExampleWriter& number(std::string_view key, std::int64_t value) {
    std::string list("\x08");
    list += varint(static_cast<std::uint64_t>(value));
    return feature(key, field(3, list));
  }
  ExampleWriter& floats(std::string_view key, const std::vector<float>& values) {
    std::string packed(values.size() * sizeof(float), '\0');
    std::memcpy(packed.data(), values.data(), packed.size());
    return feature(key, field(2, field(1, packed)));
  }
  /// ymin, xmin, ymax, xmax of one object.
  ExampleWriter& box(float ymin, float xmin, float ymax, float xmax) {
    return floats("image/object/bbox/ymin", {ymin})
        .floats("image/object/bbox/xmin", {xmin})
        .floats("image/object/bbox/ymax", {ymax})
        .floats("image/object/bbox/xmax", {xmax});
  }

  [[nodiscard]] std::string serialized() const { return field(1, features_); }

 private:
  static std::string varint(std::uint64_t value) {
    std::string out;
    for (; value >= 128; value >>= 7) out += static_cast<char>((value & 127) | 128);
    return out + static_cast<char>(value);
  }
  static std::string field(int number, std::string_view contents) {
    std::string out = varint(static_cast<std::uint64_t>(number << 3 | 2));
    out += varint(contents.size());
    return out.append(contents);
  }
  ExampleWriter& feature(std::string_view key, const std::string& value) {
    features_ += field(1, field(1, key) + field(2, value));
    return *this;
  }

  std::string features_;
};

}  // namespace slackline::testing_support
