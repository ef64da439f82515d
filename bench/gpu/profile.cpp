#include "profile.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "cuda/runtime.h"

namespace slackline::bench {
namespace {

using net::TensorId;
using net::TensorKind;

/// With timing, which the runtime's own events have not.
class TimingEvent {
 public:
  TimingEvent() { cuda::check(cudaEventCreate(&event_), "create an event"); }
  ~TimingEvent() { (void)cudaEventDestroy(event_); }
  TimingEvent(const TimingEvent&) = delete;
  TimingEvent& operator=(const TimingEvent&) = delete;

  void record(cudaStream_t stream) const {
    cuda::check(cudaEventRecord(event_, stream), "record an event");
  }
  [[nodiscard]] double seconds_since(const TimingEvent& begin) const {
    float milliseconds = 0;
    cuda::check(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "time an operation");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

struct Speeds {
  double bytes_per_second = 0, flop_per_second = 0;
};

/// What a large copy reaches, and what the tensor cores are rated at, dense.
Speeds speeds_of(const NetOptions& options, cudaStream_t stream) {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  constexpr int kCopies = 20;
  cuda::Runtime& runtime = cuda::runtime();
  const cuda::DeviceBuffer<std::byte> from(runtime, kBytes), to(runtime, kBytes);
  runtime.fill(from.data(), 1, kBytes, stream);
  const TimingEvent begin, end;
  runtime.copy(to.data(), from.data(), kBytes, stream);
  begin.record(stream);
  for (int i = 0; i < kCopies; ++i) runtime.copy(to.data(), from.data(), kBytes, stream);
  end.record(stream);
  runtime.synchronize(stream);
  const double copied = 2.0 * kCopies * static_cast<double>(kBytes);
  const bool is_fp32 = options.precision == net::cuda::Precision::kFloat32;
  // H100 and H200 SXM, NVIDIA's data sheets: 989 TFLOP/s in fp16 and bf16, 495 in TF32, 67 in fp32.
  return {.bytes_per_second = copied / end.seconds_since(begin),
          .flop_per_second = !is_fp32       ? 989e12
                             : options.tf32 ? 495e12
                                            : 67e12};
}

double bytes_of(net::cuda::Executor& executor, const net::Op& op, std::int64_t batch) {
  const net::Program& program = executor.program();
  const net::Accesses accesses = net::accesses_of(op);
  double bytes = 0;
  for (const auto* ids : {&accesses.reads, &accesses.writes}) {
    for (const TensorId id : *ids) {
      const net::Tensor& tensor = program.tensor(id);
      const std::size_t each = tensor.kind == TensorKind::kIndex ? 1
                               : tensor.kind == TensorKind::kActivation || tensor.is_kernel
                                   ? net::cuda::bytes_of(executor.layout().precision)
                                   : sizeof(float);
      bytes += static_cast<double>(each * executor.layout().size(program, id, batch));
    }
  }
  return bytes;
}

struct Row {
  std::string name;
  double seconds = 0, bytes = 0, flop = 0;
  int operations = 0;
};

void print_row(const Row& row, double whole, const Speeds& speeds) {
  const double bound =
      std::max(row.bytes / speeds.bytes_per_second, row.flop / speeds.flop_per_second);
  std::printf("%-52s %9.1f us %5.1f %% %8.0f GB/s", row.name.c_str(), 1e6 * row.seconds,
              100 * row.seconds / whole, 1e-9 * row.bytes / row.seconds);
  if (row.flop > 0) {
    std::printf(" %7.1f TFLOP/s", 1e-12 * row.flop / row.seconds);
  } else {
    std::printf(" %15s", "");
  }
  std::printf(" %5.1f %% of the roofline", 100 * bound / row.seconds);
  if (row.operations > 1) std::printf("  %d operations", row.operations);
  std::printf("\n");
}

}  // namespace

void print_profile(DeviceNet& net, const NetOptions& options, int steps) {
  net::cuda::Executor& executor = net.executor();
  const net::Program& program = executor.program();
  const Speeds speeds = speeds_of(options, net.stream());
  net.train();
  (void)net.finish();

  std::vector<TimingEvent> events(program.ops.size() + 1);
  std::vector<double> seconds(program.ops.size());
  for (int step = 0; step < steps; ++step) {
    events[0].record(net.stream());
    for (std::size_t i = 1; i < program.ops.size(); ++i) {
      executor.run(i, net::Mode::kTraining, options.batch, options.batch);
      events[i].record(net.stream());
    }
    (void)net.finish();
    for (std::size_t i = 1; i < program.ops.size(); ++i) {
      seconds[i] += events[i].seconds_since(events[i - 1]) / steps;
    }
  }

  std::vector<Row> rows;
  std::map<std::string, Row> kinds;
  double whole = 0;
  for (std::size_t i = 1; i < program.ops.size(); ++i) {
    const net::Op& op = program.ops[i];
    Row row{.name = net::label_of(program, op),
            .seconds = seconds[i],
            .bytes = bytes_of(executor, op, options.batch),
            .flop = static_cast<double>(net::flop_of(program, op)),
            .operations = 1};
    Row& kind = kinds[std::string(net::name_of(op))];
    kind.name = net::name_of(op);
    kind.seconds += row.seconds;
    kind.bytes += row.bytes;
    kind.flop += row.flop;
    kind.operations += 1;
    whole += row.seconds;
    rows.push_back(std::move(row));
  }
  std::printf(
      "copies run at %.0f GB/s; %d images: %.2f ms a step without ingest and update, %.0f "
      "images/s\n\n",
      1e-9 * speeds.bytes_per_second, options.batch, 1e3 * whole, options.batch / whole);
  std::vector<Row> sums;
  for (auto& [name, row] : kinds) sums.push_back(std::move(row));
  for (auto* table : {&sums, &rows}) {
    std::ranges::sort(*table, std::greater<>(), &Row::seconds);
    for (const Row& row : *table) print_row(row, whole, speeds);
    std::printf("\n");
  }
}

}  // namespace slackline::bench
