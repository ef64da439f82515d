#pragma once

#include <cmath>
#include <cstdint>

#include "bodies/reduce.h"
#include "bodies/vector.h"
#include "net_cuda/kernels.h"

/// Softmax cross-entropy with its derivative, and the sums of a step.
namespace slackline::net::cuda::bodies {

/// One sample a block. A label that is no class, which the host has refused, makes the loss not a
/// number and reads nothing.
template <class T>
struct SampleLoss {
  static constexpr const char* kName = "softmax_loss";
  static constexpr int kThreads = 128;
  struct Sums {
    float total, above;  ///< of exp(logit - highest) and of logit - highest
    std::int32_t ahead;  ///< logits that go before the label's
  };
  struct Shared {
    float highest[kThreads];
    Sums sums[kThreads];
  };

  const T* logits;
  const std::int32_t* labels;
  std::int64_t classes;
  float smoothing;
  std::int32_t global_batch_size;
  const LossScale* loss_scale;
  T* dlogits;
  StepSums* per_sample;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    const T* row = logits + block.x() * classes;
    const std::int64_t label = labels[block.x()];
    const bool is_class = label >= 0 && label < classes;
    const float of_label = is_class ? to_float(row[label]) : kNotANumber;

    float largest = -kInfinity;
    for (std::int64_t i = block.thread(); i < classes; i += kThreads) {
      largest = most(largest, to_float(row[i]));
    }
    const float highest = reduce<kThreads>(block, shared.highest, largest,
                                           [](float a, float b) { return most(a, b); });
    Sums mine{0, 0, 0};
    for (std::int64_t i = block.thread(); i < classes; i += kThreads) {
      const float logit = to_float(row[i]);
      mine.total += std::exp(logit - highest);
      mine.above += logit - highest;
      mine.ahead += logit > of_label || (logit == of_label && i < label) ? 1 : 0;
    }
    const Sums sums = reduce<kThreads>(block, shared.sums, mine, [](const Sums& a, const Sums& b) {
      return Sums{a.total + b.total, a.above + b.above, a.ahead + b.ahead};
    });
    const float log_total = std::log(sums.total);
    const auto count = static_cast<float>(classes);
    if (block.thread() == 0) {
      StepSums& of_sample = per_sample[block.x()];
      of_sample.loss = static_cast<double>(log_total - (1 - smoothing) * (of_label - highest) -
                                           smoothing * (sums.above / count));
      of_sample.correct = is_class && sums.ahead == 0 ? 1 : 0;
      of_sample.samples = 1;
      of_sample.correct_top5 = is_class && sums.ahead < 5 ? 1 : 0;
      of_sample.penalty = 0;
    }
    if (dlogits == nullptr) return;
    const float scale = loss_scale->scale / static_cast<float>(global_batch_size);
    const float spread = smoothing / count;
    for (std::int64_t i = block.thread(); i < classes; i += kThreads) {
      const float target = i == label ? spread + (1 - smoothing) : spread;
      const float share = std::exp(to_float(row[i]) - highest - log_total);
      dlogits[block.x() * classes + i] = from_float<T>(scale * (share - target));
    }
  }
};

/// The sums of all samples, by one block.
struct StepLoss {
  static constexpr const char* kName = "sum_losses";
  static constexpr int kThreads = 256;
  struct Sums {
    double loss;
    std::int64_t correct, correct_top5;
  };
  struct Shared {
    Sums sums[kThreads];
  };

  const StepSums* per_sample;
  std::int64_t n;
  const double* penalty;
  StepSums* step;

  template <class Block>
  SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const {
    Sums mine{0, 0, 0};
    for (std::int64_t i = block.thread(); i < n; i += kThreads) {
      mine.loss += per_sample[i].loss;
      mine.correct += per_sample[i].correct;
      mine.correct_top5 += per_sample[i].correct_top5;
    }
    const Sums sums = reduce<kThreads>(block, shared.sums, mine, [](const Sums& a, const Sums& b) {
      return Sums{a.loss + b.loss, a.correct + b.correct, a.correct_top5 + b.correct_top5};
    });
    if (block.thread() != 0) return;
    step->loss = sums.loss;
    step->correct = sums.correct;
    step->samples = n;
    step->correct_top5 = sums.correct_top5;
    step->penalty = penalty == nullptr ? 0 : *penalty * static_cast<double>(n);
  }
};

template <class T, class Launch>
void softmax_loss(const Launch& launch, const SoftmaxLossArgs& args) {
  launch(Grid{args.n}, SampleLoss<T>{static_cast<const T*>(args.logits), args.labels, args.classes,
                                     args.smoothing, args.global_batch_size, args.loss_scale,
                                     static_cast<T*>(args.dlogits), args.per_sample});
  launch(Grid{}, StepLoss{args.per_sample, args.n, args.penalty, args.sums});
}

}  // namespace slackline::net::cuda::bodies
