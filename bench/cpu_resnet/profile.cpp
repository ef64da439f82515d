#include "profile.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "net/resnet.h"

namespace slackline::bench {
namespace {

using OpTime = net::cpu::Executor::OpTime;

void print_row(const std::string& name, double seconds, double whole, double flop,
               const std::string& with) {
  std::printf("%-44s %8.2f ms %5.1f %%", name.c_str(), 1e3 * seconds, 100 * seconds / whole);
  if (flop > 0) std::printf(" %7.1f GFLOP/s", 1e-9 * flop / seconds);
  std::printf("  %s\n", with.c_str());
}

}  // namespace

void print_profile(std::int32_t depth, std::int32_t batch, std::int32_t image,
                   net::cpu::Precision precision, int threads, int steps) {
  net::cpu::Executor executor(
      net::build_resnet(
          {.depth = depth, .batch_size = batch, .height = image, .width = image, .classes = 1000}),
      {.precision = precision, .threads = threads, .normalisation = {}});
  for (const net::TensorId id : executor.program().all(net::TensorKind::kParameter)) {
    std::ranges::fill(executor.part(executor.parameters(), id), 0.01f);
  }
  const auto samples = static_cast<std::size_t>(batch);
  const std::vector<std::uint8_t> images(
      samples * static_cast<std::size_t>(image) * static_cast<std::size_t>(image) * 3, 100);
  const std::vector<std::int32_t> labels(samples, 1);
  const net::StepInput input{images, labels, batch};
  StepSums sums;
  executor.train(input, sums);
  executor.profile();
  for (int i = 0; i < steps; ++i) executor.train(input, sums);

  struct Kind {
    double seconds = 0, flop = 0;
    int operations = 0;
  };
  std::map<std::string, Kind> kinds;
  std::vector<OpTime> times = executor.op_times();
  double whole = 0;
  for (std::size_t i = 0; i < times.size(); ++i) {
    times[i].seconds /= static_cast<double>(times[i].calls);
    Kind& kind = kinds[std::string(name_of(executor.program().ops[i]))];
    kind.seconds += times[i].seconds;
    kind.flop += static_cast<double>(times[i].flop);
    ++kind.operations;
    whole += times[i].seconds;
  }
  std::printf(
      "ResNet-%d, %d images of %d x %d, %d threads: %.1f ms a step without the update, "
      "activations %.0f MB\n\n",
      depth, batch, image, image, threads, 1e3 * whole,
      1e-6 * static_cast<double>(executor.arena_bytes()));
  std::vector<std::pair<std::string, Kind>> sorted(kinds.begin(), kinds.end());
  std::ranges::sort(sorted, std::greater<>(), [](const auto& each) { return each.second.seconds; });
  for (const auto& [name, kind] : sorted) {
    print_row(name, kind.seconds, whole, kind.flop,
              std::to_string(kind.operations) + " operations");
  }
  std::printf("\n");
  std::ranges::sort(times, std::greater<>(), &OpTime::seconds);
  for (std::size_t i = 0; i < std::min<std::size_t>(20, times.size()); ++i) {
    print_row(times[i].name, times[i].seconds, whole, static_cast<double>(times[i].flop),
              times[i].implementation);
  }
}

}  // namespace slackline::bench
