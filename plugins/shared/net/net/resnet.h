#pragma once

#include "net/program.h"

namespace slackline::net {

/// Where the padding of a strided convolution or pool goes.
enum class Padding : std::uint8_t {
  kSame,       ///< TensorFlow's: as little as possible, the odd pixel at the bottom and the right
  kSymmetric,  ///< PyTorch's: kernel / 2 on every side
};

struct ResnetSpec {
  std::int32_t depth = 50;      ///< 18, 34, 50; 20, 56 are CIFAR's
  std::int64_t batch_size = 1;  ///< the largest
  std::int64_t height = 224, width = 224;
  std::int64_t classes = 1000;
  Padding padding = Padding::kSame;
  Fusion fusion = Fusion::kBatchNorm;
  float label_smoothing = 0;
};

/// Whether there is a network of this depth.
[[nodiscard]] bool is_resnet_depth(std::int32_t depth);

/// The smallest height or width that such a network can take.
[[nodiscard]] std::int64_t smallest_image(std::int32_t depth);

/// A training step of a residual network, forward and backward.
///
/// 18, 34, 50: He et al. (2015), "v1.5": a bottleneck's stride is on its 3x3 convolution, as in
/// tensorflow/models' Keras ResNet-50 and in torchvision. 20, 56 (6n + 2): tensorflow/models' Keras
/// network for CIFAR: three stages of 16, 32 and 64 channels, whose first blocks all have a
/// projection. Parameters have torchvision's names and come in the order of its state dictionary.
///
/// The stem's 7x7 convolution is padded by 3 on all sides with either padding, as upstream's is.
[[nodiscard]] Program build_resnet(const ResnetSpec& spec);

}  // namespace slackline::net
