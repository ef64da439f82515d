#include "descriptor.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>

namespace slackline::cudnn {

std::string words_of(cudnnStatus_t status) {
  std::array<char, 1024> message{};
  cudnnGetLastErrorString(message.data(), message.size());
  std::string words = cudnnGetErrorString(status);
  if (message[0] != '\0') words += std::string(": ") + message.data();
  return words;
}

void check(cudnnStatus_t status, std::string_view what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw DeviceError(text("cannot ", what, ": ", words_of(status)));
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t descriptor = nullptr;
  check(cudnnBackendCreateDescriptor(type, &descriptor),
        text("make a cuDNN descriptor of type ", static_cast<int>(type)));
  descriptor_.reset(descriptor);
}

void Descriptor::set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         std::int64_t count, const void* values) {
  const cudnnStatus_t status = cudnnBackendSetAttribute(get(), name, type, count, values);
  if (status == CUDNN_STATUS_SUCCESS) return;
  check(status, text("set cuDNN's attribute ", static_cast<int>(name)));
}

std::int64_t Descriptor::read_raw(cudnnBackendAttributeName_t name,
                                  cudnnBackendAttributeType_t type, std::int64_t capacity,
                                  void* values) const {
  std::int64_t count = 0;
  const cudnnStatus_t status =
      cudnnBackendGetAttribute(get(), name, type, capacity, &count, values);
  if (status == CUDNN_STATUS_SUCCESS) return count;
  check(status, text("read cuDNN's attribute ", static_cast<int>(name)));
  return 0;
}

std::string Descriptor::get_text(cudnnBackendAttributeName_t name) const {
  const std::vector<char> characters = get_all<char>(name);
  std::string out(characters.begin(), characters.end());
  while (!out.empty() && out.back() == '\0') out.pop_back();
  return out;
}

Descriptor Descriptor::get_descriptor(cudnnBackendAttributeName_t name,
                                      cudnnBackendDescriptorType_t type) const {
  Descriptor out(type);
  cudnnBackendDescriptor_t raw = out.get();
  read_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, static_cast<void*>(&raw));
  return out;
}

std::vector<Descriptor> Descriptor::get_descriptors(cudnnBackendAttributeName_t name,
                                                    cudnnBackendDescriptorType_t type,
                                                    std::int64_t capacity) const {
  std::vector<Descriptor> out;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::int64_t i = 0; i < capacity; ++i) raw.push_back(out.emplace_back(type).get());
  if (raw.empty()) return out;
  const std::int64_t count =
      read_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, capacity, static_cast<void*>(raw.data()));
  out.erase(out.begin() + std::min(count, capacity), out.end());
  return out;
}

}  // namespace slackline::cudnn
