#include "benchmark_log.h"

#include <slackline/config_diff.h>
#include <slackline/error.h>
#include <slackline/machine.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <toml++/toml.h>
#include <unistd.h>

#include "log_files.h"
#include "results.h"

namespace slackline {
namespace {

using Json = nlohmann::ordered_json;

/// Python's "%Y-%m-%dT%H:%M:%S.%fZ".
std::string timestamp(TimeOfDay::Time time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = std::chrono::floor<std::chrono::microseconds>(time - seconds);
  std::array<char, 16> digits{};
  std::snprintf(digits.data(), digits.size(), ".%06dZ", static_cast<int>(rest.count()));
  std::string out = utc_text(seconds);  // ends with Z
  out.pop_back();
  return out + digits.data();
}

/// A random (version 4) UUID.
std::string new_run_id() {
  std::random_device random;
  std::array<std::uint32_t, 4> words{};
  for (std::uint32_t& word : words) word = random();
  words[1] = (words[1] & 0xffff0fffu) | 0x4000u;
  words[2] = (words[2] & 0x3fffffffu) | 0x80000000u;
  std::array<char, 40> out{};
  std::snprintf(out.data(), out.size(), "%08x-%04x-%04x-%04x-%04x%08x", words[0], words[1] >> 16,
                words[1] & 0xffffu, words[2] >> 16, words[2] & 0xffffu, words[3]);
  return out.data();
}

/// All variables of the environment that begin with TF_, sorted.
Json tensorflow_variables() {
  std::vector<std::string> found;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("TF_") && text.find('=') != std::string_view::npos) {
      found.emplace_back(text);
    }
  }
  std::sort(found.begin(), found.end(), [](const std::string& a, const std::string& b) {
    return a.substr(0, a.find('=')) < b.substr(0, b.find('='));
  });
  Json out = Json::array();
  for (const std::string& each : found) {
    const std::size_t equals = each.find('=');
    out.push_back({{"name", each.substr(0, equals)}, {"value", each.substr(equals + 1)}});
  }
  return out;
}

/// A key of the configuration as upstream types a parameter: bools as Python spells them.
Json parameter(const std::string& key, const std::string& toml_value) {
  Json out = {{"name", key}};
  const toml::table parsed = toml::parse("value = " + toml_value);
  const toml::node& value = *parsed.get("value");
  if (const auto flag = value.value_exact<bool>()) {
    out["bool_value"] = *flag ? "True" : "False";
  } else if (const auto integer = value.value_exact<std::int64_t>()) {
    out["long_value"] = *integer;
  } else if (const auto number = value.value_exact<double>()) {
    out["float_value"] = *number;
  } else {
    out["string_value"] = value.value_exact<std::string>().value_or(toml_value);
  }
  return out;
}

/// Every key of the configuration, sorted.
Json run_parameters(const Config& config) {
  Json out = Json::array();
  for (const ConfigDifference& key : config_diff(config.to_toml(false), "")) {
    out.push_back(parameter(key.key, key.a.value()));
  }
  return out;
}

Json machine_config() {
  const Machine machine = this_machine();
  Json cpu = {{"num_cores", machine.cpus_online}, {"cpu_info", machine.cpu}};
  if (machine.cpu_mhz > 0) cpu["mhz_per_cpu"] = machine.cpu_mhz;
  Json gpu = {{"count", machine.gpus.size()}};
  if (!machine.gpus.empty()) gpu["model"] = machine.gpus.front();
  return {{"cpu_info", cpu},
          {"gpu_info", gpu},
          {"memory_total", machine.memory_bytes},
          {"memory_available", machine.memory_available_bytes}};
}

/// `name`, or that of the plugin if it is empty.
std::string name_or(const std::string& name, const Component& component) {
  return name.empty() ? component.plugin->descriptor->name : name;
}

std::string text_of(const Json& json) {
  // Names and variables may hold any bytes; JSON must be UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

void BenchmarkLog::started(const RunStart& start) {
  const Config& config = start.config;
  make_log_dir(dir_);
  log_steps_ = static_cast<std::uint64_t>(config.run.log_steps);
  warmup_left_ = static_cast<std::uint64_t>(config.run.warmup_steps);
  steps_ = start.steps_before;
  run_id_ = new_run_id();
  const Json run = {
      {"model_name", name_or(config.metrics.model_name, config.model)},
      {"dataset", {{"name", name_or(config.metrics.dataset_name, config.source)}}},
      {"machine_config", machine_config()},
      {"test_id", config.metrics.test_id.empty() ? Json() : Json(config.metrics.test_id)},
      {"run_date", timestamp(time_.start())},
      {"tensorflow_version",
       {{"version", "slackline " SLACKLINE_VERSION}, {"git_hash", SLACKLINE_GIT_HASH}}},
      {"tensorflow_environment_variables", tensorflow_variables()},
      {"run_parameters", run_parameters(config)},
      {"test_environment", config.metrics.test_environment}};
  write_atomically(files_, dir_ / "benchmark_run.log", text_of(run));
  write_status("running");
  metrics_.emplace(files_, dir_ / "metric.log", FileOps::Open::kAppend);
}

void BenchmarkLog::step(const StepRecord& record) {
  steps_ = record.step + 1;
  if (warmup_left_ > 0) {
    --warmup_left_;
    return;
  }
  current_ += record;
  if (steps_ % log_steps_ != 0) return;
  all_ += current_;
  metric("average_examples_per_sec", all_.images_per_s(), "examples/s");
  metric("current_examples_per_sec", current_.images_per_s(), "examples/s");
  current_ = {};
}

void BenchmarkLog::evaluated(const Evaluation& evaluation) {
  const SampleMeans means = means_of(evaluation.sums);
  metric("accuracy_top_1", means.accuracy);
  metric("accuracy_top_5", means.accuracy_top_5);
  metric("eval_loss", means.loss);
}

void BenchmarkLog::ended(const RunMeasurements& measured) {
  const bool success = measured.status == "complete";
  if (success) {
    const SampleMeans trained = means_of(measured.last_epoch);
    metric("loss", trained.loss);
    metric("top_1_train_accuracy", trained.accuracy);
    const TimeHistory& history = measured.upstream;
    if (const auto rate = history.examples_per_s()) metric("exp_per_second", *rate, "examples/s");
    if (const auto rate = history.average_examples_per_s()) {
      metric("avg_exp_per_second", *rate, "examples/s");
    }
    metric("wall_time", measured.wall_time_s, "s");
  }
  write_status(success ? "success" : "failure");
}

void BenchmarkLog::metric(const std::string& name, double value, std::string_view unit) {
  if (!std::isfinite(value)) {
    if (warned_.insert(name).second) {
      warn_(
          text(name, " is ", value, " at step ", steps_, ", no number: metric.log leaves it out"));
    }
    return;
  }
  metrics_->append(text_of({{"name", name},
                            {"value", value},
                            {"unit", unit.empty() ? Json() : Json(unit)},
                            {"global_step", steps_},
                            {"timestamp", timestamp(time_.now())},
                            {"extras", Json::array()}}));
}

void BenchmarkLog::write_status(const std::string& status) {
  write_atomically(files_, dir_ / "benchmark_run_status.log",
                   text_of({{"run_id", run_id_}, {"status", status}}));
}

}  // namespace slackline
