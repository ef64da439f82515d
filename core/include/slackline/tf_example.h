#pragma once

#include <slackline/export.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace slackline {

/// A float_list as it lies in a serialized Example: packed or not, unaligned, little-endian.
/// A view into the bytes of the Example.
class FloatList {
 public:
  FloatList() = default;
  /// `first` is the first value, `stride` the bytes from one value to the next (4, or 5 if each has
  /// its own tag).
  FloatList(const std::byte* first, std::size_t count, std::size_t stride) noexcept
      : first_(first), count_(count), stride_(stride) {}

  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] SLACKLINE_API float operator[](std::size_t i) const noexcept;

 private:
  const std::byte* first_ = nullptr;
  std::size_t count_ = 0;
  std::size_t stride_ = 4;
};

/// What ImageNet's schema holds, parsed without copying: everything points into the bytes given to
/// parse_imagenet_example().
struct ImagenetExample {
  std::string_view encoded;           ///< image/encoded; "" if missing
  std::string_view class_text;        ///< image/class/text; "" if missing
  std::optional<std::int64_t> label;  ///< image/class/label as stored (1-based); nullopt if missing
  FloatList xmin, ymin, xmax, ymax;   ///< image/object/bbox/…, 0..1; empty if missing
};

/// Reads the wire format of a tf.train.Example by hand: linking protobuf into a plugin would put a
/// second copy of its descriptors into processes that have one, which aborts them.
///
/// The last of several equal keys counts, packed and unpacked lists are read, other keys ignored.
/// Throws DataError, with the key at fault, if the bytes are no Example, or a key has another kind
/// of list than the schema says or not exactly one value where it says one, or for what no encoder
/// writes and readers disagree about: two lists in one feature, a list of floats partly packed.
[[nodiscard]] SLACKLINE_API ImagenetExample
parse_imagenet_example(std::span<const std::byte> serialized);

}  // namespace slackline
