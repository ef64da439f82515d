#include "report.h"

#include <slackline/error.h>

#include <cmath>
#include <iomanip>
#include <sstream>

namespace slackline::app {
namespace {

using Json = nlohmann::ordered_json;

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

/// With four digits or so: 1281, 21.5, 0.0031.
std::string number(double value) {
  const double size = std::abs(value);
  return fixed(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size > 0 ? 4 : 0);
}

std::string percent(double share) { return fixed(100 * share, 0) + " %"; }

/// Columns: the first is a name, the others are right-aligned numbers, the last is words.
std::string row(const std::string& name, const std::vector<std::string>& numbers,
                const std::string& words = "") {
  std::ostringstream out;
  out << "  " << std::left << std::setw(34) << name << std::right;
  for (const std::string& one : numbers) out << std::setw(16) << one;
  if (!words.empty()) out << "  " << words;
  out << "\n";
  return out.str();
}

std::string ladder_table(const Ladder& ladder) {
  std::string out = row("rung", {"images/s", "95 % interval", "step ms"}, "what is real");
  for (const Rung& rung : ladder.rungs) {
    if (!rung.is_measured()) {
      out += row(rung.info.name, {"-", "-", "-"}, "not measured: " + rung.not_measured);
      continue;
    }
    const MedianInterval rate = rung.images_per_s();
    out += row(rung.info.name,
               {number(rate.median), text(number(rate.low), "..", number(rate.high)),
                number(rung.middle().step_ms())},
               rung.info.what);
  }
  return out;
}

std::string split_table(const Judgement& judgement) {
  const Diagnosis& found = judgement.diagnosis;
  std::string out = row("loss of a step", {"", "ms a step"});
  out += row("longer than the device alone", {"", number(found.loss_ms)});
  out += row("  input wait", {"", number(found.input_wait_ms)});
  out += row("  submit and device wait", {"", number(found.launch_ms)});
  out += "\n" + row("stage", {"ms an image", "ms a step"});
  for (const StageSize& stage : found.stages) {
    out += row(name_of(stage.stage),
               {stage.image_ms.has_value() ? number(*stage.image_ms) : "", number(stage.step_ms)});
  }
  out += "\n" + row("busy for a step", {"", "ms a step"});
  for (const Bound& bound : found.bounds) {
    out += row(name_of(bound.resource), {"", number(bound.step_ms)});
  }
  return out;
}

/// Above this, time on the clock over CPU time is worth a word.
constexpr double kMuchWaiting = 1.5;

/// All stages of a worker.
double workers_image_ms(const Diagnosis& found) {
  double sum = 0;
  for (const StageSize& stage : found.stages) sum += stage.image_ms.value_or(0);
  return sum;
}

/// A loss of less than this share of a step is not worth a word.
constexpr double kWorthAWord = 0.01;

/// What the limiting stage is, how large, and what its removal would give.
std::string verdict_text(const Judgement& judgement) {
  const Diagnosis& found = judgement.diagnosis;
  const Measured& measured = judgement.measured;
  const double full_ms = measured.full.step_ms();
  std::ostringstream out;
  if (found.limiting.stage == Stage::kDevice) {
    out << "The device limits: a step takes " << number(full_ms) << " ms, and "
        << number(measured.device.step_ms()) << " with free input. ";
    if (found.loss_ms > kWorthAWord * full_ms && found.launch_ms > found.input_wait_ms) {
      out << "The input does not keep it waiting, but costs it " << number(found.launch_ms)
          << " ms a step at the start: a prefetcher that waits until that is over (delay, slack, "
             "adaptive) may give them back.\n";
    } else {
      out << "There is no input stall to remove.\n";
    }
  } else {
    out << "The stage that limits is " << name_of(found.limiting.stage) << ": ";
    if (found.limiting.image_ms.has_value()) {
      out << number(*found.limiting.image_ms) << " ms an image, ";
    }
    const double rate = 1e3 * measured.images_per_step / full_ms;
    const double rate_without = 1e3 * measured.images_per_step / found.without_ms;
    out << number(found.limiting.step_ms) << " ms of a step of " << number(full_ms)
        << " ms. Without it a step would take " << number(found.without_ms) << " ms, "
        << number(rate_without) << " instead of " << number(rate) << " images/s (+"
        << percent(rate_without / rate - 1) << "). What limits then: " << name_of(found.next)
        << ".\n";
  }
  const double image_ms = workers_image_ms(found);
  if (image_ms > kMuchWaiting * measured.image.cpu_ms && found.limiting.image_ms.has_value()) {
    out << "The workers' stages take " << number(image_ms) << " ms an image, of which "
        << number(measured.image.cpu_ms)
        << " are CPU time: the rest they wait, for a disk, in sleep, or for CPUs that others "
           "use.\n";
  }
  if (found.cpus_to_feed > 0) {
    out << "To keep the device busy the input needs " << found.cpus_to_feed
        << (found.cpus_to_feed == 1 ? " CPU" : " CPUs") << " (" << number(measured.image.cpu_ms)
        << " ms of CPU time an image); there are " << measured.cpus << ".\n";
  }
  if (!found.is_trusted) {
    out << "The model is not to be trusted here: it predicts a step of "
        << number(found.predicted_ms) << " ms, and " << number(full_ms)
        << " were measured. Stages that wait for each other instead of overlapping, or other "
           "users of the machine, are not in it.\n";
  }
  for (const std::string& doubt : found.doubts) out << "doubtful: " << doubt << "\n";
  return out.str();
}

Json json_of(const StageSize& stage) {
  return {{"stage", name_of(stage.stage)},
          {"ms_per_image", stage.image_ms.has_value() ? Json(*stage.image_ms) : Json()},
          {"ms_per_step", stage.step_ms}};
}

Json json_of(const Rung& rung) {
  Json out = {{"rung", rung.info.key},
              {"name", rung.info.name},
              {"replay", rung.info.replay},
              {"measured", rung.is_measured()}};
  if (!rung.is_measured()) {
    out["why_not"] = rung.not_measured;
    return out;
  }
  const MedianInterval rate = rung.images_per_s();
  out["steps"] = rung.steps;
  out["images_per_s"] = {{"median", rate.median}, {"low", rate.low}, {"high", rate.high}};
  out["step_ms"] = rung.middle().step_ms();
  for (const LadderRun& run : rung.runs) {
    out["runs"].push_back(
        {{"round", run.round + 1}, {"dir", run.dir.string()}, {"result", run.result}});
  }
  return out;
}

Json json_of(const Judgement& judgement) {
  const Diagnosis& found = judgement.diagnosis;
  const Measured& measured = judgement.measured;
  Json stages = Json::array(), bounds = Json::array();
  for (const StageSize& stage : found.stages) stages.push_back(json_of(stage));
  for (const Bound& bound : found.bounds) {
    bounds.push_back({{"resource", name_of(bound.resource)}, {"ms_per_step", bound.step_ms}});
  }
  return {{"rung", judgement.rung->info.key},
          {"limiting", json_of(found.limiting)},
          {"step_ms", measured.full.step_ms()},
          {"step_ms_without", found.without_ms},
          {"images_per_s_without", 1e3 * measured.images_per_step / found.without_ms},
          {"next", name_of(found.next)},
          {"cpus_to_feed", found.cpus_to_feed},
          {"loss",
           {{"ms_per_step", found.loss_ms},
            {"input_wait_ms", found.input_wait_ms},
            {"submit_and_device_wait_ms", found.launch_ms},
            {"unexplained_ms", found.unexplained_ms}}},
          {"stages", stages},
          {"bounds", bounds},
          {"model", {{"step_ms", found.predicted_ms}, {"is_trusted", found.is_trusted}}},
          {"doubts", found.doubts},
          {"text", verdict_text(judgement)}};
}

}  // namespace

std::vector<Judgement> judge(const Config& config, const Ladder& ladder) {
  std::vector<Judgement> out;
  const Rung& device = ladder.rungs[static_cast<std::size_t>(RungKind::kDevice)];
  const ReportingPlugins plugins{.source = config.source.plugin->id(),
                                 .decoder = config.transforms.front().plugin->id(),
                                 .strategy = config.strategy.plugin->id()};
  for (const RungKind kind : {RungKind::kWarm, RungKind::kCold}) {
    const Rung& full = ladder.rungs[static_cast<std::size_t>(kind)];
    if (!full.is_measured()) continue;
    Judgement one{.rung = &full, .measured = measured_of(plugins, device, full), .diagnosis = {}};
    one.diagnosis = diagnose(one.measured);
    out.push_back(std::move(one));
  }
  return out;
}

std::string report_text(const LadderPlan& plan, const Ladder& ladder,
                        const std::vector<Judgement>& judgements) {
  std::ostringstream out;
  out << "\n"
      << plan.file << ", " << plan.rounds << " rounds of fresh processes\n\n"
      << ladder_table(ladder);
  for (const Judgement& one : judgements) {
    out << "\n-- " << one.rung->info.name << " --\n\n"
        << split_table(one) << "\n"
        << verdict_text(one);
  }
  return out.str();
}

Json report_json(const LadderPlan& plan, const Ladder& ladder,
                 const std::vector<Judgement>& judgements) {
  Json rungs = Json::array(), verdicts = Json::array();
  for (const Rung& rung : ladder.rungs) rungs.push_back(json_of(rung));
  for (const Judgement& one : judgements) verdicts.push_back(json_of(one));
  return {{"format", 1},     {"slackline", SLACKLINE_VERSION}, {"configuration", plan.file},
          {"set", plan.set}, {"rounds", plan.rounds},          {"seconds", plan.seconds},
          {"ladder", rungs}, {"judgements", verdicts}};
}

}  // namespace slackline::app
