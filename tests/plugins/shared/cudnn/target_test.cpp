// Descriptions of GPUs that are not there, right and wrong.

#include "cudnn/target.h"

#include <slackline/error.h>

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absent_gpus.h"
#include "cuda/runtime.h"

namespace slackline::cudnn {
namespace {

using Json = nlohmann::json;

std::string error_of(const std::string& properties) {
  try {
    (void)Target::of_properties(properties);
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "no error";
}

TEST(TargetTest, VersionsReadAsTheyAreWritten) {
  EXPECT_EQ(version_text(91900), "9.19.0");
  EXPECT_EQ(version_text(90701), "9.7.1");
  EXPECT_EQ(version_text(100012), "10.0.12");
}

TEST(TargetTest, TheLibraryOfThisBuildIsNewEnough) { EXPECT_EQ(cudnn::why_unavailable(), ""); }

TEST(TargetTest, PropertiesNameTheDeviceAndItsArchitecture) {
  const Target target = testing_support::absent("h200");
  EXPECT_EQ(target.name(), "NVIDIA H200");
  EXPECT_EQ(target.sm(), 90);
  EXPECT_EQ(target.handle(), nullptr);
  EXPECT_EQ(target.properties(), testing_support::properties_of("h200"));
}

TEST(TargetTest, EveryPropertyOfTheFilesIsNeededAndItsAbsenceIsNamed) {
  const Json all = Json::parse(testing_support::properties_of("h100"));
  EXPECT_EQ(all.size(), 23U);
  for (const auto& [key, value] : all.items()) {
    Json others = all;
    others.erase(key);
    EXPECT_EQ(error_of(others.dump()), "device properties: no '" + key + "'");
  }
}

TEST(TargetTest, ValuesOfAnotherTypeAreNamed) {
  const Json all = Json::parse(testing_support::properties_of("h100"));
  const auto error_with = [&](const char* key, const Json& value) {
    Json other = all;
    other[key] = value;
    return error_of(other.dump());
  };
  EXPECT_EQ(error_with("multiProcessorCount", "many"),
            "device properties: 'multiProcessorCount' is \"many\", and should be a number");
  EXPECT_EQ(error_with("deviceName", 100),
            "device properties: 'deviceName' is 100, and should be a string");
  for (const Json& value : {Json(1), Json({1, 2}), Json({1, 2, "3"})}) {
    EXPECT_EQ(error_with("maxGridSize", value), "device properties: 'maxGridSize' is " +
                                                    value.dump() +
                                                    ", and should be a list of three numbers");
  }
}

TEST(TargetTest, WhatIsNoJsonIsRefusedWithItsPlace) {
  EXPECT_EQ(error_of(""), "device properties: no JSON at byte 1");
  EXPECT_EQ(error_of("{\"deviceName\": }"), "device properties: no JSON at byte 16");
  EXPECT_EQ(error_of("[]"), "device properties: not a JSON object");
}

TEST(TargetTest, ADeviceThatCudnnDoesNotNameIsNamedByCuda) {
  const Json all = Json::parse(testing_support::properties_of("h100"));
  const auto cuda = [] { return DeviceIdentity{.name = "NVIDIA H100", .sm = 90}; };
  Json named = all;
  named["deviceName"] = "NVIDIA H100";
  for (const char* key : {"deviceName", "deviceVer"}) {
    Json without = all, wrong = all;
    without.erase(key);
    wrong[key] = nullptr;
    EXPECT_EQ(Json::parse(identified(without.dump(), cuda)), named) << key;
    EXPECT_EQ(Json::parse(identified(wrong.dump(), cuda)), named) << key;
    EXPECT_EQ(Target::of_properties(identified(without.dump(), cuda)).name(), "NVIDIA H100");
  }
  for (const char* text : {"", "[]", "{\"deviceName\": }"}) {
    EXPECT_EQ(identified(text, cuda), "{\"deviceName\":\"NVIDIA H100\",\"deviceVer\":900}");
  }
}

TEST(TargetTest, WhatCudnnSaysOfADeviceStaysAsItIs) {
  const std::string properties = testing_support::properties_of("h100");
  EXPECT_EQ(identified(properties,
                       []() -> DeviceIdentity { throw DeviceError("CUDA need not be asked"); }),
            properties);
}

TEST(TargetTest, AMachineWithoutADeviceSaysSo) {
  if (cuda::why_unavailable().empty()) GTEST_SKIP() << "there is a device";
  try {
    (void)Target::of_device();
    FAIL() << "made";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(),
                testing::HasSubstr("cannot start cuDNN on this device: CUDNN_STATUS"));
  }
}

}  // namespace
}  // namespace slackline::cudnn
