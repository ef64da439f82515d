#include "ladder.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "compare/run_process.h"

namespace slackline::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Steps that a run leaves out, and the least that it measures. The buffers between the stages
/// hold a few steps, which must have gone through before a rate is that of the slowest stage.
constexpr long kWarmupSteps = 10;
constexpr long kLeastSteps = 10;
constexpr long kMostSteps = 20'000;

class Climb {
 public:
  Climb(const LadderPlan& plan, const SourceFiles& files, std::ostream& progress)
      : plan_(plan), files_(files), progress_(progress) {
    for (const RungKindInfo& info : kRungs) out_.rungs.push_back({info, "", 0, {}});
  }

  Ladder climb() {
    if (files_.all().empty()) {
      rung(RungKind::kWarm).info.name = "whole input";
      rung(RungKind::kWarm).info.what = "everything";
      rung(RungKind::kCold).not_measured = "the source names no files";
    }
    if (!choose_steps()) return std::move(out_);
    for (int round = 0; round < plan_.rounds; ++round) {
      progress_ << "round " << round + 1 << " of " << plan_.rounds << ", images/s:" << std::flush;
      const bool is_complete = climb_once(round);
      progress_ << "\n";
      if (!is_complete) break;
    }
    return std::move(out_);
  }

 private:
  Rung& rung(RungKind kind) { return out_.rungs[static_cast<std::size_t>(kind)]; }

  /// A short run of each rung tells how long its steps take.
  bool choose_steps() {
    progress_ << "trial of each rung, not counted:" << std::flush;
    const bool is_complete = try_all();
    progress_ << "\n";
    if (!is_complete) return false;
    double round_s = 0;
    for (const Rung& one : out_.rungs) {
      if (one.is_measured()) round_s += 1e-3 * step_ms_[index_of(one)] * total_steps(one);
    }
    progress_ << plan_.rounds << " rounds of a run for each rung, about "
              << std::ceil(plan_.rounds * round_s) << " s and what starting takes\n";
    return true;
  }

  bool try_all() {
    for (const RungKind kind :
         {RungKind::kDevice, RungKind::kBatches, RungKind::kRecords, RungKind::kWarm}) {
      Rung& one = rung(kind);
      one.steps = kLeastSteps;
      progress_ << " " << one.info.name << "," << std::flush;
      // The first trial of files finds them wherever they are, and leaves them in the page cache.
      if (kind == RungKind::kWarm && !files_.all().empty() && !run_trial(one)) return false;
      if (!run_trial(one)) return false;
      const double steps = std::round(1e3 * plan_.seconds / step_ms_[index_of(one)]);
      one.steps =
          std::clamp(static_cast<long>(std::min(steps, 1.0 * kMostSteps)), kLeastSteps, kMostSteps);
    }
    // The same steps, so that a run from the page cache finds there what one from the disk read.
    const Rung& warm = rung(RungKind::kWarm);
    rung(RungKind::kCold).steps = warm.steps;
    step_ms_[static_cast<std::size_t>(RungKind::kCold)] = step_ms_[index_of(warm)];
    if (files_.all().empty()) return true;
    progress_ << " reading what the runs will read" << std::flush;
    return run_trial(warm);
  }

  [[nodiscard]] static std::size_t index_of(const Rung& one) {
    return static_cast<std::size_t>(one.info.kind);
  }
  [[nodiscard]] static double total_steps(const Rung& one) {
    return static_cast<double>(kWarmupSteps + one.steps);
  }

  bool run_trial(const Rung& one) {
    std::vector<LadderRun> runs;
    const fs::path dir = plan_.dir / text("trial-", trials_++, "-", one.info.key);
    if (!run(one, -1, dir, runs)) return false;
    step_ms_[index_of(one)] = std::max(runs.front().step_ms(), 1e-6);
    return true;
  }

  bool climb_once(int round) {
    std::vector<Rung*> order;
    for (Rung& one : out_.rungs) order.push_back(&one);
    if (round % 2 == 1) std::reverse(order.begin(), order.end());
    for (Rung* const one : order) {
      if (one->info.kind == RungKind::kCold && one->is_measured()) {
        one->not_measured = files_.drop_from_cache();
        if (!one->is_measured()) one->runs.clear();
      }
      if (!one->is_measured()) continue;
      const fs::path dir = plan_.dir / text("round-", round + 1) / one->info.key;
      if (!run(*one, round, dir, one->runs)) return false;
      progress_ << " " << one->info.key << " "
                << std::round(10 * one->runs.back().images_per_s()) / 10 << std::flush;
    }
    return true;
  }

