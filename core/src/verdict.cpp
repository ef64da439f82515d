#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "progress.h"
#include "results.h"

namespace slackline {
namespace {

double seconds(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) * 1e-9; }

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

std::string rate(double images_per_s) {
  return with_commas(static_cast<std::uint64_t>(std::llround(images_per_s))) + " images/s";
}

/// Where the workers spent most of their time, waiting for room left out.
struct Stage {
  std::string name;
  double time_s = 0;
};
Stage busiest_stage(const RunMeasurements& measured) {
  Stage busiest{"read", seconds(measured.input.read)};
  for (std::size_t i = 0; i < measured.input.transforms.size(); ++i) {
    const double time_s = seconds(measured.input.transforms[i]);
    if (time_s > busiest.time_s) busiest = {measured.transform_names[i], time_s};
  }
  return busiest;
}

/// Which of several ranks waited longest for its own input, over all steps: the others waited for
/// it most.
std::int32_t slowest_rank(const RunMeasurements& measured) {
  const auto slowest = std::ranges::max_element(measured.ranks, {}, &RankSummary::input_wait_s);
  return static_cast<std::int32_t>(slowest - measured.ranks.begin());
}

}  // namespace

Verdict verdict_of(const RunMeasurements& measured) {
  const Throughput& throughput = measured.throughput;
  Verdict verdict;
  if (throughput.steps == 0) {
    verdict.text = "nothing was measured: the run ended within its warm-up of " +
                   std::to_string(measured.warmup_steps) + " steps";
    return verdict;
  }
  const double wait_percent = throughput.input_bound_percent;
  verdict.is_input_bound = wait_percent > kInputBoundPercent;

  const InputTimes& input = measured.input;
  double work_s = seconds(input.read) + seconds(input.turn) + seconds(input.batching);
  for (const auto time : input.transforms) work_s += seconds(time);
  const double idle_s = seconds(input.idle);
  const double all_s = std::max(work_s + idle_s, 1e-9);

  if (!verdict.is_input_bound) {
    verdict.text = "not input-bound: the device waited for input for " + fixed(wait_percent, 1) +
                   " % of the measured time, and the input workers had nothing to do for " +
                   fixed(100 * idle_s / all_s, 0) + " % of theirs";
    return verdict;
  }

  verdict.text = "input-bound: for " + fixed(wait_percent, 0) +
                 " % of the measured time the device waited for input; without that wait it would "
                 "train " +
                 rate(throughput.headspace_images_per_s) + " instead of " +
                 rate(throughput.images_per_s) + ". ";
  if (!measured.ranks.empty()) {
    const std::int32_t slowest = slowest_rank(measured);
    const std::string rank = "rank " + std::to_string(slowest);
    const double own_s = measured.ranks[static_cast<std::size_t>(slowest)].input_wait_s;
    verdict.text += "Of the ranks, " + rank + " waited longest for its own input, for " +
                    fixed(100 * own_s / throughput.wall_s, 0) + " %";
    if (slowest != measured.rank) {
      verdict.limiting_stage = rank;
      verdict.text +=
          slowest == 0 ? ": its result.json" : ": rank-" + std::to_string(slowest) + "/result.json";
      verdict.text += " has its stages";
      return verdict;
    }
    verdict.text += ". ";
  }
  if (input.samples == 0) {
    verdict.limiting_stage = "delivery";
    verdict.text += "No sample was read meanwhile, so the prefetcher or the upload limits";
    return verdict;
  }
  if (idle_s > work_s) {
    verdict.limiting_stage = "delivery";
    verdict.text += "The workers were idle for " + fixed(100 * idle_s / all_s, 0) +
                    " % of their time, so batches were ready and came too late: the prefetcher or "
                    "the upload limits";
    return verdict;
  }
  const Stage stage = busiest_stage(measured);
  verdict.limiting_stage = stage.name;
  verdict.text +=
      "The stage that limits is " + stage.name + ", " + fixed(100 * stage.time_s / all_s, 0) +
      " % of the time of " + std::to_string(measured.workers) +
      (measured.workers == 1 ? " worker" : " workers") + " (" +
      fixed(1e3 * stage.time_s / static_cast<double>(input.samples), 3) + " ms an image)";
  return verdict;
}

std::string evaluation_text(const Evaluation& evaluation, std::int32_t num_classes) {
  std::string out = "accuracy " + fixed(100 * evaluation.accuracy(), 1) + " %";
  if (num_classes > 5) out += ", top 5 " + fixed(100 * evaluation.accuracy_top_5(), 1) + " %";
  return out + ", loss " + fixed(evaluation.loss(), 4) + " over " +
         with_commas(static_cast<std::uint64_t>(evaluation.sums.samples)) + " images";
}

std::string summary_text(const RunMeasurements& measured, const BadSampleAccount& account,
                         const Notes& notes, const std::string& result_file) {
  const Throughput& throughput = measured.throughput;
  std::ostringstream out;
  if (throughput.steps > 0) {
    const Distribution& ms = throughput.step_ms;
    out << "trained     " << with_commas(measured.steps) << " steps in "
        << human_time(measured.wall_time_s - measured.evaluation_wall_s) << ", of which "
        << measured.warmup_steps << " warm-up steps are left out below\n"
        << "throughput  " << rate(throughput.images_per_s) << "; step " << fixed(ms.median, 2)
        << " ms (p10 " << fixed(ms.p10, 2) << ", p90 " << fixed(ms.p90, 2) << ", p99 "
        << fixed(ms.p99, 2) << ")\n"
        << "time        input wait " << fixed(100 * throughput.input_wait_s / throughput.wall_s, 1)
        << " %, submit " << fixed(100 * throughput.submit_s / throughput.wall_s, 1)
        << " %, device wait " << fixed(100 * throughput.device_wait_s / throughput.wall_s, 1)
        << " %"
        << (measured.ranks.empty()
                ? ""
                : ", of which " + fixed(100 * throughput.rank_wait_s / throughput.wall_s, 1) +
                      " % for other ranks")
        << "; first batch after " << human_time(measured.time_to_first_batch_s) << "; peak memory "
        << measured.peak_memory_bytes / (1 << 20) << " MiB\n";
  }
  if (!account.all().empty()) {
    out << "bad samples " << account.all().size() << " (" << name_of(account.policy()) << "):\n";
    for (const BadSample& bad : account.all()) {
      out << "  epoch " << bad.epoch + 1 << ": " << bad.reason << "\n";
    }
  }
  for (std::size_t rank = 0; rank < measured.ranks.size(); ++rank) {
    const RankSummary& each = measured.ranks[rank];
    if (each.bad_samples > 0 && std::cmp_not_equal(rank, measured.rank)) {
      out << "bad samples of rank " << rank << ": " << each.bad_samples << ", told in rank-" << rank
          << "/result.json\n";
    }
    if (each.left_out > 0) {
      out << "left out    by rank " << rank << ": " << with_commas(each.left_out)
          << " samples, as other ranks had no more in their shards\n";
    }
  }
  for (const std::string& warning : notes.warnings()) out << "warning     " << warning << "\n";
  if (!measured.evaluations.empty()) {
    out << "held out    " << evaluation_text(measured.evaluations.back(), measured.num_classes)
        << "\n";
  }
  out << "results     " << result_file << "\n";
  out << "verdict     " << verdict_of(measured).text;
  return out.str();
}

}  // namespace slackline
