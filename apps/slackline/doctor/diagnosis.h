#pragma once

// The analysis of `slackline doctor`: a pure function, from what two rungs of the ladder measured
// to the stage that limits. docs/doctor.md has the model and its reasons.

#include <optional>
#include <string>
#include <vector>

namespace slackline::app {

/// The laps of a run's loop in ms a step. They leave no gap, so their sum is the step.
struct StepLaps {
  double input_wait_ms = 0, submit_ms = 0, device_wait_ms = 0;

  [[nodiscard]] double step_ms() const { return input_wait_ms + submit_ms + device_wait_ms; }
  [[nodiscard]] double launch_ms() const { return submit_ms + device_wait_ms; }
};

/// Where the time of the input workers went, in ms an image on the clock of one worker.
struct ImageTimes {
  double read_ms = 0;                 ///< in the source, which serves one worker at a time
  std::optional<double> checksum_ms;  ///< of that; nothing if the source does not tell
  std::vector<double> transforms_ms;  ///< the first decodes
  std::optional<double> parse_ms;     ///< of the first transform; nothing if it does not tell
  double batching_ms = 0;             ///< the framework, and giving records back
  double cpu_ms = 0;                  ///< CPU time of all of it
};

/// What the analysis needs to know of a configuration.
struct Measured {
  StepLaps device;             ///< of the rung whose input is free
  StepLaps full;               ///< of the rung that is judged
  double images_per_step = 0;  ///< of all devices together
  int workers = 0;
  int cpus = 0;                        ///< that this process may use
  ImageTimes image;                    ///< of `full`
  std::optional<double> upload_ms;     ///< a step and device, of `full`; nothing without uploads
  std::optional<double> straggler_ms;  ///< a step that others wait for the slowest device, of
                                       ///< `device`; nothing if the strategy does not tell
};

/// What can limit a run.
enum class Stage {
  kFetch,
  kChecksumAndParse,
  kDecode,
  kAugment,
  kBatch,
  kUpload,
  kDelivery,          ///< batches were ready and came too late: nothing else explains the wait
  kLaunchContention,  ///< while input is live, the device takes longer
  kStraggler,
  kDevice,
};
[[nodiscard]] const char* name_of(Stage stage);  ///< "fetch", "CRC and parse", …

/// What works on a step side by side with the others; the slowest of them is the step.
enum class Resource { kWorkers, kCpus, kSource, kUpload, kDevice };
[[nodiscard]] const char* name_of(Resource resource);  ///< "the input workers", …

/// How large a stage is.
struct StageSize {
  Stage stage = Stage::kDevice;
  std::optional<double> image_ms;  ///< of one worker; nothing if it is no worker's
  double step_ms = 0;              ///< what it takes of a step on its resource
};

/// How long a resource needs for a step.
struct Bound {
  Resource resource = Resource::kDevice;
  double step_ms = 0;
};

/// What came of it. Times are those of a step.
struct Diagnosis {
  // What the input costs: the two add up to the loss, exactly.
  double loss_ms = 0;         ///< step of `full` less that of `device`
  double input_wait_ms = 0;   ///< growth of the input wait
  double launch_ms = 0;       ///< growth of submit and device wait
  double unexplained_ms = 0;  ///< of the input wait: no resource was busy so long

  std::vector<StageSize> stages;  ///< that are known, in the order of the data
  std::vector<Bound> bounds;      ///< the slowest first
  double predicted_ms = 0;        ///< by the model: the slowest resource
  bool is_trusted = true;         ///< the model predicts the measured step

  StageSize limiting;
  double without_ms = 0;              ///< the step, were the limiting stage gone
  Resource next = Resource::kDevice;  ///< what limits then
  int cpus_to_feed = 0;               ///< that keep the device busy; 0 if CPU time was not measured

  std::vector<std::string> doubts;  ///< what is contradictory or missing
};

/// Where a measured step and the model's may differ, as a share of the measured one.
inline constexpr double kModelTolerance = 0.15;
/// A loss below this share of the step is no stall: that of the verdict "input-bound" too.
inline constexpr double kNoticeable = 0.05;

/// Needs a step of some length in both rungs, and one image, worker and CPU at least.
[[nodiscard]] Diagnosis diagnose(const Measured& measured);

}  // namespace slackline::app
