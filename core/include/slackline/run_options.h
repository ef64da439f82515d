#pragma once

#include <slackline/model.h>
#include <slackline/options.h>
#include <slackline/transform.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace slackline {

// The tables of a configuration that are core's own. Everything else in it belongs to plugins.

/// [run]: how long, how it is measured, where the results go.
struct RunOptions {
  std::int64_t seed = 1;
  std::int32_t epochs = 1;
  std::int64_t steps = 0;
  std::int64_t warmup_steps = 10;
  std::int32_t log_steps = 10;
  std::int32_t steps_in_flight = 1;
  std::int64_t trace_steps = 0;
  Path weights;
  Path dir;

  SLACKLINE_API static OptionTable<RunOptions> table();
};

enum class BadSamplePolicy { kFail, kSkip, kSubstitute };

/// Which part of the input is real, and which is a stand-in that costs nothing.
enum class Replay { kOff, kRecords, kBatches, kDevice };

/// [input]: the shape of batches and who fills them.
struct InputOptions {
  std::int32_t batch_size = 32;
  std::array<std::int32_t, 2> image_size{224, 224};
  std::int32_t num_classes = 1001;
  std::int32_t workers = 0;
  bool private_threads = false;
  std::int32_t batches_ahead = 2;
  bool drop_remainder = true;
  bool batches_span_epochs = false;
  BadSamplePolicy on_bad_sample = BadSamplePolicy::kFail;
  std::int64_t max_bad_samples = 0;
  Replay replay = Replay::kOff;
  std::int64_t replay_records = 1024;
  std::int32_t replay_steps = 4;
  std::uint32_t shard_index = 0;
  std::uint32_t shard_count = 1;

  [[nodiscard]] ImageShape shape() const { return {image_size[0], image_size[1], 3}; }
  SLACKLINE_API static OptionTable<InputOptions> table();
};

/// How the learning rate changes in the course of a run.
enum class Schedule { kConstant, kStep, kCosine, kPolynomial };

/// Who knows the rate: the host, and a step brings it, as a Keras callback of tensorflow/models
/// did; or the device, from the number of the step, as with its LearningRateSchedule. The "step"
/// schedule counts fractions of epochs with the former and whole steps with the latter.
enum class ScheduleMode { kCallback, kTensor };

/// [optimizer]: how gradients change parameters, and the learning rate of each step.
struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kSgd;
  double learning_rate = 0.01;
  std::int32_t learning_rate_batch = 0;
  Schedule schedule = Schedule::kConstant;
  ScheduleMode schedule_mode = ScheduleMode::kCallback;
  std::int64_t images_per_epoch = 0;
  double warmup_epochs = 5;
  std::vector<double> boundaries{30, 60, 80};
  std::vector<double> factors{0.1, 0.01, 0.001};
  std::int64_t schedule_steps = 0;
  double final_factor = 0;
  double power = 2;
  double momentum = 0.9;
  double weight_decay = 0;
  WeightDecay weight_decay_form = WeightDecay::kL2Loss;
  double lars_trust = 0.001;

  SLACKLINE_API static OptionTable<OptimizerOptions> table();
};

/// [checkpoint]: how often the state of the training is saved. Beside what is set here, it is saved
/// at the end and when the run is stopped.
struct CheckpointOptions {
  std::int64_t every_steps = 0;
  double every_minutes = 0;
  std::int32_t keep = 2;

  SLACKLINE_API static OptionTable<CheckpointOptions> table();
};

/// [eval]: accuracy on held-out data.
struct EvalOptions {
  std::int32_t every_epochs = 1;

  SLACKLINE_API static OptionTable<EvalOptions> table();
};

/// [metrics]: logs in the formats of other tools.
struct MetricsOptions {
  Path benchmark_log_dir;
  std::string test_id;
  std::string test_environment = "local";
  std::string model_name;
  std::string dataset_name;
  bool tensorboard = false;
  Path tensorboard_dir;
  std::int32_t tensorboard_steps = 0;
  bool mlperf = false;

  SLACKLINE_API static OptionTable<MetricsOptions> table();
};

}  // namespace slackline
