#include <slackline/error.h>
#include <slackline/tf_example.h>

#include <array>
#include <bit>
#include <cstring>

// The messages, as protocol buffers:
//
//   Example   { Features features = 1 }
//   Features  { repeated Entry entry = 1 }           a map
//   Entry     { string key = 1; Feature value = 2 }
//   Feature   { BytesList 1 | FloatList 2 | Int64List 3 }
//   …List     { repeated … value = 1 }               floats and integers packed or not
//
// Two readers of these bytes are in wide use, protobuf and TensorFlow's own, and they agree on all
// that an encoder writes. Where they do not (a feature with two lists, a list half packed, …) this
// one refuses: there is no answer that would surprise nobody.

namespace slackline {
namespace {

using Bytes = std::span<const std::byte>;

enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

[[noreturn]] void refuse(std::string_view key, std::string_view what) {
  throw DataError(std::string(key),
                  key.empty() ? text("tf.Example: ", what) : text("tf.Example: ", key, ": ", what));
}

/// Reads one message field by field. Fields are never longer than the message.
class Fields {
 public:
  /// `key` is the feature inside which this message lies, for errors; empty outside of any.
  Fields(Bytes message, std::string_view key) noexcept
      : at_(message.data()), end_(at_ + message.size()), key_(key) {}

  /// Goes to the next field; false at the end of the message.
  bool next() {
    if (at_ == end_) return false;
    const std::uint64_t tag = varint();
    if (tag >> 32 != 0) refuse(key_, "a field's tag has more than 32 bits");
    number_ = static_cast<std::uint32_t>(tag >> 3);
    wire_type_ = static_cast<std::uint32_t>(tag & 7);
    if (number_ == 0) refuse(key_, "a field has number 0");
    switch (wire_type_) {
      case kVarint:
        value_ = varint();
        break;
      case kFixed64:
        bytes_ = take(8);
        break;
      case kLengthDelimited:
        bytes_ = take(varint());
        break;
      case kFixed32:
        bytes_ = take(4);
        break;
      default:
        refuse(key_, text("a field has wire type ", wire_type_, ", must be 0, 1, 2 or 5"));
    }
    return true;
  }

  [[nodiscard]] bool is(std::uint32_t number, WireType type) const noexcept {
    return number_ == number && wire_type_ == type;
  }
  [[nodiscard]] std::uint32_t number() const noexcept { return number_; }
  /// What a varint field holds.
  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }
  /// What any other field holds.
  [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }

  /// The field's bytes; refuses it if its wire type is not that of a message or string.
  [[nodiscard]] Bytes message() const {
    if (wire_type_ != kLengthDelimited) {
      refuse(key_, text("field ", number_, " has wire type ", wire_type_, ", must be 2"));
    }
    return bytes_;
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (at_ == end_) refuse(key_, "ends inside a number");
      const auto byte = std::to_integer<std::uint64_t>(*at_++);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    refuse(key_, "a number has more than 10 bytes");
  }

  [[nodiscard]] bool at_end() const noexcept { return at_ == end_; }

 private:
  Bytes take(std::uint64_t size) {
    const auto left = static_cast<std::uint64_t>(end_ - at_);
    if (size > left) {
      refuse(key_, text("a field of ", size, " bytes where only ", left, " are left"));
    }
    const Bytes taken(at_, static_cast<std::size_t>(size));
    at_ += size;
    return taken;
  }

