#include "device_net.h"

#include <slackline/file_ops.h>

#include <algorithm>
#include <cstddef>
#include <span>

namespace slackline::bench {
namespace {

net::Normalisation upstreams_normalisation() { return {.mean = {123.68f, 116.78f, 103.94f}}; }

}  // namespace

DeviceNet::DeviceNet(const NetOptions& options)
    : options_(options),
      runtime_(cuda::runtime()),
      stream_(cuda::make_stream(runtime_)),
      target_(cudnn::Target::of_device()),
      plans_(options.plan_cache.empty() ? cudnn::PlanCache()
                                        : cudnn::PlanCache::load(options.plan_cache)),
      executor_(net::build_resnet({.depth = options.depth,
                                   .batch_size = options.batch,
                                   .height = options.image,
                                   .width = options.image,
                                   .classes = options.classes,
                                   .padding = net::Padding::kSymmetric,
                                   .fusion = options.fusion}),
                {.precision = options.precision,
                 .normalisation = upstreams_normalisation(),
                 .optimizer = {.momentum = 0.9f},
                 // Dynamic where it is needed, as PyTorch's GradScaler: gradients are looked at.
                 .loss_scale = options.precision == net::cuda::Precision::kFloat16 ? 128.0f : 1.0f,
                 .is_loss_scale_dynamic = options.precision == net::cuda::Precision::kFloat16,
                 .policy = {.deterministic = true, .tf32 = options.tf32, .runtime_compiled = false},
                 .plan_cache = options.plan_cache.empty() ? nullptr : &plans_},
                target_, runtime_, stream_.get()),
      trainer_(executor_, options.launch, runtime_, stream_.get()),
      images_(runtime_, static_cast<std::size_t>(options.batch) *
                            static_cast<std::size_t>(options.image * options.image * 3)),
      labels_(runtime_, static_cast<std::size_t>(options.batch)),
      sums_(runtime_, 1) {
  if (!options.plan_cache.empty()) plans_.save(system_file_ops(), options.plan_cache);
  executor_.set_initial_values(1);
  make_batch();
}

void DeviceNet::make_batch() {
  const cuda::PinnedBuffer<std::uint8_t> images(runtime_, images_.size());
  const cuda::PinnedBuffer<std::int32_t> labels(runtime_, labels_.size());
  std::uint32_t word = 1;
  for (std::uint8_t& pixel : images.span()) {
    word = word * 1664525u + 1013904223u;
    pixel = static_cast<std::uint8_t>(word >> 24);
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    labels.span()[i] = static_cast<std::int32_t>(i) % options_.classes;
  }
  runtime_.copy(images_.data(), images.data(), images.bytes(), stream_.get());
  runtime_.copy(labels_.data(), labels.data(), labels.bytes(), stream_.get());
  runtime_.synchronize(stream_.get());
}

void DeviceNet::train() {
  trainer_.train({images_.data(), labels_.data(), options_.batch}, options_.batch,
                 {.learning_rate = 0.01f}, *sums_.data());
}

StepSums DeviceNet::finish() {
  runtime_.synchronize(stream_.get());
  return *sums_.data();
}

}  // namespace slackline::bench
