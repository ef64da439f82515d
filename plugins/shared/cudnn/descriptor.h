#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <cudnn_graph.h>

namespace slackline::cudnn {

/// "CUDNN_STATUS_NOT_SUPPORTED: cuDNN's last message on this thread".
[[nodiscard]] std::string words_of(cudnnStatus_t status);

/// Throws DeviceError: "cannot <what>: <words_of(status)>".
void check(cudnnStatus_t status, std::string_view what);

/// How cuDNN calls the type of an attribute's values. void* is a descriptor here.
template <class T>
inline constexpr cudnnBackendAttributeType_t kAttributeType = [] {
  static_assert(sizeof(T) == 0, "no attribute has this type");
  return CUDNN_TYPE_CHAR;
}();
template <>
inline constexpr auto kAttributeType<cudnnHandle_t> = CUDNN_TYPE_HANDLE;
template <>
inline constexpr auto kAttributeType<cudnnDataType_t> = CUDNN_TYPE_DATA_TYPE;
template <>
inline constexpr auto kAttributeType<bool> = CUDNN_TYPE_BOOLEAN;
template <>
inline constexpr auto kAttributeType<std::int64_t> = CUDNN_TYPE_INT64;
template <>
inline constexpr auto kAttributeType<float> = CUDNN_TYPE_FLOAT;
template <>
inline constexpr auto kAttributeType<char> = CUDNN_TYPE_CHAR;
template <>
inline constexpr auto kAttributeType<cudnnBackendDescriptor_t> = CUDNN_TYPE_BACKEND_DESCRIPTOR;
template <>
inline constexpr auto kAttributeType<cudnnConvolutionMode_t> = CUDNN_TYPE_CONVOLUTION_MODE;
template <>
inline constexpr auto kAttributeType<cudnnPointwiseMode_t> = CUDNN_TYPE_POINTWISE_MODE;
template <>
inline constexpr auto kAttributeType<cudnnGenStatsMode_t> = CUDNN_TYPE_GENSTATS_MODE;
template <>
inline constexpr auto kAttributeType<cudnnBnFinalizeStatsMode_t> =
    CUDNN_TYPE_BN_FINALIZE_STATS_MODE;
template <>
inline constexpr auto kAttributeType<cudnnBackendNormMode_t> = CUDNN_TYPE_NORM_MODE;
template <>
inline constexpr auto kAttributeType<cudnnBackendNormFwdPhase_t> = CUDNN_TYPE_NORM_FWD_PHASE;
template <>
inline constexpr auto kAttributeType<cudnnBackendHeurMode_t> = CUDNN_TYPE_HEUR_MODE;
template <>
inline constexpr auto kAttributeType<cudnnBackendKnobType_t> = CUDNN_TYPE_KNOB_TYPE;
template <>
inline constexpr auto kAttributeType<cudnnBackendNumericalNote_t> = CUDNN_TYPE_NUMERICAL_NOTE;
template <>
inline constexpr auto kAttributeType<cudnnBackendBehaviorNote_t> = CUDNN_TYPE_BEHAVIOR_NOTE;

/// Owns one descriptor of cuDNN's backend: attributes are set, then it is finalised, then
/// attributes can be read.
///
/// Errors     DeviceError, with the attribute's number in cudnn_graph.h.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);

  [[nodiscard]] cudnnBackendDescriptor_t get() const { return descriptor_.get(); }

  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, const T& value) {
    set_raw(name, kAttributeType<T>, 1, &value);
    return *this;
  }
  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    set_raw(name, kAttributeType<T>, static_cast<std::int64_t>(values.size()), values.data());
    return *this;
  }
  /// Of things that are no descriptors.
  Descriptor& set_pointers(cudnnBackendAttributeName_t name, std::span<void* const> pointers) {
    set_raw(name, CUDNN_TYPE_VOID_PTR, static_cast<std::int64_t>(pointers.size()), pointers.data());
    return *this;
  }

  /// `what` completes "cannot …".
  void finalise(std::string_view what) { check(try_finalise(), what); }
  [[nodiscard]] cudnnStatus_t try_finalise() { return cudnnBackendFinalize(get()); }

  template <class T>
  [[nodiscard]] T get_one(cudnnBackendAttributeName_t name) const {
    T value{};
    read_raw(name, kAttributeType<T>, 1, &value);
    return value;
  }
  /// All values, however many there are.
  template <class T>
  [[nodiscard]] std::vector<T> get_all(cudnnBackendAttributeName_t name) const {
    std::vector<T> values(static_cast<std::size_t>(read_raw(name, kAttributeType<T>, 0, nullptr)));
    if (values.empty()) return values;
    const auto size = static_cast<std::int64_t>(values.size());
    values.resize(static_cast<std::size_t>(read_raw(name, kAttributeType<T>, size, values.data())));
    return values;
  }
  [[nodiscard]] std::string get_text(cudnnBackendAttributeName_t name) const;
  /// Descriptors are written into ones that the caller has made; these are copies.
  [[nodiscard]] Descriptor get_descriptor(cudnnBackendAttributeName_t name,
                                          cudnnBackendDescriptorType_t type) const;
  /// At most `capacity` of them.
  [[nodiscard]] std::vector<Descriptor> get_descriptors(cudnnBackendAttributeName_t name,
                                                        cudnnBackendDescriptorType_t type,
                                                        std::int64_t capacity) const;
  /// How many there are. Not every attribute knows that before it is read: some say 0.
  [[nodiscard]] std::int64_t count_descriptors(cudnnBackendAttributeName_t name) const {
    return read_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  }

 private:
  struct Destroy {
    void operator()(cudnnBackendDescriptor_t descriptor) const noexcept {
      (void)cudnnBackendDestroyDescriptor(descriptor);
    }
  };

  void set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
               std::int64_t count, const void* values);
  /// Returns how many there are; for a capacity of 0 that is all it does.
  std::int64_t read_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                        std::int64_t capacity, void* values) const;

  std::unique_ptr<void, Destroy> descriptor_;
};

}  // namespace slackline::cudnn
