#include <slackline/crc32c.h>
#include <slackline/error.h>
#include <slackline/safetensors.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_folder.h"

namespace slackline {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A file with this header and so many bytes of data, whose k-th is k modulo 251.
std::string file_with(const std::string& header, std::size_t data_bytes = 0) {
  const std::uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  out += header;
  for (std::size_t i = 0; i < data_bytes; ++i) out += static_cast<char>(i % 251);
  return out;
}

SafetensorsFile open_bytes(std::string bytes) {
  const std::size_t size = bytes.size();
  return {"x.safetensors", size,
          [kept = std::move(bytes)](std::uint64_t offset, std::span<std::byte> into) {
            ASSERT_LE(offset, kept.size()) << "reads behind the end";
            ASSERT_LE(into.size(), kept.size() - offset) << "reads behind the end";
            std::memcpy(into.data(), kept.data() + offset, into.size());
          }};
}

/// Why such bytes are refused.
std::string error_of(const std::string& bytes) {
  try {
    open_bytes(bytes);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

std::string error_of_header(const std::string& header, std::size_t data_bytes = 0) {
  return error_of(file_with(header, data_bytes));
}

std::vector<float> values(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor* const tensor = file.find(name);
  if (tensor == nullptr) return {};
  std::vector<float> out(tensor->values());
  file.read(*tensor, out);
  return out;
}

TEST(SafetensorsTest, WhatIsWrittenIsReadBackToTheBit) {
  std::string bytes;
  SafetensorsWriter writer([&](std::string_view piece) { bytes += piece; },
                           {{.name = "count", .type = StoredType::kI64, .shape = {}},
                            {.name = "layer1.0.weight", .shape = {2, 3}},
                            {.name = "none", .shape = {0, 7}},
                            {.name = "crc", .type = StoredType::kU32, .shape = {1}}},
                           {{"title", "a \"quoted\" µ\n"}});
  EXPECT_EQ(bytes.size() % 8, 0u) << "values stand on multiples of 8";
  const std::int64_t count = -5;
  const std::vector<float> weight = {
      1.0f, -0.0f, std::numeric_limits<float>::denorm_min(), std::nanf("7"), 1e38f, -2.5f};
  const std::uint32_t crc = 4'000'000'000;
  writer.append(std::as_bytes(std::span(&count, 1)));
  writer.append(std::as_bytes(std::span(weight).first(2)));
  writer.append(std::as_bytes(std::span(weight).subspan(2)));
  EXPECT_EQ(writer.missing_bytes(), 4u);
  writer.append(std::as_bytes(std::span(&crc, 1)));
  EXPECT_EQ(writer.missing_bytes(), 0u);
  EXPECT_EQ(writer.crc32c(), crc32c(std::as_bytes(std::span(bytes))));

  const SafetensorsFile file = open_bytes(bytes);
  EXPECT_EQ(file.metadata().at("title"), "a \"quoted\" µ\n");
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.find("layer1.0.weight")->shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_THAT(values(file, "count"), ElementsAre(-5.0f));
  EXPECT_THAT(values(file, "crc"), ElementsAre(4e9f));
  EXPECT_THAT(values(file, "none"), ElementsAre());
  EXPECT_EQ(file.find("nothing"), nullptr);
  const std::vector<float> read = values(file, "layer1.0.weight");
  EXPECT_EQ(std::memcmp(read.data(), weight.data(), 24), 0);
  EXPECT_EQ(file.crc32c_of_first(bytes.size()), writer.crc32c());
}

TEST(SafetensorsTest, AFileByPythonsSafetensorsIsReadInEveryType) {
  const SafetensorsFile file(std::filesystem::path(SLACKLINE_TEST_SOURCE_DIR) /
                             "tests/golden/safetensors/numbers.safetensors");
  EXPECT_EQ(file.tensors().size(), 8u);
  EXPECT_EQ(file.metadata(), (SafetensorsMetadata{{"made by", "torch"}, {"höhe", "1 µm"}}));
  const std::vector<float> numbers = {0.0f, -0.0f, 1.5f, -2.0f, 65504.0f, 0x1p-24f};
  for (const char* name : {"conv1.weight", "double", "half"}) {
    EXPECT_EQ(file.find(name)->shape, (std::vector<std::int64_t>{2, 3})) << name;
    EXPECT_EQ(values(file, name), numbers) << name;
    EXPECT_TRUE(std::signbit(values(file, name)[1])) << name;
  }
  EXPECT_THAT(values(file, "brain"), ElementsAre(0.0f, -0.0f, 1.5f, -2.0f, 65536.0f, 0x1p-24f));
  EXPECT_THAT(values(file, "bytes"), ElementsAre(0.0f, 127.0f, 255.0f));
  EXPECT_THAT(values(file, "bn1.num_batches_tracked"), ElementsAre(16777216.0f)) << "to even";
  EXPECT_TRUE(values(file, "empty").empty());
  const std::vector<float> special = values(file, "special");
  EXPECT_EQ(special[0], std::numeric_limits<float>::infinity());
  EXPECT_EQ(special[1], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(special[2]));
}

TEST(SafetensorsTest, TensorsMayStandInTheHeaderInAnyOrder) {
  const SafetensorsFile file =
      open_bytes(file_with(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},)"
                           R"("a":{"data_offsets":[0,1],"shape":[],"dtype":"U8"}}   )",
                           3));
  EXPECT_EQ(file.tensors().front().name, "a");
  EXPECT_THAT(values(file, "b"), ElementsAre(1.0f, 2.0f));
}

TEST(SafetensorsTest, AFileWithoutTensorsIsAFile) {
  EXPECT_EQ(error_of_header("{}"), "no error");
  EXPECT_EQ(error_of_header(R"({"__metadata__":{}})"), "no error");
}

TEST(SafetensorsTest, ALengthThatCannotBeIsRefusedBeforeAnythingIsAllocated) {
  EXPECT_EQ(error_of("1234567"),
            "x.safetensors: is no safetensors file: it has 7 bytes, and needs 8 for the header's "
            "length");
  EXPECT_EQ(error_of(std::string(8, '\xff') + "{}"),
            "x.safetensors: is no safetensors file: its header has 18446744073709551615 bytes, and "
            "at most 1048576 are allowed");
  std::string cut = file_with("{}");
  cut.pop_back();
  EXPECT_EQ(error_of(cut),
            "x.safetensors: its header has 2 bytes, but only 1 follow its length: the file is cut "
            "short");
  const std::string spaces(kLongestSafetensorsHeader - 2, ' ');
  EXPECT_EQ(error_of_header("{}" + spaces), "no error");
  EXPECT_THAT(error_of_header("{} " + spaces), HasSubstr("1048577 bytes, and at most 1048576"));
}

TEST(SafetensorsTest, AHeaderOfAnotherFormIsRefusedWithItsPlace) {
  const auto tensor = [](const std::string& inside) { return R"({"t":{)" + inside + "}}"; };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "does not begin with '{'"},
      {" {}", "does not begin with '{'"},
      {"[]", "does not begin with '{'"},
      {"{", "it is no JSON from byte 2 of the header on"},
      {"{}{}", "it is no JSON"},
      {"{} x", "it is no JSON"},
      {"{\"\xff\":{}}", "it is no JSON"},
      {R"({"t":1})", "'t' is the number 1, but must be an object"},
      {R"({"t":null})", "'t' is null"},
      {R"({"t":[]})", "'t' is a list"},
      {R"({"__metadata__":{"a":1}})", "the metadata's 'a' is the number 1, but must be a string"},
      {R"({"__metadata__":{"a":{}}})", "the metadata's 'a' is an object"},
      {R"({"__metadata__":{"a":"","a":""}})", "the metadata has two keys of the name 'a'"},
      {R"({"__metadata__":"x"})", "'__metadata__' is a string"},
      {tensor(""), "tensor 't': has no dtype"},
      {tensor(R"("dtype":"U8")"), "tensor 't': has no shape"},
      {tensor(R"("dtype":"U8","shape":[])"), "tensor 't': has no data_offsets"},
      {tensor(R"("dtype":7)"), "dtype is the number 7, but must be a string"},
      {tensor(R"("dtype":["U8"])"), "dtype is a list"},
      {tensor(R"("dtype":"U8","dtype":"U8")"), "tensor 't' has dtype twice"},
      {tensor(R"("strides":[])"), "has a key 'strides'; there are dtype, shape and data_offsets"},
      {tensor(R"("shape":"1")"), "shape is a string, but must be a list of whole numbers"},
      {tensor(R"("shape":[1.5])"), "shape holds the number 1.5"},
      {tensor(R"("shape":[-1])"), "shape holds the number -1"},
      {tensor(R"("shape":[[1]])"), "shape holds a list"},
      {tensor(R"("shape":[true])"), "shape holds a boolean"},
      {tensor(R"("shape":[{}])"), "shape holds an object"},
      {tensor(R"("shape":[18446744073709551615])"), "which is too large"},
      {tensor(R"("shape":[99999999999999999999])"), "shape holds the number"},
  };
  for (const auto& [header, message] : cases) {
    EXPECT_THAT(error_of_header(header), HasSubstr(message)) << header;
  }
  EXPECT_THAT(error_of_header(std::string(500'000, '{')), HasSubstr("header")) << "no deep stack";
  EXPECT_THAT(error_of_header("{\"t\":{\"shape\":" + std::string(500'000, '[')),
              HasSubstr("holds a list"));
}

TEST(SafetensorsTest, TensorsMustFillTheFileWithoutGapAndWithoutOverlap) {
  const auto u8 = [](const std::string& name, const std::string& shape,
                     const std::string& offsets) {
    return "\"" + name + R"(":{"dtype":"U8","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}";
  };
  const std::string a = u8("a", "[2]", "[0,2]");
  EXPECT_EQ(error_of_header("{" + a + "," + u8("b", "[3]", "[2,5]") + "}", 5), "no error");
  EXPECT_THAT(error_of_header("{" + a + "," + u8("b", "[3]", "[1,4]") + "}", 4),
              HasSubstr("tensor 'b': begins at byte"));
  EXPECT_THAT(error_of_header("{" + a + "," + u8("b", "[2]", "[0,2]") + "}", 2),
              HasSubstr("begins at byte"));
  EXPECT_THAT(error_of_header("{" + a + "," + u8("b", "[3]", "[3,6]") + "}", 6),
              HasSubstr("tensor 'b': begins at byte"));
  EXPECT_THAT(error_of_header("{" + a + "}", 3), HasSubstr("its tensors end at byte"));
  EXPECT_THAT(error_of_header("{}", 1), HasSubstr("its tensors end at byte 10, but it has 11"));
  EXPECT_THAT(error_of_header("{" + a + "}", 1),
              HasSubstr("tensor 'a': data_offsets [0, 2] do not lie within the 1 bytes of data"));
  EXPECT_THAT(error_of_header("{" + u8("a", "[0]", "[2,1]") + "}", 2), HasSubstr("do not lie"));
  EXPECT_THAT(error_of_header("{" + u8("a", "[1]", "[0]") + "}", 1),
              HasSubstr("data_offsets has 1 numbers, and must have 2"));
  EXPECT_THAT(error_of_header("{" + a + "," + a + "}", 2),
              HasSubstr("there are two tensors of the name 'a'"));
}

TEST(SafetensorsTest, AShapeMustNeedTheBytesThatItHas) {
  const auto with = [](const std::string& type, const std::string& shape, std::size_t bytes) {
    return error_of_header(R"({"t":{"dtype":")" + type + R"(","shape":)" + shape +
                               R"(,"data_offsets":[0,)" + std::to_string(bytes) + "]}}",
                           bytes);
  };
  EXPECT_EQ(with("F32", "[2,3]", 24), "no error");
  EXPECT_EQ(with("F32", "[2,3]", 23),
            "x.safetensors: tensor 't': shape [2, 3] of F32 needs 24 bytes, and has 23");
  EXPECT_THAT(with("F64", "[]", 4), HasSubstr("needs 8 bytes, and has 4"));
  // 2^62 * 2^62 is 0 modulo 2^64, and 2^61 * 8 bytes too.
  EXPECT_THAT(with("U8", "[4611686018427387904,4611686018427387904]", 0),
              HasSubstr("needs more than 2^64 bytes, and has 0"));
  EXPECT_THAT(with("F64", "[2305843009213693952]", 0), HasSubstr("more than 2^64"));
  EXPECT_EQ(with("F64", "[9223372036854775807,9223372036854775807,0]", 0), "no error");
  EXPECT_THAT(with("F8_E4M3", "[1]", 1), HasSubstr("dtype 'F8_E4M3' is not known"));
}

TEST(SafetensorsTest, AFileThatIsNotThereOrIsADirectoryIsSaidToBe) {
  const testing_support::TemporaryFolder folder;
  EXPECT_THROW(SafetensorsFile(folder.path() / "absent"), IoError);
  try {
    SafetensorsFile file(folder.path());
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("is no regular file"));
  }
}

TEST(SafetensorsTest, AHeaderThatCouldNotBeReadAgainIsNotWritten) {
  EXPECT_THROW(SafetensorsWriter([](std::string_view) {}, {},
                                 {{"x", std::string(kLongestSafetensorsHeader, 'x')}}),
               DataError);
}

}  // namespace
}  // namespace slackline
