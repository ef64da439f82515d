#include <slackline/run_options.h>

namespace slackline {

OptionTable<RunOptions> RunOptions::table() {
  return {
      option("seed", &RunOptions::seed,
             "all randomness follows from it: order, augmentation, initial parameters")
          .range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max()),
      option("epochs", &RunOptions::epochs, "passes over the training data").range(1, 1'000'000),
      option("steps", &RunOptions::steps, "stop after so many steps; 0 means after `epochs`")
          .range(std::int64_t{0}, std::int64_t{1'000'000'000'000})
          .unit("steps"),
      option("warmup_steps", &RunOptions::warmup_steps,
             "first steps that are trained but left out of all statistics: caches fill, buffers "
             "grow to their size")
          .range(std::int64_t{0}, std::int64_t{1'000'000'000})
          .unit("steps"),
      option("log_steps", &RunOptions::log_steps,
             "distance of progress lines, and of the time stamps of exp_per_second")
          .range(1, 1'000'000)
          .unit("steps"),
      option(
          "steps_in_flight", &RunOptions::steps_in_flight,
          "how many steps the host may be ahead of the device, which waits for the last of them: "
          "unbounded, a busy device would look like slow input. 0 waits for each step at once")
          .range(0, 64)
          .unit("steps"),
      option("trace_steps", &RunOptions::trace_steps,
             "so many steps after the warm-up are recorded as a timeline, trace.json")
          .range(std::int64_t{0}, std::int64_t{1'000'000})
          .unit("steps"),
      option(
          "weights", &RunOptions::weights,
          "safetensors file with the initial parameters and running statistics, by torchvision's "
          "names; empty means new ones, from the seed"),
      option("dir", &RunOptions::dir,
             "directory for the results; empty means runs/<configuration>-<time> below the working "
             "directory"),
  };
}

OptionTable<InputOptions> InputOptions::table() {
  return {
      option("batch_size", &InputOptions::batch_size, "samples of a step, over all devices")
          .range(1, 1 << 20)
          .unit("samples"),
      option("image_size", &InputOptions::image_size, "height and width of every sample")
          .range(1, 1 << 14)
          .unit("pixels"),
      option("num_classes", &InputOptions::num_classes, "labels are 0..num_classes-1")
          .range(1, 1 << 24)
          .unit("classes"),
      option("workers", &InputOptions::workers,
             "threads that read and transform; 0 means one for each usable CPU")
          .range(0, 4096)
          .unit("threads"),
      option(
          "private_threads", &InputOptions::private_threads,
          "with workers = 0: leave CPUs to the threads that launch work on the devices, by the "
          "rule of tensorflow/models: min(cpus - p*g - g, 8*g) workers, at least 1, for g devices "
          "with p launch threads each"),
      option("batches_ahead", &InputOptions::batches_ahead,
             "batches that workers may fill or hold ready beyond those that a prefetcher took")
          .range(1, 1024)
          .unit("batches"),
      option("drop_remainder", &InputOptions::drop_remainder,
             "leave out the last, smaller batch of a training epoch"),
      option("batches_span_epochs", &InputOptions::batches_span_epochs,
             "fill the last batch of a training epoch with the first samples of the next, as "
             "tf.data's repeat before batch does; only the very last batch is then a remainder"),
      choice("on_bad_sample", &InputOptions::on_bad_sample,
             {{"fail", BadSamplePolicy::kFail},
              {"skip", BadSamplePolicy::kSkip},
              {"substitute", BadSamplePolicy::kSubstitute}},
             "what to do with a damaged record: end the run, leave it out of its batch, or put "
             "another sample of the batch in its place"),
      option("max_bad_samples", &InputOptions::max_bad_samples,
             "with skip or substitute: the run ends when there are more; 0 means no limit")
          .range(std::int64_t{0}, std::int64_t{1'000'000'000})
          .unit("samples"),
      choice(
          "replay", &InputOptions::replay,
          {{"off", Replay::kOff},
           {"records", Replay::kRecords},
           {"batches", Replay::kBatches},
           {"device", Replay::kDevice}},
          "stand-ins for the input, to find what each part of it costs: the first records are kept "
          "in memory and read again and again; or the first batches, so that nothing is read or "
          "decoded; or the first step's batches on their devices, so that input is free. Needs "
          "[run] steps"),
      option("replay_records", &InputOptions::replay_records, "with replay = records: how many")
          .range(std::int64_t{1}, std::int64_t{1'000'000'000})
          .unit("records"),
      option("replay_steps", &InputOptions::replay_steps,
             "with replay = batches: the batches of so many steps")
          .range(1, 1 << 20)
          .unit("steps"),
      option("shard_index", &InputOptions::shard_index, "which part of the data this process reads")
          .range(0, 1 << 20),
      option("shard_count", &InputOptions::shard_count, "into how many parts the data is split")
          .range(1, 1 << 20),
  };
}

OptionTable<OptimizerOptions> OptimizerOptions::table() {
  return {
      choice("kind", &OptimizerOptions::kind,
             {{"sgd", OptimizerKind::kSgd}, {"lars", OptimizerKind::kLars}},
             "sgd: with momentum; lars: layer-wise rates for the kernels of layers, for very large "
             "batches"),
      option("learning_rate", &OptimizerOptions::learning_rate, "the base rate of the schedule")
          .range(0.0, 1000.0),
      option("learning_rate_batch", &OptimizerOptions::learning_rate_batch,
             "the batch size that learning_rate is for: the rate is learning_rate * batch_size / "
             "learning_rate_batch. 0 means for any")
          .range(0, 1 << 20)
          .unit("samples"),
      choice("schedule", &OptimizerOptions::schedule,
             {{"constant", Schedule::kConstant},
              {"step", Schedule::kStep},
              {"cosine", Schedule::kCosine},
              {"polynomial", Schedule::kPolynomial}},
             "how the rate changes: not at all; or after a linear warm-up from 0 by a factor at "
             "each boundary, along half a cosine, or along a power of what is left of the run"),
      choice("schedule_mode", &OptimizerOptions::schedule_mode,
             {{"callback", ScheduleMode::kCallback}, {"tensor", ScheduleMode::kTensor}},
             "callback: the rate comes with each step, and schedule = step counts fractions of "
             "epochs, as the Keras callback of tensorflow/models; tensor: a GPU looks the rate up "
             "in a table, and schedule = step counts whole steps, as with its use_tensor_lr"),
      option("images_per_epoch", &OptimizerOptions::images_per_epoch,
             "training images of an epoch, which schedules in epochs need; 0 means unknown")
          .range(std::int64_t{0}, std::int64_t{1'000'000'000'000})
          .unit("images"),
      option("warmup_epochs", &OptimizerOptions::warmup_epochs,
             "with any schedule but constant: the rate grows linearly from 0 for so long")
          .range(0.0, 1'000'000.0)
          .unit("epochs"),
      option("boundaries", &OptimizerOptions::boundaries, "with schedule = step: where it steps")
          .range(0.0, 1'000'000.0)
          .unit("epochs"),
      option("factors", &OptimizerOptions::factors,
             "with schedule = step: what the rate is multiplied by behind each boundary")
          .range(0.0, 1000.0),
      option("schedule_steps", &OptimizerOptions::schedule_steps,
             "with schedule = cosine or polynomial: its length, warm-up included; 0 means [run] "
             "steps or, without those, epochs * (images_per_epoch / batch_size, rounded down)")
          .range(std::int64_t{0}, std::int64_t{1'000'000'000'000})
          .unit("steps"),
      option("final_factor", &OptimizerOptions::final_factor,
             "with schedule = cosine or polynomial: the rate at its end, in parts of the base rate")
          .range(0.0, 1.0),
      option("power", &OptimizerOptions::power, "with schedule = polynomial: its exponent")
          .range(0.0, 100.0),
      option("momentum", &OptimizerOptions::momentum, "v = momentum * v - rate * g; w = w + v")
          .range(0.0, 1.0),
      option("weight_decay", &OptimizerOptions::weight_decay, "c below; 0 means none")
          .range(0.0, 1.0),
      choice(
          "weight_decay_form", &OptimizerOptions::weight_decay_form,
          {{"l2_loss", WeightDecay::kL2Loss}, {"torch", WeightDecay::kTorch}},
          "l2_loss: the loss gets c * sum of w^2 over the kernels of layers and the biases of "
          "dense ones, as Keras's l2(c); torch: every gradient gets c * w, as torch.optim.SGD's"),
      option("lars_trust", &OptimizerOptions::lars_trust,
             "with kind = lars: the rate of a kernel is rate * lars_trust * |w| / (|g| + |decay of "
             "w|)")
          .range(0.0, 1000.0),
  };
}

OptionTable<CheckpointOptions> CheckpointOptions::table() {
  return {
      option("every_steps", &CheckpointOptions::every_steps,
             "save after so many steps; 0 means not by steps. At the end, and when the run is "
             "stopped, it is saved anyway")
          .range(std::int64_t{0}, std::int64_t{1'000'000'000'000})
          .unit("steps"),
      option("every_minutes", &CheckpointOptions::every_minutes,
             "save after the step that ends so long after the last time; 0 means not by time")
          .range(0.0, 1e6)
          .unit("minutes"),
      option("keep", &CheckpointOptions::keep, "older ones are removed once a new one is safe")
          .range(1, 1'000'000)
          .unit("checkpoints"),
  };
}

OptionTable<EvalOptions> EvalOptions::table() {
  return {
      option("every_epochs", &EvalOptions::every_epochs,
             "evaluate after so many epochs, and after the last one; 0 means never")
          .range(0, 1'000'000)
          .unit("epochs"),
  };
}

OptionTable<MetricsOptions> MetricsOptions::table() {
  return {
      option(
          "benchmark_log_dir", &MetricsOptions::benchmark_log_dir,
          "directory for the files of tensorflow/models' BenchmarkFileLogger: benchmark_run.log, "
          "metric.log; empty means none"),
      option("test_id", &MetricsOptions::test_id,
             "in benchmark_run.log: names the test that the run belongs to"),
      option("test_environment", &MetricsOptions::test_environment,
             "in benchmark_run.log: where the run takes place"),
      option("model_name", &MetricsOptions::model_name,
             "in benchmark_run.log; empty means the name of the model's plugin"),
      option("dataset_name", &MetricsOptions::dataset_name,
             "in benchmark_run.log; empty means the name of the source's plugin"),
      option("tensorboard", &MetricsOptions::tensorboard, "write event files for TensorBoard"),
      option("tensorboard_dir", &MetricsOptions::tensorboard_dir,
             "directory for the event files; empty means tensorboard in the directory of the run"),
      option("tensorboard_steps", &MetricsOptions::tensorboard_steps,
             "distance of the points of TensorBoard's curves; 0 means [run] log_steps")
          .range(0, 1'000'000)
          .unit("steps"),
      option("mlperf", &MetricsOptions::mlperf,
             "write mlperf.log into the directory of the run: lines as MLCommons' mllog has them"),
  };
}

}  // namespace slackline
