#pragma once

// Every residual network in every form, for what has to hold in all of them.

#include <sstream>
#include <string>
#include <vector>

#include "net/resnet.h"

namespace slackline::net::testing_support {

inline std::vector<ResnetSpec> all_resnets() {
  std::vector<ResnetSpec> all;
  for (const std::int32_t depth : {18, 34, 50, 20, 56}) {
    for (const Padding padding : {Padding::kSame, Padding::kSymmetric}) {
      for (const Fusion fusion : {Fusion::kSeparate, Fusion::kBatchNorm}) {
        const std::int64_t size = depth == 20 || depth == 56 ? 32 : 224;
        all.push_back({.depth = depth,
                       .batch_size = 4,
                       .height = size,
                       .width = size,
                       .classes = 10,
                       .padding = padding,
                       .fusion = fusion});
      }
    }
  }
  return all;
}

/// For messages.
inline std::string name_of(const ResnetSpec& spec) {
  std::ostringstream name;
  name << "ResNet-" << spec.depth
       << (spec.padding == Padding::kSame ? ", same padding" : ", symmetric padding")
       << (spec.fusion == Fusion::kSeparate ? ", separate" : ", fused");
  return name.str();
}

}  // namespace slackline::net::testing_support
