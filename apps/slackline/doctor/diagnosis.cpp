#include "diagnosis.h"

#include <slackline/error.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace slackline::app {
namespace {

/// The stages of a worker in ms an image, and the other resources in ms a step. A stage that is
/// taken away is 0.
struct Model {
  double images_per_step = 0;
  int workers = 0, cpus = 0;
  double fetch = 0, checksum = 0, parse = 0, decode = 0, augment = 0, batch = 0;  ///< an image
  double cpu = 0;                                                                 ///< an image
  double upload = 0, compute = 0, straggler = 0, contention = 0;                  ///< a step

  [[nodiscard]] double image_ms() const {
    return fetch + checksum + parse + decode + augment + batch;
  }

  /// The slowest first.
  [[nodiscard]] std::vector<Bound> bounds() const {
    std::vector<Bound> all = {
        {Resource::kWorkers, images_per_step * image_ms() / workers},
        {Resource::kCpus, images_per_step * cpu / cpus},
        {Resource::kSource, images_per_step * (fetch + checksum)},
        {Resource::kUpload, upload},
        {Resource::kDevice, compute + straggler + contention},
    };
    std::stable_sort(all.begin(), all.end(),
                     [](const Bound& a, const Bound& b) { return a.step_ms > b.step_ms; });
    return all;
  }

  [[nodiscard]] Model without(Stage stage) const {
    Model rest = *this;
    switch (stage) {
      case Stage::kFetch:
        rest.fetch = 0;
        break;
      case Stage::kChecksumAndParse:
        rest.checksum = rest.parse = 0;
        break;
      case Stage::kDecode:
        rest.decode = 0;
        break;
      case Stage::kAugment:
        rest.augment = 0;
        break;
      case Stage::kBatch:
        rest.batch = 0;
        break;
      case Stage::kUpload:
        rest.upload = 0;
        break;
      case Stage::kLaunchContention:
        rest.contention = 0;
        break;
      case Stage::kStraggler:
        rest.straggler = 0;
        break;
      case Stage::kDelivery:
      case Stage::kDevice:
        break;
    }
    // CPU time is known of the sum alone. What remains cannot use more than its time on the clock;
    // that it uses as much is assumed, so that never too much is promised.
    rest.cpu = std::min(cpu, rest.image_ms());
    return rest;
  }
};

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

/// A part that a plugin measured, which cannot be more than the whole that core measured.
double part_of(double whole_ms, std::optional<double> part_ms, const char* part, const char* whole,
               std::vector<std::string>& doubts) {
  if (!part_ms.has_value()) return 0;
  // A little may be: plugins count the warm-up, core does not.
  if (*part_ms > (1 + kModelTolerance) * whole_ms) {
    doubts.push_back(text(part, " is said to take ", *part_ms, " ms an image, and ", whole,
                          ", which it is a part of, took ", whole_ms));
  }
  return std::clamp(*part_ms, 0.0, whole_ms);
}

Model model_of(const Measured& measured, std::vector<std::string>& doubts) {
  const ImageTimes& image = measured.image;
  const double first_ms = image.transforms_ms.empty() ? 0 : image.transforms_ms.front();
  Model model{.images_per_step = measured.images_per_step,
              .workers = measured.workers,
              .cpus = measured.cpus};
  model.checksum = part_of(image.read_ms, image.checksum_ms, "the checksum", "reading", doubts);
  model.parse = part_of(first_ms, image.parse_ms, "the parse", "the first transform", doubts);
  model.fetch = image.read_ms - model.checksum;
  model.decode = first_ms - model.parse;
  model.augment = sum_of(image.transforms_ms) - first_ms;
  model.batch = image.batching_ms;
  model.cpu = std::min(image.cpu_ms, model.image_ms());
  model.upload = measured.upload_ms.value_or(0);

  const double device_ms = measured.device.step_ms();
  model.straggler = measured.straggler_ms.value_or(0);
  if (model.straggler > device_ms) {
    doubts.push_back(text("others are said to wait ", model.straggler,
                          " ms a step for the slowest device, and with free input a step took ",
                          device_ms));
    model.straggler = device_ms;
  }
  model.compute = device_ms - model.straggler;
  model.contention = std::max(measured.full.launch_ms() - measured.device.launch_ms(), 0.0);
  return model;
}

/// What a worker's stage takes of a step.
StageSize worker_stage(const Model& model, Stage stage, double image_ms) {
  return {stage, image_ms, model.images_per_step * image_ms / model.workers};
}

std::vector<StageSize> stages_of(const Measured& measured, const Model& model) {
  std::vector<StageSize> out = {worker_stage(model, Stage::kFetch, model.fetch)};
  if (measured.image.checksum_ms.has_value() || measured.image.parse_ms.has_value()) {
    out.push_back(worker_stage(model, Stage::kChecksumAndParse, model.checksum + model.parse));
  }
  out.push_back(worker_stage(model, Stage::kDecode, model.decode));
  out.push_back(worker_stage(model, Stage::kAugment, model.augment));
  out.push_back(worker_stage(model, Stage::kBatch, model.batch));
  if (measured.upload_ms.has_value()) {
    out.push_back({Stage::kUpload, std::nullopt, model.upload});
  }
  out.push_back({Stage::kLaunchContention, std::nullopt, model.contention});
  if (measured.straggler_ms.has_value()) {
    out.push_back({Stage::kStraggler, std::nullopt, model.straggler});
  }
  return out;
}

/// The stage that takes most of a resource of the input.
StageSize largest_of(Resource resource, const Model& model, const std::vector<StageSize>& stages) {
  if (resource == Resource::kUpload) return {Stage::kUpload, std::nullopt, model.upload};
  if (resource == Resource::kSource) {
    // One worker at a time: an image costs the step all of its time there.
    const bool is_fetch = model.fetch >= model.checksum;
    const double image_ms = std::max(model.fetch, model.checksum);
    return {is_fetch ? Stage::kFetch : Stage::kChecksumAndParse, image_ms,
            model.images_per_step * image_ms};
  }
  return *std::max_element(stages.begin(), stages.end(),
                           [](const StageSize& a, const StageSize& b) {
                             return a.image_ms.value_or(-1) < b.image_ms.value_or(-1);
                           });
}

/// What a stage of the device costs a step: nothing while it hides behind the input.
double cost_of(Stage stage, const Model& model) {
  return model.bounds().front().step_ms - model.without(stage).bounds().front().step_ms;
}

StageSize limiting_stage(const Model& model, const Diagnosis& so_far, double full_ms) {
  const Resource binding = so_far.bounds.front().resource;
  StageSize limiting{Stage::kDevice, std::nullopt, model.compute};
  double largest_ms = kNoticeable * full_ms;
  if (binding != Resource::kDevice && so_far.loss_ms > largest_ms) {
    limiting = largest_of(binding, model, so_far.stages);
    largest_ms = limiting.step_ms;
  }
  const auto compete = [&](Stage stage, double cost_ms) {
    if (cost_ms <= largest_ms) return;
    limiting = {stage, std::nullopt, cost_ms};
    largest_ms = cost_ms;
  };
  compete(Stage::kDelivery, so_far.unexplained_ms);
  compete(Stage::kLaunchContention, cost_of(Stage::kLaunchContention, model));
  compete(Stage::kStraggler, cost_of(Stage::kStraggler, model));
  return limiting;
}

}  // namespace

