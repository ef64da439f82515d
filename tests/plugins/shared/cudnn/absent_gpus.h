#pragma once

// GPUs that need not be there, and what ResNet-50 asks of them.

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "cudnn/choose.h"
#include "cudnn/patterns.h"
#include "cudnn/target.h"
#include "net/resnet.h"

namespace slackline::cudnn::testing_support {

inline std::filesystem::path folder() {
  return std::filesystem::path(SLACKLINE_TEST_SOURCE_DIR) / "tests/plugins/shared/cudnn";
}

/// Of "h100" or "h200".
inline std::string properties_of(const std::string& gpu) {
  const std::filesystem::path file = folder() / "properties" / (gpu + ".json");
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  if (!in) throw std::runtime_error("cannot read " + file.string());
  return out.str();
}

inline Target absent(const std::string& gpu) { return Target::of_properties(properties_of(gpu)); }

/// What can be finalised with and without a driver alike.
inline Policy precompiled() { return {.runtime_compiled = false}; }

/// What resnet_cudnn asks for, if its user asks for nothing else.
inline Policy of_resnet_cudnn() { return {.deterministic = true, .runtime_compiled = false}; }

/// Which of a convolution's derivatives a network computes.
struct Layer {
  ConvShape shape;
  bool has_backward_data = true;  ///< the first one's input needs no gradient
};

/// Every distinct convolution of ResNet-50, the dense layer included. Images have 4 channels.
inline std::vector<Layer> resnet50_layers(cudnnDataType_t type, std::int64_t n,
                                          net::Padding padding, std::int64_t classes = 1001) {
  const net::Program program =
      net::build_resnet({.depth = 50, .batch_size = n, .classes = classes, .padding = padding});
  std::vector<Layer> layers;
  std::set<std::string> seen;
  for (const net::Op& op : program.ops) {
    Layer layer;
    if (const auto* each = std::get_if<net::Conv>(&op)) {
      layer.shape = {.type = type,
                     .x = program.tensor(each->x).extents,
                     .out_channels = program.tensor(each->weight).extents[0],
                     .window = each->window};
      if (layer.shape.x[1] == 3) layer = {.shape = layer.shape, .has_backward_data = false};
      if (layer.shape.x[1] == 3) layer.shape.x[1] = 4;
    } else if (const auto* dense = std::get_if<net::Dense>(&op)) {
      const net::Extents weight = program.tensor(dense->weight).extents;
      layer.shape = dense_shape(type, n, weight[1], weight[0]);
    } else {
      continue;
    }
    if (seen.insert(conv(layer.shape).signature()).second) layers.push_back(layer);
  }
  return layers;
}

}  // namespace slackline::cudnn::testing_support
