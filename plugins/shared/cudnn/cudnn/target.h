#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <cudnn_graph.h>

namespace slackline::cudnn {

class Descriptor;

/// What plans are made for: a device, or the properties of one that need not be there. With
/// properties alone, everything works but running a plan; engines that are compiled at run time
/// need a driver, too.
///
/// Lifecycle  outlives the plans that are made for it.
/// Threads    one thread at a time makes plans for a target of a device, as its handle is shared.
/// Errors     DeviceError.
class Target {
 public:
  /// The calling thread's device.
  [[nodiscard]] static Target of_device();
  /// A device described by what `properties()` of one returned.
  [[nodiscard]] static Target of_properties(std::string_view json);

  Target(Target&&) noexcept;
  Target& operator=(Target&&) noexcept;
  ~Target();

  /// A JSON object in cuDNN's own terms.
  [[nodiscard]] const std::string& properties() const { return properties_; }
  [[nodiscard]] const std::string& name() const { return name_; }  ///< "NVIDIA H100 80GB HBM3"
  [[nodiscard]] int sm() const { return sm_; }                     ///< 90 for 9.0

  /// Null without a device.
  [[nodiscard]] cudnnHandle_t handle() const { return handle_.get(); }
  /// For cuDNN's attributes; borrowed.
  [[nodiscard]] cudnnBackendDescriptor_t descriptor() const;

 private:
  struct Destroy {
    void operator()(cudnnHandle_t handle) const noexcept { (void)cudnnDestroy(handle); }
  };
  using Handle = std::unique_ptr<std::remove_pointer_t<cudnnHandle_t>, Destroy>;

  Target(Handle handle, std::unique_ptr<Descriptor> descriptor, std::string properties);

  Handle handle_;
  std::unique_ptr<Descriptor> descriptor_;
  std::string properties_;
  std::string name_;
  int sm_ = 0;
};

/// How a device is told from others.
struct DeviceIdentity {
  std::string name;  ///< "NVIDIA H100 80GB HBM3"
  int sm = 0;        ///< 90 for 9.0
};
/// cuDNN's `properties` of a device with its name and version, where they have none or are no JSON
/// object: these are then asked for.
[[nodiscard]] std::string identified(std::string properties,
                                     const std::function<DeviceIdentity()>& identity);

/// Of the library that is loaded, not the one that was compiled against: 91900 for 9.19.0.
[[nodiscard]] std::size_t library_version();
/// "9.19.0" for 91900.
[[nodiscard]] std::string version_text(std::size_t version);

/// Why that library cannot be used: "cuDNN 9.7.1 is loaded, and 9.8 or later is needed"; empty if
/// it can.
[[nodiscard]] std::string why_unavailable();

}  // namespace slackline::cudnn
