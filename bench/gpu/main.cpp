// Training steps of resnet_cudnn on a resident batch, timed. compare.py runs it and PyTorch in
// turns, window by window.

#include <slackline/error.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "device_net.h"
#include "planted_faults.h"
#include "profile.h"

namespace {

using namespace slackline;
using net::cuda::Launch;
using net::cuda::Precision;

struct Arguments {
  bench::NetOptions net;
  int windows = 5, steps = 50, warmup = 20;
  bool profile = false, properties = false, serve = false;
  std::string plant;
  std::string precision = "fp16", launch = "graph";
  bool separate = false, no_tf32 = false;
};

/// The file that a library was loaded from, as this process maps it; empty if it has none.
std::string loaded_from(const std::string& library) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const std::size_t path = line.find('/');
    if (path != std::string::npos && line.find(library, path) != std::string::npos) {
      return line.substr(path);
    }
  }
  return "";
}

/// Images a second in a window of steps that are enqueued without a wait, as a run does it.
double window_of(bench::DeviceNet& net, const Arguments& a) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < a.steps; ++i) net.train();
  (void)net.finish();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  return a.net.batch * a.steps / time.count();
}

void measure(const Arguments& a) {
  bench::DeviceNet net(a.net);
  for (int i = 0; i < a.warmup; ++i) net.train();
  nlohmann::ordered_json json = {{"program", "slackline"},
                                 {"device", net.target().name()},
                                 {"cudnn", cudnn::library_version()},
                                 {"cudnn_file", loaded_from("libcudnn.so")},
                                 {"depth", a.net.depth},
                                 {"batch", a.net.batch},
                                 {"image", a.net.image},
                                 {"precision", a.precision},
                                 {"fusion", a.separate ? 0 : 1},
                                 {"launch", a.launch},
                                 {"loss_after_warmup", net.finish().loss / a.net.batch}};
  if (a.serve) {
    std::cout << json.dump() << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
      const double rate = window_of(net, a);
      std::cout << nlohmann::ordered_json{{"images_per_second", rate},
                                          {"loss", net.finish().loss / a.net.batch}}
                << std::endl;
    }
    return;
  }
  std::vector<double> windows;
  for (int window = 0; window < a.windows; ++window) windows.push_back(window_of(net, a));
  json["windows"] = windows;
  std::ranges::sort(windows);
  json["images_per_second"] = windows[windows.size() / 2];
  json["loss"] = net.finish().loss / a.net.batch;
  std::cout << json << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  CLI::App program(
      "times training steps of resnet_cudnn on a resident batch; prints one line of JSON");
  program.add_option("--depth", a.net.depth)->capture_default_str();
  program.add_option("--batch", a.net.batch)->capture_default_str();
  program.add_option("--image", a.net.image, "side in pixels")->capture_default_str();
  program.add_option("--classes", a.net.classes)->capture_default_str();
  program.add_option("--precision", a.precision)
      ->check(CLI::IsMember({"fp32", "fp16", "bf16"}))
      ->capture_default_str();
  program.add_flag("--no-tf32", a.no_tf32, "fp32 without TF32");
  program.add_option("--launch", a.launch)
      ->check(CLI::IsMember({"stream", "graph"}))
      ->capture_default_str();
  program.add_flag("--separate", a.separate, "batch norm, sum and ReLU apart: level 0");
  program.add_option("--windows", a.windows)->capture_default_str();
  program.add_option("--steps", a.steps, "of a window")->capture_default_str();
  program.add_option("--warmup", a.warmup, "steps before those that count")->capture_default_str();
  program.add_flag("--serve", a.serve,
                   "say when the steps before are done, then run a window for each line of stdin");
  program.add_option("--plan-cache", a.net.plan_cache,
                     "file of cuDNN's fastest engines; what it lacks is measured and put into it");
  program.add_option("--plant", a.plant, "make one fault for compute-sanitizer to find, no more")
      ->check(CLI::IsMember({"memcheck", "racecheck"}));
  program.add_flag("--profile", a.profile, "print where the time of operations goes instead");
  program.add_flag("--properties", a.properties,
                   "print the device's properties, as cuDNN has them");
  CLI11_PARSE(program, argc, argv);
  a.net.precision = std::map<std::string, Precision>{{"fp32", Precision::kFloat32},
                                                     {"fp16", Precision::kFloat16},
                                                     {"bf16", Precision::kBfloat16}}
                        .at(a.precision);
  a.net.tf32 = !a.no_tf32;
  a.net.launch = a.launch == "graph" ? Launch::kGraph : Launch::kStream;
  a.net.fusion = a.separate ? net::Fusion::kSeparate : net::Fusion::kBatchNorm;
  try {
    if (const std::string why = cuda::why_unavailable(); !why.empty()) throw DeviceError(why);
    if (a.properties) {
      std::cout << nlohmann::json::parse(cudnn::Target::of_device().properties()).dump(2) << "\n";
    } else if (!a.plant.empty()) {
      bench::plant_fault(a.plant == "racecheck");
    } else if (a.profile) {
      bench::DeviceNet net(a.net);
      bench::print_profile(net, a.net, a.steps);
    } else {
      measure(a);
    }
    return 0;
  } catch (const Error& error) {
    std::cerr << "bench_gpu_resnet: " << error.what() << "\n";
    return static_cast<int>(error.exit_code());
  }
}