  const std::byte* at_;
  const std::byte* end_;
  std::string_view key_;
  std::uint32_t number_ = 0;
  std::uint32_t wire_type_ = 0;
  std::uint64_t value_ = 0;
  Bytes bytes_;
};

std::string_view chars(Bytes bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

enum ListKind : std::uint32_t { kNone = 0, kBytes = 1, kFloats = 2, kInts = 3 };
constexpr std::array<const char*, 4> kListNames = {"", "bytes_list", "float_list", "int64_list"};

enum KeyIndex { kEncoded, kText, kLabel, kXmin, kYmin, kXmax, kYmax, kKeyCount };
constexpr std::array<std::string_view, kKeyCount> kKeys = {
    "image/encoded",          "image/class/text",       "image/class/label",
    "image/object/bbox/xmin", "image/object/bbox/ymin", "image/object/bbox/xmax",
    "image/object/bbox/ymax"};

/// The list of one feature, not looked into yet.
struct List {
  ListKind kind = kNone;
  Bytes bytes;
};
using Lists = std::array<List, kKeyCount>;

/// Position in kKeys, kKeyCount for any other key. Lengths differ, so few bytes are compared.
std::size_t index_of(std::string_view key) noexcept {
  for (std::size_t i = 0; i < kKeys.size(); ++i) {
    if (kKeys[i].size() == key.size() && kKeys[i] == key) return i;
  }
  return kKeyCount;
}

List read_feature(Bytes feature, std::string_view key) {
  List list;
  for (Fields fields(feature, key); fields.next();) {
    if (fields.number() > kInts) continue;
    if (list.kind != kNone) refuse(key, "has more than one list of values");
    list = {static_cast<ListKind>(fields.number()), fields.message()};
  }
  return list;
}

void read_entry(Bytes entry, Lists& lists) {
  std::string_view key;
  Bytes feature;
  int values = 0;
  for (Fields fields(entry, {}); fields.next();) {
    if (fields.number() == 1) {
      key = chars(fields.message());
    } else if (fields.number() == 2) {
      feature = fields.message();
      ++values;
    }
  }
  const std::size_t index = index_of(key);
  if (index == kKeyCount) return;
  if (values > 1) refuse(kKeys[index], "has more than one feature in one map entry");
  const List list = read_feature(feature, kKeys[index]);
  // A feature without a list counts as missing, so it does not displace an earlier one.
  if (list.kind != kNone) lists[index] = list;
}

/// The list of a key, which must be of `kind`; nullptr if the key is missing.
const List* list_of(const Lists& lists, KeyIndex index, ListKind kind) {
  const List& list = lists[index];
  if (list.kind == kNone) return nullptr;
  if (list.kind != kind) {
    refuse(kKeys[index], text("is ", kListNames[list.kind], ", must be ", kListNames[kind]));
  }
  return &list;
}

[[noreturn]] void refuse_count(KeyIndex index, std::size_t count) {
  refuse(kKeys[index], text("has ", count, " values, must have one"));
}

std::string_view one_string(const Lists& lists, KeyIndex index) {
  const List* const list = list_of(lists, index, kBytes);
  if (list == nullptr) return {};
  std::string_view value;
  std::size_t count = 0;
  for (Fields fields(list->bytes, kKeys[index]); fields.next();) {
    if (fields.number() != 1) continue;
    value = chars(fields.message());
    ++count;
  }
  if (count != 1) refuse_count(index, count);
  return value;
}

std::optional<std::int64_t> one_int(const Lists& lists, KeyIndex index) {
  const List* const list = list_of(lists, index, kInts);
  if (list == nullptr) return std::nullopt;
  std::uint64_t value = 0;
  std::size_t count = 0;
  for (Fields fields(list->bytes, kKeys[index]); fields.next();) {
    if (fields.number() != 1) continue;
    if (fields.is(1, kVarint)) {
      value = fields.value();
      ++count;
    } else {
      for (Fields packed(fields.message(), kKeys[index]); !packed.at_end(); ++count) {
        value = packed.varint();
      }
    }
  }
  if (count != 1) refuse_count(index, count);
  return std::bit_cast<std::int64_t>(value);
}

/// Floats that are all packed in one field, or all in fields of their own. Anything between is what
/// no encoder writes, and it would have no stride.
FloatList floats(const Lists& lists, KeyIndex index) {
  constexpr std::size_t kFieldSize = 5;  // a tag of one byte and a value of four
  const List* const list = list_of(lists, index, kFloats);
  if (list == nullptr) return {};
  const std::byte* first = nullptr;
  std::size_t count = 0;
  std::size_t stride = sizeof(float);
  for (Fields fields(list->bytes, kKeys[index]); fields.next();) {
    if (fields.number() != 1) continue;
    if (fields.is(1, kFixed32)) {
      const std::byte* const at = fields.bytes().data();
      if (count > 0 && at != first + count * kFieldSize) {
        refuse(kKeys[index], "has values both packed and unpacked");
      }
      if (count == 0) first = at;
      stride = kFieldSize;
      ++count;
    } else {
      const Bytes packed = fields.message();
      if (packed.size() % sizeof(float) != 0) {
        refuse(kKeys[index],
               text(packed.size(), " bytes of packed floats, must be a multiple of 4"));
      }
      if (packed.empty()) continue;
      if (count > 0) refuse(kKeys[index], "has packed values after others");
      first = packed.data();
      count = packed.size() / sizeof(float);
      stride = sizeof(float);
    }
  }
  return {first, count, stride};
}

}  // namespace

float FloatList::operator[](std::size_t i) const noexcept {
  float value = 0;
  std::memcpy(&value, first_ + i * stride_, sizeof(value));
  return value;
}

ImagenetExample parse_imagenet_example(std::span<const std::byte> serialized) {
  Lists lists;
  for (Fields example(serialized, {}); example.next();) {
    if (!example.is(1, kLengthDelimited)) continue;
    for (Fields features(example.bytes(), {}); features.next();) {
      if (features.number() == 1) read_entry(features.message(), lists);
    }
  }
  return {.encoded = one_string(lists, kEncoded),
          .class_text = one_string(lists, kText),
          .label = one_int(lists, kLabel),
          .xmin = floats(lists, kXmin),
          .ymin = floats(lists, kYmin),
          .xmax = floats(lists, kXmax),
          .ymax = floats(lists, kYmax)};
}

}  // namespace slackline
