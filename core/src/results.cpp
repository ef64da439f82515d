#include "results.h"

#include <slackline/machine.h>

#include <array>
#include <charconv>
#include <chrono>
#include <ctime>

#include <nlohmann/json.hpp>

#include "hex.h"

namespace slackline {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const RankSummary& rank) {
  return {{"input_wait_s", rank.input_wait_s},
          {"rank_wait_s", rank.rank_wait_s},
          {"input_cpu_s", rank.input_cpu_s},
          {"cpu_s", rank.measured_cpu_s},
          {"images", rank.images},
          {"left_out", rank.left_out},
          {"bad_samples", rank.bad_samples},
          {"peak_memory_bytes", rank.peak_memory_bytes}};
}

double seconds(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) * 1e-9; }
double milliseconds(std::chrono::nanoseconds time) { return seconds(time) * 1e3; }

/// The double with the fewest digits that means this float: 0.1f as 0.1, not 0.10000000149011612.
double shortest(float value) {
  std::array<char, 64> digits{};
  const auto* const end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  double out = static_cast<double>(value);
  std::from_chars(digits.data(), end, out);
  return out;
}

Json json_of(const Distribution& d) {
  return {{"median", d.median}, {"p10", d.p10}, {"p90", d.p90}, {"p99", d.p99}};
}

Json json_of(const Throughput& t) {
  return {{"measured_steps", t.steps},
          {"measured_images", t.samples},
          {"images_per_s", t.images_per_s},
          {"step_images_per_s", json_of(t.step_images_per_s)},
          {"step_ms", json_of(t.step_ms)},
          {"wall_s", t.wall_s},
          {"input_wait_s", t.input_wait_s},
          {"submit_s", t.submit_s},
          {"device_wait_s", t.device_wait_s},
          {"input_bound_percent", t.input_bound_percent},
          {"headspace_images_per_s", t.headspace_images_per_s}};
}

/// Seconds of all workers together, and milliseconds an image.
Json json_of_input(const RunMeasurements& measured) {
  const InputTimes& input = measured.input;
  const double images = input.samples > 0 ? static_cast<double>(input.samples) : 1;
  const auto stage = [&](std::chrono::nanoseconds time) {
    return Json{{"s", seconds(time)}, {"ms_per_image", milliseconds(time) / images}};
  };
  Json stages = {{"read", stage(input.read)}};
  for (std::size_t i = 0; i < input.transforms.size(); ++i) {
    // The same transform may stand in the list twice.
    std::string name = measured.transform_names[i];
    if (stages.contains(name)) name += "#" + std::to_string(i);
    stages[name] = stage(input.transforms[i]);
  }
  stages["batching"] = stage(input.batching);
  stages["turn"] = stage(input.turn);
  stages["idle"] = stage(input.idle);
  Json json = {{"workers", measured.workers},   {"workers_rule", measured.workers_rule},
               {"images", input.samples},       {"record_bytes", input.record_bytes},
               {"host_batches", input.buffers}, {"worker_time", stages}};
  if (measured.upload.has_value() && measured.throughput.steps > 0) {
    const auto uploads = static_cast<double>(measured.throughput.steps) * measured.devices;
    json["upload"] = {{"s", seconds(*measured.upload)},
                      {"ms_per_step", milliseconds(*measured.upload) / uploads}};
  }
  return json;
}

Json json_of(const BadSampleAccount& account) {
  Json samples = Json::array();
  for (const BadSample& bad : account.all()) {
    samples.push_back({{"epoch", bad.epoch},
                       {"file", bad.file},
                       {"offset", bad.offset},
                       {"key", bad.key},
                       {"reason", bad.reason}});
  }
  return {
      {"policy", name_of(account.policy())}, {"count", account.all().size()}, {"samples", samples}};
}

Json json_of(const StepSums& sums) {
  const SampleMeans means = means_of(sums);
  Json json = {{"loss", means.loss}};
  if (means.penalty != 0) json["cross_entropy"] = means.cross_entropy;
  json["accuracy"] = means.accuracy;
  json["accuracy_top_5"] = means.accuracy_top_5;
  json["images"] = sums.samples;
  return json;
}

Json json_of_upstream(const RunMeasurements& measured) {
  const auto rate = [](std::optional<double> value) { return value ? Json(*value) : Json(); };
  Json stamps = Json::array();
  for (const auto& stamp : measured.upstream.stamps()) {
    stamps.push_back({stamp.batch, measured.unix_time_at_start_s + stamp.time_s});
  }
  return {{"exp_per_second", rate(measured.upstream.examples_per_s())},
          {"avg_exp_per_second", rate(measured.upstream.average_examples_per_s())},
          {"wall_time", measured.wall_time_s},
          {"step_timestamp_log", stamps}};
}

