#pragma once

// What a run leaves behind: result.json, steps.jsonl and the verdict in words.

#include <slackline/bad_samples.h>
#include <slackline/batch_reader.h>
#include <slackline/config.h>
#include <slackline/metrics.h>
#include <slackline/run.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assembly.h"

namespace slackline {

/// What rank 0 tells of each rank at the end of a run.
struct RankSummary {
  double input_wait_s = 0;        ///< of its own input, over the measured steps
  double rank_wait_s = 0;         ///< for other ranks' input, likewise
  double input_cpu_s = 0;         ///< of its workers, likewise
  double measured_cpu_s = 0;      ///< of the process, likewise
  std::uint64_t images = 0;       ///< trained on, likewise
  std::uint64_t left_out = 0;     ///< samples, as other shards were shorter
  std::uint64_t bad_samples = 0;  ///< in the whole run
  std::uint64_t peak_memory_bytes = 0;
};

/// Everything that was measured.
struct RunMeasurements {
  std::string started_at;             ///< UTC, ISO 8601
  std::string status = "complete";    ///< or "interrupted", "failed"
  std::string error;                  ///< of a failed run
  std::uint64_t steps = 0;            ///< trained now, warm-up included
  std::uint64_t resumed_at_step = 0;  ///< trained by the run that this one goes on with
  std::uint32_t epochs = 0;           ///< begun
  std::uint64_t warmup_steps = 0;     ///< left out of the statistics
  Throughput throughput;
  InputTimes input;                                ///< of the workers, over the measured steps
  std::optional<std::chrono::nanoseconds> upload;  ///< summed over devices; if there is one
  std::int32_t devices = 1;
  std::int32_t num_classes = 1;
  std::vector<std::string> transform_names;
  std::int32_t workers = 0;
  std::string workers_rule;  ///< why so many
  double time_to_first_batch_s = 0;
  double wall_time_s = 0;      ///< of the whole run, evaluation included
  double training_wall_s = 0;  ///< all laps of all steps, evaluations and savings
  double evaluation_wall_s = 0;
  double checkpoint_wall_s = 0;       ///< saving, with nothing in flight
  std::uint64_t checkpoints = 0;      ///< saved
  double cpu_s = 0;                   ///< of the whole process
  double measured_cpu_s = 0;          ///< of the process, over the measured steps
  std::uint64_t measured_images = 0;  ///< trained by this process in the measured steps
  std::uint64_t left_out = 0;         ///< samples, as the shards of other ranks were shorter
  std::int32_t rank = 0;              ///< of this process
  std::vector<RankSummary> ranks;     ///< of all of them, if there are several
  std::uint64_t peak_memory_bytes = 0;
  TimeHistory upstream{1, 1};
  double unix_time_at_start_s = 0;  ///< what TimeHistory's times count from
  StepSums last_epoch;
  BatchDigest digest;  ///< of all samples trained on, those of a resumed run included
  std::vector<Evaluation> evaluations;
};

/// In words: was the run input-bound, by which stage, what would removing the wait give.
struct Verdict {
  bool is_input_bound = false;
  std::string limiting_stage;  ///< "read", "transform/…", "delivery"; empty if not input-bound
  std::string text;            ///< one or two sentences
};
/// A run counts as input-bound if the device waited for input for more than this part of its time.
inline constexpr double kInputBoundPercent = 5.0;
Verdict verdict_of(const RunMeasurements& measured);

/// The contents of result.json.
std::string result_json(const Config& config, const Notes& notes, const BadSampleAccount& account,
                        const RunMeasurements& measured);

/// One line of steps.jsonl.
std::string step_json_line(const StepRecord& record);

/// "accuracy 75.9 %, top 5 92.8 %, loss 1.0205 over 50,000 images"; the top 5 only where there are
/// more classes.
std::string evaluation_text(const Evaluation& evaluation, std::int32_t num_classes);

/// The last lines on the screen.
std::string summary_text(const RunMeasurements& measured, const BadSampleAccount& account,
                         const Notes& notes, const std::string& result_file);

/// `time` as "2026-01-31T23:59:59Z".
std::string utc_text(std::chrono::system_clock::time_point time);

}  // namespace slackline
