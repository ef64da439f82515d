#pragma once

#include <slackline/batch.h>
#include <slackline/model.h>

#include <string>

namespace slackline::nn {

/// Throws ConfigError if `spec` asks for another device than the CPU or for other images than RGB.
/// `model` is its name in the message.
void check_images_on_cpu(const ModelSpec& spec, const std::string& model);

/// The same, and if it asks for more than SGD with momentum.
void check_spec(const ModelSpec& spec, const std::string& model);

/// Throws DataError for a label outside the classes of `spec`, and PluginError for a batch that is
/// larger or of another shape than `spec` said: whoever made it broke its promise.
void check_batch(const Batch& batch, const ModelSpec& spec);

}  // namespace slackline::nn
