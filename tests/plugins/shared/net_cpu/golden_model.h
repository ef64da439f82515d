#pragma once

// The plugin resnet_cpu as a case of tests/golden/resnet has it, through the registry.

#include <slackline/model.h>

#include <memory>
#include <string>
#include <vector>

#include "golden_case.h"
#include "test_host.h"

namespace slackline::testing_support {

inline ImageShape image_shape(const GoldenCase& golden) {
  return {static_cast<std::int32_t>(golden.spec().height),
          static_cast<std::int32_t>(golden.spec().width), 3};
}

/// Built, with weights of its own.
inline std::unique_ptr<Model> make_model(const GoldenCase& golden, const OptimizerSpec& optimizer,
                                         double label_smoothing, Host& host) {
  const net::ResnetSpec spec = golden.spec();
  auto model = make_plugin<Model>(
      "resnet_cpu",
      {{"depth", spec.depth},
       {"padding", std::string(spec.padding == net::Padding::kSame ? "same" : "symmetric")},
       {"label_smoothing", label_smoothing},
       {"std", std::vector<double>{58, 58, 58}}},
      host);
  model->build({.image = image_shape(golden),
                .max_batch_size = static_cast<std::int32_t>(spec.batch_size),
                .num_classes = static_cast<std::int32_t>(spec.classes),
                .seed = 1,
                .device = {},
                .optimizer = optimizer,
                .cpu_threads = 2});
  return model;
}

}  // namespace slackline::testing_support
