#include <slackline/error.h>
#include <slackline/tf_example.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace slackline {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// ---- a small language that writes Examples ---------------------------------------------------

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string field(std::uint32_t number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string number_field(std::uint32_t number, std::uint64_t value) {
  return varint(number << 3) + varint(value);
}
std::string raw(float value) {
  std::string out(4, '\0');
  std::memcpy(out.data(), &value, 4);
  return out;
}
std::string float_field(float value) { return "\x0d" + raw(value); }

std::string bytes_list(const std::string& values) { return field(1, values); }
std::string float_list(const std::string& values) { return field(2, values); }
std::string int_list(const std::string& values) { return field(3, values); }
std::string entry(const std::string& key, const std::string& feature) {
  return field(1, field(1, key) + field(2, feature));
}
std::string example(const std::string& entries) { return field(1, entries); }
std::string label(std::uint64_t value) {
  return entry("image/class/label", int_list(field(1, varint(value))));
}

ImagenetExample parse(const std::string& serialized) {
  return parse_imagenet_example(std::as_bytes(std::span(serialized)));
}
std::string reason(const std::string& serialized) {
  try {
    (void)parse(serialized);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}
std::vector<float> values(const FloatList& list) {
  std::vector<float> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.push_back(list[i]);
  return out;
}

// ---- TensorFlow's answers --------------------------------------------------------------------

std::string from_base64(std::string_view encoded) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : encoded) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<std::uint32_t>(kDigits.find(c));
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xff);
    }
  }
  return out;
}

float float_of(const json& value) {
  if (!value.is_string()) return value.get<float>();
  const auto word = value.get<std::string>();
  if (word == "nan") return std::numeric_limits<float>::quiet_NaN();
  return word.front() == '-' ? -std::numeric_limits<float>::infinity()
                             : std::numeric_limits<float>::infinity();
}

bool same(const FloatList& list, const json& expected) {
  if (list.size() != expected.size()) return false;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const float wanted = float_of(expected[i]);
    const bool equal = std::isnan(wanted) ? std::isnan(list[i])
                                          : std::bit_cast<std::uint32_t>(list[i]) ==
                                                std::bit_cast<std::uint32_t>(wanted);
    if (!equal) return false;
  }
  return true;
}

bool same(const ImagenetExample& parsed, const json& expected) {
  return parsed.encoded == from_base64(expected.at("encoded").get<std::string>()) &&
         parsed.class_text == from_base64(expected.at("text").get<std::string>()) &&
         parsed.label.value_or(-1) == expected.at("label").get<std::int64_t>() &&
         same(parsed.xmin, expected.at("xmin")) && same(parsed.ymin, expected.at("ymin")) &&
         same(parsed.xmax, expected.at("xmax")) && same(parsed.ymax, expected.at("ymax"));
}

TEST(TfExample, GivesTensorFlowsAnswerToEveryGoldenCase) {
  std::ifstream file(SLACKLINE_TEST_SOURCE_DIR "/tests/golden/examples.json");
  const json golden = json::parse(file);
  ASSERT_EQ(golden.at("cases").size(), 97u);
  for (const json& one : golden.at("cases")) {
    const auto name = one.at("name").get<std::string>();
    const std::string serialized = from_base64(one.at("serialized").get<std::string>());
    const json& expected = one.at("expected");
    const bool agree = one.at("protobuf_agrees").get<bool>();
    try {
      const ImagenetExample parsed = parse(serialized);
      bool is_right = expected.at("ok").get<bool>() && same(parsed, expected);
      if (!agree) {
        const json& other = one.at("protobuf");
        is_right = is_right || (other.at("ok").get<bool>() && same(parsed, other)) ||
                   name == "unknown_field_in_map_entry";
      }
      EXPECT_TRUE(is_right) << name;
    } catch (const DataError& error) {
      EXPECT_TRUE(!agree || !expected.at("ok").get<bool>()) << name << ": " << error.what();
    }
  }
}

// ---- what each key may hold ------------------------------------------------------------------

TEST(TfExample, PointsIntoTheBytesItWasGiven) {
  const std::string serialized =
      example(entry("image/encoded", bytes_list(field(1, "jpeg"))) + label(7));
  const ImagenetExample parsed = parse(serialized);
  EXPECT_EQ(parsed.encoded, "jpeg");
  EXPECT_EQ(parsed.encoded.data(), serialized.data() + serialized.find("jpeg"));
  EXPECT_EQ(parsed.label, 7);
}

TEST(TfExample, MissingKeysHaveDefaults) {
  const ImagenetExample parsed = parse("");
  EXPECT_EQ(parsed.encoded, "");
  EXPECT_EQ(parsed.class_text, "");
  EXPECT_EQ(parsed.label, std::nullopt);
  EXPECT_THAT(values(parsed.xmin), IsEmpty());
}

