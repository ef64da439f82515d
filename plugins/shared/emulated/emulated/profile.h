#pragma once

namespace slackline::emulated {

/// An accelerator whose speed is publicly known, or follows from what is.
enum class Profile { kNone, kV100, kA100, kH100, kH200 };

/// How fast an accelerator is. 0 is unknown.
struct Speed {
  double images_per_s = 0;        ///< ResNet-50 v1.5, 224x224, mixed precision, trained on one
  double upload_bytes_per_s = 0;  ///< from pinned host memory, large copies
};

[[nodiscard]] Speed speed_of(Profile profile);

}  // namespace slackline::emulated
