#include "nn/model_checks.h"

#include <slackline/error.h>

#include <cstddef>

namespace slackline::nn {
namespace {

std::string name_of(const ImageShape& shape) {
  return text("(", shape.height, ", ", shape.width, ", ", shape.channels, ")");
}

}  // namespace

void check_images_on_cpu(const ModelSpec& spec, const std::string& model) {
  if (spec.device.kind != DeviceKind::kCpu) {
    throw ConfigError(text("model ", model, ": device ", spec.device.index,
                           " is a GPU, and this model computes on the CPU only"));
  }
  if (spec.image.channels != 3) {
    throw ConfigError(text("model ", model, ": images have ", spec.image.channels,
                           " channels, and this model takes 3 (RGB)"));
  }
}

void check_spec(const ModelSpec& spec, const std::string& model) {
  check_images_on_cpu(spec, model);
  if (spec.optimizer.kind != OptimizerKind::kSgd || spec.optimizer.weight_decay != 0) {
    std::string asked = spec.optimizer.kind == OptimizerKind::kSgd ? "" : "kind = \"lars\"";
    if (spec.optimizer.weight_decay != 0) {
      asked += text(asked.empty() ? "" : " and ", "weight_decay = ", spec.optimizer.weight_decay);
    }
    throw ConfigError(text("model ", model,
                           ": knows SGD with momentum and no decay only; [optimizer] asks for ",
                           asked));
  }
}

void check_batch(const Batch& batch, const ModelSpec& spec) {
  const auto size = static_cast<std::size_t>(batch.size < 0 ? 0 : batch.size);
  if (batch.size < 0 || batch.size > spec.max_batch_size || !(batch.shape == spec.image) ||
      batch.images.size() != size * spec.image.size() || batch.labels.size() != size) {
    throw PluginError(text("batch ", batch.index, ": ", batch.size, " images of shape ",
                           name_of(batch.shape), ", ", batch.images.size(), " bytes and ",
                           batch.labels.size(), " labels; the model was built for at most ",
                           spec.max_batch_size, " images of shape ", name_of(spec.image)));
  }
  for (std::size_t i = 0; i < size; ++i) {
    const std::int32_t label = batch.labels[i];
    if (label < 0 || label >= spec.num_classes) {
      throw DataError(text("epoch ", batch.epoch, ", batch ", batch.index, ", sample ", i,
                           ": label ", label, " is not in 0..", spec.num_classes - 1,
                           " (num_classes is ", spec.num_classes, ")"));
    }
  }
}

}  // namespace slackline::nn