Json json_of_plugins(const Config& config, const Notes& notes) {
  std::vector<const Component*> components = {&config.source};
  for (const Component& transform : config.transforms) components.push_back(&transform);
  for (const Component* component : {&config.prefetcher, &config.model, &config.strategy}) {
    components.push_back(component);
  }
  if (config.eval.has_value()) {
    components.push_back(&config.eval->source);
    for (const Component& transform : config.eval->transforms) components.push_back(&transform);
  }
  const Notes::Reports reports = notes.reports();
  Json plugins = Json::object();
  for (const Component* component : components) {
    const Plugin& plugin = *component->plugin;
    Json& entry = plugins[plugin.id()];
    entry = {{"version", plugin.descriptor->version},
             {"file", plugin.file.string()},
             {"sha256", plugin.sha256}};
    const auto found = reports.find(plugin.id());
    if (found == reports.end()) continue;
    for (const auto& [name, report] : found->second) {
      entry["reports"][name] = {{"value", report.value}, {"unit", report.unit}};
    }
  }
  return plugins;
}

Json json_of_machine() {
  const Machine machine = this_machine();
  return {{"host", machine.host},
          {"kernel", machine.kernel},
          {"cpu", machine.cpu},
          {"cpus_online", machine.cpus_online},
          {"cpus_usable", machine.cpus_usable},
          {"memory_bytes", machine.memory_bytes}};
}

}  // namespace

std::string result_json(const Config& config, const Notes& notes, const BadSampleAccount& account,
                        const RunMeasurements& measured) {
  const Verdict verdict = verdict_of(measured);
  Json evaluations = Json::array();
  for (const Evaluation& evaluation : measured.evaluations) {
    Json entry = json_of(evaluation.sums);
    entry["epochs_trained"] = evaluation.epochs_trained;
    entry["wall_s"] = evaluation.wall_s;
    evaluations.push_back(entry);
  }
  const double images =
      measured.throughput.samples > 0 ? static_cast<double>(measured.input.samples) : 0;
  Json json = {
      {"format", 1},
      {"slackline", SLACKLINE_VERSION},
      {"status", measured.status},
      {"configuration", config.name()},
      {"started_at", measured.started_at},
      {"input_bound", verdict.is_input_bound},
      {"limiting_stage", verdict.limiting_stage},
      {"verdict", verdict.text},
      {"steps", measured.steps},
      {"epochs", measured.epochs},
      {"warmup_steps", measured.warmup_steps},
      {"throughput", json_of(measured.throughput)},
      {"data",
       {{"samples", measured.digest.order.length()},
        {"order", hex(measured.digest.order.value())},
        {"pixels", hex(measured.digest.pixels.value())}}},
      {"devices", measured.devices},
      {"input", json_of_input(measured)},
      {"time_to_first_batch_s", measured.time_to_first_batch_s},
      {"wall_time_s", measured.wall_time_s},
      {"training_wall_s", measured.training_wall_s},
      {"evaluation_wall_s", measured.evaluation_wall_s},
      {"checkpoint_wall_s", measured.checkpoint_wall_s},
      {"checkpoints", measured.checkpoints},
      {"cpu_s", measured.cpu_s},
      {"peak_memory_bytes", measured.peak_memory_bytes},
      {"last_epoch", json_of(measured.last_epoch)},
      {"evaluations", evaluations},
      {"bad_samples", json_of(account)},
      {"upstream", json_of_upstream(measured)},
      {"warnings", notes.warnings()},
      {"plugins", json_of_plugins(config, notes)},
      {"machine", json_of_machine()},
  };
  if (measured.measured_images > 0) {
    json["throughput"]["cpu_ms_per_image"] =
        1e3 * measured.measured_cpu_s / static_cast<double>(measured.measured_images);
  }
  if (!measured.ranks.empty()) {
    json["rank"] = measured.rank;
    json["throughput"]["rank_wait_s"] = measured.throughput.rank_wait_s;
    json["throughput"]["longest_input_wait_s"] = measured.throughput.longest_input_wait_s;
    for (const RankSummary& rank : measured.ranks) json["ranks"].push_back(json_of(rank));
  }
  if (measured.resumed_at_step > 0) json["resumed_at_step"] = measured.resumed_at_step;
  if (images > 0) {
    json["input"]["cpu_ms_per_image"] = milliseconds(measured.input.cpu) / images;
  }
  if (!measured.error.empty()) json["error"] = measured.error;
  // Names come from files and may hold any bytes; JSON must be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string step_json_line(const StepRecord& record) {
  const SampleMeans means = means_of(record.sums);
  const Json json = {{"step", record.step},
                     {"epoch", record.epoch},
                     {"input_wait_ms", milliseconds(record.times.input_wait)},
                     {"submit_ms", milliseconds(record.times.submit)},
                     {"device_wait_ms", milliseconds(record.times.device_wait)},
                     {"images", record.sums.samples},
                     {"learning_rate", shortest(record.learning_rate)},
                     {"loss", means.loss},
                     {"penalty", means.penalty},
                     {"correct", record.sums.correct},
                     {"correct_top5", record.sums.correct_top5},
                     {"order", hex(record.digest.order.value())},
                     {"pixels", hex(record.digest.pixels.value())}};
  return json.dump() + "\n";
}

std::string utc_text(std::chrono::system_clock::time_point time) {
  const std::time_t stamp = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  gmtime_r(&stamp, &parts);
  std::array<char, 32> out{};
  std::strftime(out.data(), out.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return out.data();
}

}  // namespace slackline