TEST(TfExample, ReadsPackedAndUnpackedLists) {
  const std::string packed = float_list(field(1, raw(0.25F) + raw(0.5F)));
  const std::string unpacked = float_list(float_field(0.75F) + float_field(1.0F));
  const std::string serialized =
      example(entry("image/object/bbox/xmin", packed) + entry("image/object/bbox/ymax", unpacked) +
              entry("image/class/label", int_list(number_field(1, 9))));
  const ImagenetExample parsed = parse(serialized);
  EXPECT_THAT(values(parsed.xmin), ElementsAre(0.25F, 0.5F));
  EXPECT_THAT(values(parsed.ymax), ElementsAre(0.75F, 1.0F));
  EXPECT_EQ(parsed.label, 9);
}

TEST(TfExample, TheLastOfEqualKeysCounts) {
  EXPECT_EQ(parse(example(label(1) + label(2))).label, 2);
  EXPECT_EQ(parse(example(label(1)) + example(label(3))).label, 3);
}

TEST(TfExample, NegativeLabelsAreReadAsStored) {
  EXPECT_EQ(parse(example(label(~std::uint64_t{0}))).label, -1);
}

TEST(TfExample, FieldsThatLaterSchemasMayAddArePassedOver) {
  EXPECT_EQ(parse(number_field(9, 1) + example(label(4)) + field(200, "new")).label, 4);
  EXPECT_EQ(parse(example(entry("height", int_list(field(1, varint(5)))) + label(4))).label, 4);
}

// ---- what is refused, and why ----------------------------------------------------------------

TEST(TfExample, AnotherKindOfListNamesTheKeyAndBothKinds) {
  const std::string wrong = example(entry("image/class/label", bytes_list(field(1, "7"))));
  EXPECT_EQ(reason(wrong), "tf.Example: image/class/label: is bytes_list, must be int64_list");
  try {
    (void)parse(wrong);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_EQ(error.key(), "image/class/label");
  }
}

TEST(TfExample, AScalarMustHaveOneValue) {
  EXPECT_EQ(reason(example(entry("image/class/label", int_list(field(1, varint(1) + varint(2)))))),
            "tf.Example: image/class/label: has 2 values, must have one");
  EXPECT_EQ(reason(example(entry("image/encoded", bytes_list("")))),
            "tf.Example: image/encoded: has 0 values, must have one");
}

TEST(TfExample, AFeatureWithTwoListsIsRefused) {
  const std::string two = int_list(field(1, varint(1))) + bytes_list(field(1, "1"));
  EXPECT_EQ(reason(example(entry("image/class/label", two))),
            "tf.Example: image/class/label: has more than one list of values");
}

TEST(TfExample, FloatsBothPackedAndUnpackedAreRefused) {
  const std::string packed = field(1, raw(1) + raw(2));
  EXPECT_EQ(reason(example(entry("image/object/bbox/xmin", float_list(packed + float_field(3))))),
            "tf.Example: image/object/bbox/xmin: has values both packed and unpacked");
  EXPECT_EQ(reason(example(entry("image/object/bbox/xmin", float_list(float_field(3) + packed)))),
            "tf.Example: image/object/bbox/xmin: has packed values after others");
}

TEST(TfExample, PackedFloatsMustBeWhole) {
  EXPECT_EQ(
      reason(example(entry("image/object/bbox/xmin", float_list(field(1, "12345"))))),
      "tf.Example: image/object/bbox/xmin: 5 bytes of packed floats, must be a multiple of 4");
}

TEST(TfExample, ALengthPastTheEndIsRefusedHoweverLarge) {
  EXPECT_EQ(reason(std::string("\x0a\x05") + "abcd"),
            "tf.Example: a field of 5 bytes where only 4 are left");
  EXPECT_EQ(reason("\x0a" + varint(~std::uint64_t{0}) + "abcd"),
            "tf.Example: a field of 18446744073709551615 bytes where only 4 are left");
}

TEST(TfExample, ANumberMustEnd) {
  EXPECT_EQ(reason("\x0a"), "tf.Example: ends inside a number");
  EXPECT_EQ(reason("\x0a" + std::string(11, '\xff')),
            "tf.Example: a number has more than 10 bytes");
}

TEST(TfExample, OtherFilesInsteadOfAnExampleAreRefused) {
  EXPECT_EQ(reason("\xff\xd8\xff\xe0 JFIF"), "tf.Example: a field's tag has more than 32 bits");
  EXPECT_EQ(reason("this is a text file"),
            "tf.Example: a field has wire type 4, must be 0, 1, 2 or 5");
}

TEST(TfExample, EveryCutIsRefused) {
  const std::string whole =
      example(entry("image/encoded", bytes_list(field(1, "jpeg"))) +
              entry("image/object/bbox/xmin", float_list(field(1, raw(1)))) + label(300));
  for (std::size_t size = 1; size < whole.size(); ++size) {
    EXPECT_NE(reason(whole.substr(0, size)), "") << size << " of " << whole.size() << " bytes";
  }
}

}  // namespace
}  // namespace slackline