const char* name_of(Stage stage) {
  switch (stage) {
    case Stage::kFetch:
      return "fetch";
    case Stage::kChecksumAndParse:
      return "CRC and parse";
    case Stage::kDecode:
      return "decode";
    case Stage::kAugment:
      return "augment";
    case Stage::kBatch:
      return "batch";
    case Stage::kUpload:
      return "upload";
    case Stage::kDelivery:
      return "delivery";
    case Stage::kLaunchContention:
      return "launch contention";
    case Stage::kStraggler:
      return "straggler";
    case Stage::kDevice:
      break;
  }
  return "device";
}

const char* name_of(Resource resource) {
  switch (resource) {
    case Resource::kWorkers:
      return "the input workers";
    case Resource::kCpus:
      return "the CPUs";
    case Resource::kSource:
      return "the source, one worker at a time";
    case Resource::kUpload:
      return "the uploads";
    case Resource::kDevice:
      break;
  }
  return "the device";
}

Diagnosis diagnose(const Measured& measured) {
  assert(measured.full.step_ms() > 0 && measured.device.step_ms() > 0);
  assert(measured.images_per_step > 0 && measured.workers > 0 && measured.cpus > 0);
  const double full_ms = measured.full.step_ms();
  const double device_ms = measured.device.step_ms();

  Diagnosis out;
  out.loss_ms = full_ms - device_ms;
  out.input_wait_ms = measured.full.input_wait_ms - measured.device.input_wait_ms;
  out.launch_ms = measured.full.launch_ms() - measured.device.launch_ms();

  const Model model = model_of(measured, out.doubts);
  out.stages = stages_of(measured, model);
  out.bounds = model.bounds();
  out.predicted_ms = out.bounds.front().step_ms;
  out.is_trusted = std::abs(out.predicted_ms / full_ms - 1) <= kModelTolerance;
  out.unexplained_ms =
      std::clamp(full_ms - out.predicted_ms, 0.0, std::max(out.input_wait_ms, 0.0));
  if (out.loss_ms < -kNoticeable * device_ms) {
    out.doubts.push_back(text("with free input a step took ", device_ms, " ms, and with all of it ",
                              full_ms, ": the machine was not the same for both"));
  }

  out.limiting = limiting_stage(model, out, full_ms);
  const Bound next = model.without(out.limiting.stage).bounds().front();
  out.next = next.resource;
  out.without_ms = full_ms;
  if (out.limiting.stage == Stage::kDelivery) {
    out.without_ms = full_ms - out.unexplained_ms;
  } else if (out.limiting.stage != Stage::kDevice) {
    // Taken off what was measured; and what is next cannot be outrun, whatever was measured.
    const double saved_ms = out.predicted_ms - next.step_ms;
    out.without_ms = std::min(std::max(full_ms - saved_ms, next.step_ms), full_ms);
  }
  out.cpus_to_feed =
      static_cast<int>(std::ceil(measured.images_per_step * measured.image.cpu_ms / device_ms));
  return out;
}

}  // namespace slackline::app
