// A training step of resnet_cpu on resident data, timed. compare.py runs it and PyTorch in turns.

#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/registry.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "../../tests/support/test_host.h"
#include "profile.h"

namespace {

using namespace slackline;

struct Arguments {
  std::int32_t depth = 50, batch = 16, image = 224, classes = 1000, threads = 2;
  int steps = 10, warmup = 3;
  std::string precision = "fp32";
  bool profile = false;
};

void measure(const Arguments& a) {
  testing_support::TestHost host;
  const auto model = testing_support::make_plugin<Model>(
      "resnet_cpu", {{"depth", a.depth}, {"precision", a.precision}}, host);
  const ImageShape shape{a.image, a.image, 3};
  model->build({.image = shape,
                .max_batch_size = a.batch,
                .num_classes = a.classes,
                .seed = 1,
                .device = {},
                .optimizer = {.momentum = 0.9f},
                .cpu_threads = a.threads});
  std::vector<std::uint8_t> images(static_cast<std::size_t>(a.batch) * shape.size());
  std::uint32_t word = 1;
  for (std::uint8_t& pixel : images) {
    word = word * 1664525u + 1013904223u;
    pixel = static_cast<std::uint8_t>(word >> 24);
  }
  std::vector<std::int32_t> labels(static_cast<std::size_t>(a.batch));
  for (std::size_t i = 0; i < labels.size(); ++i) {
    labels[i] = static_cast<std::int32_t>(i) % a.classes;
  }
  Batch batch;
  batch.images = images;
  batch.labels = labels;
  batch.shape = shape;
  batch.size = a.batch;

  std::vector<double> times_ms;
  StepSums sums;
  for (int i = 0; i < a.warmup + a.steps; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    model->forward_backward(batch, a.batch, sums);
    model->update({.learning_rate = 0.01f});
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
    if (i >= a.warmup) times_ms.push_back(time.count());
  }
  std::vector<double> sorted = times_ms;
  std::ranges::sort(sorted);
  const nlohmann::ordered_json json = {
      {"program", "slackline"},
      {"arch", "resnet" + std::to_string(a.depth)},
      {"batch", a.batch},
      {"image", a.image},
      {"dtype", a.precision},
      {"threads", a.threads},
      {"images_per_second", 1e3 * a.batch / sorted[sorted.size() / 2]},
      {"step_ms", times_ms}};
  std::cout << json.dump() << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  CLI::App program("times training steps of resnet_cpu on resident data; prints one line of JSON");
  program.add_option("--depth", a.depth)->capture_default_str();
  program.add_option("--batch", a.batch)->capture_default_str();
  program.add_option("--image", a.image, "side in pixels")->capture_default_str();
  program.add_option("--classes", a.classes)->capture_default_str();
  program.add_option("--precision", a.precision, "fp32 or bf16")->capture_default_str();
  program.add_option("--threads", a.threads)->capture_default_str();
  program.add_option("--steps", a.steps)->capture_default_str();
  program.add_option("--warmup", a.warmup, "steps before those that count")->capture_default_str();
  program.add_flag("--profile", a.profile, "print where a step's time goes instead");
  CLI11_PARSE(program, argc, argv);
  try {
    if (a.profile) {
      bench::print_profile(
          a.depth, a.batch, a.image,
          a.precision == "bf16" ? net::cpu::Precision::kBfloat16 : net::cpu::Precision::kFloat32,
          a.threads, a.steps);
    } else {
      measure(a);
    }
    return 0;
  } catch (const Error& error) {
    std::cerr << "bench_cpu_resnet: " << error.what() << "\n";
    return static_cast<int>(error.exit_code());
  }
}
