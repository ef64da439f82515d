#include "grid.h"

#include <slackline/error.h>

#include <cstdint>
#include <string_view>
#include <utility>

namespace slackline::bench {

std::vector<Scenario> scenarios() {
  return {
      // One device and steps of a V100: 256 images at 1,270 images/s. Their pixels as float16 are
      // 77 MB, 6.4 ms at 12 GB/s.
      {.name = "V100", .step_ms = 200, .upload_ms = 6.4},
      {.name = "V100, float32 pixels", .step_ms = 200, .upload_ms = 12.8},
      {.name = "V100, step jitter 10 %", .step_ms = 200, .upload_ms = 6.4, .step_jitter = 0.1},
      {.name = "V100, one step in flight", .upload_ms = 6.4, .steps_in_flight = 1},
      {.name = "deep idle", .step_ms = 500, .upload_ms = 2, .input_cpu_ms = 10},
      // Faster devices: the upload is a larger share of a shorter step.
      {.name = "H100", .step_ms = 36, .upload_ms = 1.5, .input_cpu_ms = 60, .launch_ms = 3},
      {.name = "H100, slow bus", .step_ms = 36, .upload_ms = 12, .input_cpu_ms = 60},
      {.name = "H100, slow bus, jitter 30 %",
       .step_ms = 36,
       .upload_ms = 12,
       .input_cpu_ms = 60,
       .step_jitter = 0.3},
      {.name = "H100, slow bus, one step in flight",
       .step_ms = 36,
       .upload_ms = 12,
       .input_cpu_ms = 60,
       .steps_in_flight = 1},
      {.name = "short steps", .step_ms = 8, .upload_ms = 2, .input_cpu_ms = 8, .launch_ms = 4},
      {.name = "short steps, jitter 20 %",
       .step_ms = 8,
       .upload_ms = 2,
       .input_cpu_ms = 8,
       .step_jitter = 0.2,
       .launch_ms = 2},
      {.name = "launch-bound", .step_ms = 6, .upload_ms = 3, .input_cpu_ms = 10, .launch_ms = 9},
      // The first launch is late itself: a short delay is worse than none.
      {.name = "slow first launch",
       .step_ms = 80,
       .upload_ms = 10,
       .input_cpu_ms = 60,
       .launch_ms = 70},
      {.name = "slow first launch, jitter 10 %",
       .step_ms = 40,
       .upload_ms = 14,
       .input_cpu_ms = 60,
       .step_jitter = 0.1,
       .launch_ms = 38},
      {.name = "narrow window",
       .step_ms = 20,
       .upload_ms = 14,
       .input_cpu_ms = 30,
       .launch_ms = 18},
      {.name = "narrow window, jitter 10 %",
       .step_ms = 30,
       .upload_ms = 20,
       .input_cpu_ms = 30,
       .step_jitter = 0.1,
       .launch_ms = 18},
      // Hardly any slack, or none.
      {.name = "upload nearly a step", .step_ms = 30, .upload_ms = 26, .input_cpu_ms = 40},
      {.name = "upload-bound", .step_ms = 25, .upload_ms = 30, .input_cpu_ms = 40},
      {.name = "upload-bound, jitter 10 %",
       .step_ms = 25,
       .upload_ms = 30,
       .input_cpu_ms = 40,
       .step_jitter = 0.1,
       .input_jitter = 0.3},
      {.name = "upload nearly a step, jitter 20 %",
       .step_ms = 30,
       .upload_ms = 26,
       .input_cpu_ms = 40,
       .step_jitter = 0.2},
      {.name = "upload nearly a step, one step in flight, jitter 20 %",
       .step_ms = 30,
       .upload_ms = 26,
       .input_cpu_ms = 40,
       .step_jitter = 0.2,
       .steps_in_flight = 1},
      {.name = "upload-bound, one step in flight",
       .step_ms = 25,
       .upload_ms = 30,
       .input_cpu_ms = 40,
       .steps_in_flight = 1},
      {.name = "upload half a step, jitter 20 %",
       .step_ms = 60,
       .upload_ms = 30,
       .input_cpu_ms = 80,
       .step_jitter = 0.2},
      {.name = "input-bound", .step_ms = 20, .upload_ms = 4, .input_cpu_ms = 120},
      {.name = "input-bound, jitter",
       .step_ms = 20,
       .upload_ms = 4,
       .input_cpu_ms = 120,
       .input_jitter = 0.5},
      {.name = "input nearly a step, jitter",
       .step_ms = 40,
       .upload_ms = 5,
       .input_cpu_ms = 150,
       .step_jitter = 0.05,
       .input_jitter = 0.5},
      // Workers and launches share few CPUs.
      {.name = "one CPU",
       .step_ms = 60,
       .upload_ms = 3,
       .input_cpu_ms = 30,
       .workers = 1,
       .cpus = 1,
       .launch_ms = 8},
      {.name = "two CPUs, busy",
       .step_ms = 60,
       .upload_ms = 5,
       .input_cpu_ms = 90,
       .workers = 2,
       .cpus = 2},
      {.name = "two CPUs, short steps",
       .step_ms = 12,
       .upload_ms = 2,
       .input_cpu_ms = 8,
       .workers = 4,
       .cpus = 2,
       .launch_ms = 8},
      {.name = "two CPUs, CPU-bound",
       .step_ms = 30,
       .upload_ms = 3,
       .input_cpu_ms = 80,
       .workers = 4,
       .cpus = 2},
      // Several devices: a step waits for the slowest of them.
      {.name = "2 devices", .upload_ms = 6.4, .cpus = 8, .devices = 2},
      {.name = "4 devices, one launch thread",
       .step_ms = 100,
       .upload_ms = 8,
       .input_cpu_ms = 60,
       .workers = 8,
       .cpus = 8,
       .devices = 4,
       .launch_ms = 3,
       .launch_threads = 0},
      {.name = "8 devices, one launch thread",
       .step_ms = 100,
       .upload_ms = 12,
       .input_cpu_ms = 60,
       .workers = 16,
       .cpus = 16,
       .devices = 8,
       .launch_ms = 4,
       .launch_threads = 0},
      {.name = "8 devices",
       .step_ms = 200,
       .upload_ms = 12.8,
       .input_cpu_ms = 100,
       .workers = 16,
       .cpus = 16,
       .devices = 8},
      {.name = "8 devices, few CPUs, jitter",
       .step_ms = 100,
       .upload_ms = 6.4,
       .input_cpu_ms = 60,
       .workers = 8,
       .cpus = 8,
       .devices = 8,
       .step_jitter = 0.05,
       .input_jitter = 0.3},
  };
}

std::vector<Setting> fixed_settings() {
  std::vector<Setting> settings = {{"none", "none", {}}, {"plain", "plain", {}}};
  for (const char* where : {"device", "both"}) {
    const char* const note = std::string_view(where) == "both" ? ", both" : "";
    for (const std::int64_t ms : {1, 2, 5, 11, 20, 50}) {
      settings.push_back({text("delay ", ms, note),
                          "delay",
                          {{"delay", ms * 1'000'000}, {"where", std::string(where)}}});
    }
    for (const double factor : {0.1, 0.2, 0.5}) {
      settings.push_back({text("slack ", factor, note),
                          "slack",
                          {{"factor", factor}, {"where", std::string(where)}}});
    }
  }
  // Deeper buffers on the device, as adaptive may have them.
  const auto two_deep = std::pair("device_buffer_size", Setting::Value(std::int64_t{2}));
  settings.push_back({"plain, 2 deep", "plain", {two_deep}});
  for (const std::int64_t ms : {1, 2, 11}) {
    settings.push_back(
        {text("delay ", ms, ", 2 deep"), "delay", {{"delay", ms * 1'000'000}, two_deep}});
  }
  return settings;
}

Setting adaptive_setting() { return {"adaptive", "adaptive", {}}; }

}  // namespace slackline::bench
