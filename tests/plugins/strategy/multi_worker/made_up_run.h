#pragma once

// The steps that the tests of multi_worker train, as every rank and the test itself make them up.

#include <slackline/crc32c.h>
#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/random.h>
#include <slackline/strategy.h>

#include <cstddef>
#include <cstdint>
#include <ios>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "owned_batch.h"
#include "test_host.h"

namespace slackline::testing_support {

constexpr ImageShape kShape{8, 8, 3};
constexpr std::int32_t kClasses = 5;
constexpr std::int32_t kMaxBatchSize = 4;

inline ModelSpec made_up_spec() {
  return {.image = kShape,
          .max_batch_size = kMaxBatchSize,
          .num_classes = kClasses,
          .seed = 3,
          .device = {},
          .optimizer = {.momentum = 0.9f},
          .cpu_threads = 1};
}

inline std::unique_ptr<Model> make_model(const std::string& name, Host& host) {
  return make_plugin<Model>(
      name, name == "resnet_cpu" ? OptionArguments{{"depth", 20}} : OptionArguments{}, host);
}

/// Every fifth step is an evaluation.
inline StepKind kind_of(std::size_t step) {
  return step % 5 == 3 ? StepKind::kEvaluate : StepKind::kTrain;
}

/// Of changing sizes. Now and then rank 1 has none, when it is trained and when it is evaluated.
inline std::unique_ptr<OwnedBatch> batch_of(std::size_t step, std::int32_t rank) {
  if (rank == 1 && (step % 5 == 2 || step % 10 == 8)) return nullptr;
  const std::uint64_t index = step * 16 + static_cast<std::uint64_t>(rank);
  const std::size_t size = 1 + index * 5 % kMaxBatchSize;
  return testing_support::made_up_batch(kShape, kClasses, index, size);
}

inline StepPlan plan_of(std::size_t step, std::int32_t ranks) {
  StepPlan plan{.kind = kind_of(step), .rule = {.learning_rate = 0.01f}};
  for (std::int32_t rank = 0; rank < ranks; ++rank) {
    if (const auto batch = batch_of(step, rank)) plan.samples += (**batch).size;
  }
  return plan;
}

/// All bits of the loss; one line.
inline std::string describe(const StepSums& sums) {
  return text(std::hexfloat, sums.loss, " ", sums.penalty, " ", sums.correct, " ",
              sums.correct_top5, " ", sums.samples, "\n");
}

/// A line for each tensor, that tells all its bits.
inline std::string describe(TensorStore& store) {
  std::string lines;
  for (std::size_t i = 0; i < store.tensors().size(); ++i) {
    const TensorInfo& tensor = store.tensors()[i];
    if (tensor.role == TensorRole::kGradient) continue;
    std::vector<float> values(tensor.size());
    store.read(i, values);
    lines += text(tensor.name, " ", std::hex, crc32c(std::as_bytes(std::span(values))), "\n");
  }
  return lines;
}

}  // namespace slackline::testing_support
