#include "cudnn/target.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include <nlohmann/json.hpp>

#include "cuda/runtime.h"
#include "descriptor.h"

namespace slackline::cudnn {
namespace {

using Json = nlohmann::json;

// Descriptors of a device's properties are there since 9.8, as
// github.com/NVIDIA/cudnn-frontend has it in include/cudnn_frontend/backend/device_properties.h.
constexpr std::size_t kOldestVersion = 90800;

void require_library() {
  if (const std::string why = why_unavailable(); !why.empty()) throw DeviceError(why);
}

// What cuDNN 9.19 insists on. It does not say which of them it misses; this does.
constexpr std::array kTriples = {"maxGridSize", "maxBlockSize"};
constexpr std::array kNumbers = {"cudaDeviceId",
                                 "deviceVer",
                                 "driverVer",
                                 "isTccDriver",
                                 "l2CacheSize",
                                 "maxCtasPerSM",
                                 "maxRegistersPerSM",
                                 "maxSharedMemoryPerBlock",
                                 "maxSharedMemoryPerBlockOptin",
                                 "maxThreadsPerBlock",
                                 "maxThreadsPerSM",
                                 "memClockRateKHz",
                                 "multiProcessorCount",
                                 "pciDeviceId",
                                 "regsPerBlock",
                                 "reservedSharedMemoryPerBlock",
                                 "smClockRateKHz",
                                 "supportCoopLaunch",
                                 "totalGlobalMem",
                                 "warpSize"};

/// The property, which `is` what it should be: "a number".
const Json& property(const Json& properties, const char* key, bool (Json::*is)() const noexcept,
                     const char* what) {
  const auto found = properties.find(key);
  if (found == properties.end()) throw DeviceError(text("device properties: no '", key, "'"));
  if (!((*found).*is)()) {
    throw DeviceError(
        text("device properties: '", key, "' is ", found->dump(), ", and should be ", what));
  }
  return *found;
}

Json parse_properties(std::string_view json) {
  try {
    Json properties = Json::parse(json);
    if (properties.is_object()) return properties;
  } catch (const Json::parse_error& error) {
    throw DeviceError(text("device properties: no JSON at byte ", error.byte));
  }
  throw DeviceError("device properties: not a JSON object");
}

void check_properties(const Json& properties) {
  (void)property(properties, "deviceName", &Json::is_string, "a string");
  for (const char* key : kNumbers) (void)property(properties, key, &Json::is_number, "a number");
  for (const char* key : kTriples) {
    const Json& value = property(properties, key, &Json::is_array, "a list of three numbers");
    const bool are_numbers = std::ranges::all_of(value, &Json::is_number);
    if (value.size() != 3 || !are_numbers) {
      throw DeviceError(text("device properties: '", key, "' is ", value.dump(),
                             ", and should be a list of three numbers"));
    }
  }
}

/// CUDA's own words for the calling thread's device.
DeviceIdentity identity_of_device() {
  int device = 0;
  cudaDeviceProp of{};
  cuda::check(cudaGetDevice(&device), "ask which device is used");
  cuda::check(cudaGetDeviceProperties(&of, device), "read the device's properties");
  return {.name = of.name, .sm = 10 * of.major + of.minor};
}

}  // namespace

std::string identified(std::string properties, const std::function<DeviceIdentity()>& identity) {
  Json json = Json::parse(properties, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) json = Json::object();
  const auto has = [&](const char* key, bool (Json::*is)() const noexcept) {
    const auto found = json.find(key);
    return found != json.end() && ((*found).*is)();
  };
  if (has("deviceName", &Json::is_string) && has("deviceVer", &Json::is_number)) return properties;
  const DeviceIdentity device = identity();
  json["deviceName"] = device.name;
  json["deviceVer"] = 10 * device.sm;
  return json.dump();
}

Target::Target(Handle handle, std::unique_ptr<Descriptor> descriptor, std::string properties)
    : handle_(std::move(handle)),
      descriptor_(std::move(descriptor)),
      properties_(std::move(properties)) {
  const Json json = parse_properties(properties_);
  name_ = property(json, "deviceName", &Json::is_string, "a string").get<std::string>();
  sm_ = property(json, "deviceVer", &Json::is_number, "a number").get<int>() / 10;
}

Target::Target(Target&&) noexcept = default;
Target& Target::operator=(Target&&) noexcept = default;
Target::~Target() = default;

Target Target::of_device() {
  require_library();
  cudnnHandle_t raw = nullptr;
  check(cudnnCreate(&raw), "start cuDNN on this device");
  Handle handle(raw);
  auto descriptor = std::make_unique<Descriptor>(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  descriptor->set(CUDNN_ATTR_DEVICEPROP_HANDLE, handle.get());
  descriptor->finalise("read the device's properties");
  std::string properties = identified(
      descriptor->get_text(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION), identity_of_device);
  return {std::move(handle), std::move(descriptor), std::move(properties)};
}

Target Target::of_properties(std::string_view json) {
  require_library();
  check_properties(parse_properties(json));
  auto descriptor = std::make_unique<Descriptor>(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  descriptor->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<const char>(json));
  descriptor->finalise("use these device properties");
  return {nullptr, std::move(descriptor), std::string(json)};
}

cudnnBackendDescriptor_t Target::descriptor() const { return descriptor_->get(); }

std::size_t library_version() { return cudnnGetVersion(); }

std::string version_text(std::size_t version) {
  return text(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

std::string why_unavailable() {
  if (library_version() >= kOldestVersion) return "";
  return text("cuDNN ", version_text(library_version()), " is loaded, and 9.8 or later is needed");
}

}  // namespace slackline::cudnn