  /// One process. False if the measuring ends here.
  bool run(const Rung& one, int round, const fs::path& dir, std::vector<LadderRun>& runs) {
    const long steps = kWarmupSteps + one.steps;
    // Reading what will be kept takes its time, so no more of it than the run can use.
    const long records = std::min(plan_.replay_records, plan_.batch_size * steps);
    std::vector<std::string> set = plan_.set;
    for (const std::string& own :
         {text("input.replay=\"", one.info.replay, "\""), text("run.warmup_steps=", kWarmupSteps),
          text("input.replay_records=", records), text("run.steps=", steps),
          std::string("run.epochs=1000000"), std::string("run.trace_steps=0")}) {
      set.push_back(own);
    }
    const std::string what =
        text("doctor: ", round < 0 ? "trial" : text("round ", round + 1), " of '", one.info.name,
             "' (", plan_.file, ", [input] replay = \"", one.info.replay, "\")");
    FinishedRun ended = run_configuration(child_, plan_.file, set, dir, what);
    if (ended.exit_code == ExitCode::kOk) {
      runs.push_back({round, dir, std::move(ended.result)});
      if (runs.back().step_ms() > 0) return true;
      ended = {ExitCode::kBadData,
               text(what, ": nothing was measured: the data gave fewer than ", kWarmupSteps + 1,
                    " steps"),
               {}};
    }
    out_.exit_code = ended.exit_code;
    out_.problem = std::move(ended.problem);
    return false;
  }

  const LadderPlan& plan_;
  const SourceFiles& files_;
  std::ostream& progress_;
  ChildProcess child_;
  int trials_ = 0;
  std::array<double, kRungs.size()> step_ms_{};  ///< in the trials
  Ladder out_;
};

StepLaps laps_of(const LadderRun& run) {
  const Json& throughput = run.result.at("throughput");
  const auto steps = throughput.at("measured_steps").get<double>();
  const auto ms_a_step = [&](const char* key) {
    return 1e3 * throughput.at(key).get<double>() / steps;
  };
  return {.input_wait_ms = ms_a_step("input_wait_s"),
          .submit_ms = ms_a_step("submit_s"),
          .device_wait_ms = ms_a_step("device_wait_s")};
}

/// What a plugin reported under this name; nothing if it did not.
std::optional<double> reported(const LadderRun& run, const std::string& plugin, const char* name) {
  const Json& plugins = run.result.at("plugins");
  if (!plugins.contains(plugin)) return std::nullopt;
  const Json reports = plugins.at(plugin).value("reports", Json::object());
  if (!reports.contains(name)) return std::nullopt;
  return reports.at(name).at("value").get<double>();
}

std::optional<double> in_ms(std::optional<double> us) {
  return us.has_value() ? std::optional(1e-3 * *us) : std::nullopt;
}

ImageTimes image_times_of(const ReportingPlugins& plugins, const LadderRun& run) {
  const Json& input = run.result.at("input");
  const Json& stages = input.at("worker_time");
  const std::set<std::string> others = {"read", "batching", "turn", "idle"};
  ImageTimes out;
  out.read_ms = stages.at("read").at("ms_per_image").get<double>();
  out.batching_ms = stages.at("batching").at("ms_per_image").get<double>();
  for (const auto& [name, time] : stages.items()) {
    if (others.contains(name)) continue;
    out.transforms_ms.push_back(time.at("ms_per_image").get<double>());
  }
  out.cpu_ms = input.value("cpu_ms_per_image", 0.0);
  out.checksum_ms = in_ms(reported(run, plugins.source, "checksum"));
  out.parse_ms = in_ms(reported(run, plugins.decoder, "parse"));
  return out;
}

}  // namespace

double LadderRun::images_per_s() const {
  return result.at("throughput").at("images_per_s").get<double>();
}

double LadderRun::step_ms() const {
  const auto& throughput = result.at("throughput");
  const auto steps = throughput.at("measured_steps").get<double>();
  return steps > 0 ? 1e3 * throughput.at("wall_s").get<double>() / steps : 0;
}

const LadderRun& Rung::middle() const {
  std::vector<const LadderRun*> by_time;
  for (const LadderRun& run : runs) by_time.push_back(&run);
  const auto middle = by_time.begin() + static_cast<std::ptrdiff_t>((by_time.size() - 1) / 2);
  std::nth_element(
      by_time.begin(), middle, by_time.end(),
      [](const LadderRun* a, const LadderRun* b) { return a->step_ms() < b->step_ms(); });
  return **middle;
}

MedianInterval Rung::images_per_s() const {
  std::vector<double> rates;
  for (const LadderRun& run : runs) rates.push_back(run.images_per_s());
  return median_interval(std::move(rates), Rule());
}

Measured measured_of(const ReportingPlugins& plugins, const Rung& device, const Rung& full) {
  const LadderRun& alone = device.middle();
  const LadderRun& judged = full.middle();
  const Json& input = judged.result.at("input");
  const Json& throughput = judged.result.at("throughput");
  Measured out;
  out.device = laps_of(alone);
  out.full = laps_of(judged);
  out.images_per_step = throughput.at("measured_images").get<double>() /
                        throughput.at("measured_steps").get<double>();
  out.workers = input.at("workers").get<int>();
  out.cpus = judged.result.at("machine").at("cpus_usable").get<int>();
  out.image = image_times_of(plugins, judged);
  if (input.contains("upload")) {
    out.upload_ms = input.at("upload").at("ms_per_step").get<double>();
  }
  out.straggler_ms = reported(alone, plugins.strategy, "straggler");
  return out;
}

Ladder climb(const LadderPlan& plan, const SourceFiles& files, std::ostream& progress) {
  return Climb(plan, files, progress).climb();
}

}  // namespace slackline::app
