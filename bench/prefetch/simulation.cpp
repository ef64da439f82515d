#include "simulation.h"

#include <slackline/device_splitter.h>
#include <slackline/host.h>
#include <slackline/model.h>
#include <slackline/prefetcher.h>
#include <slackline/simulated_clock.h>
#include <slackline/strategy.h>

#include <chrono>
#include <cmath>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string_view>

#include <time.h>

#include "input_workers.h"

namespace slackline::bench {
namespace {

using std::chrono::nanoseconds;

nanoseconds from_ms(double ms) { return nanoseconds(std::llround(ms * 1e6)); }
double to_ms(nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); }

/// Keeps what plugins report; there is no timeline.
class BenchHost final : public Host {
 public:
  explicit BenchHost(Clock& clock) : clock_(clock) {}

  void report(std::string_view name, double value, std::string_view /*unit*/) override {
    const std::lock_guard lock(mutex_);
    reports_[std::string(name)] = value;
  }
  void warn(std::string_view /*message*/) override {}
  Clock& clock() override { return clock_; }
  TraceTrack& track(std::string_view /*name*/) override { return closed_; }

  [[nodiscard]] std::map<std::string, double> reports() const {
    const std::lock_guard lock(mutex_);
    return reports_;
  }

 private:
  class ClosedTrack final : public TraceTrack {
   public:
    bool is_open() const noexcept override { return false; }
    void span(const char*, Clock::Time, Clock::Time, std::uint64_t) noexcept override {}
    void count(const char*, Clock::Time, double) noexcept override {}
  };

  Clock& clock_;
  ClosedTrack closed_;
  mutable std::mutex mutex_;
  std::map<std::string, double> reports_;
};

OptionValues option_values(const Plugin& plugin, const Setting& setting) {
  const auto& descriptor = *plugin.descriptor;
  OptionValues values(descriptor.option_count);
  for (const auto& [name, value] : setting.options) {
    std::size_t i = 0;
    while (i < descriptor.option_count && descriptor.options[i].name != name) ++i;
    if (i == descriptor.option_count) {
      throw std::logic_error(plugin.id() + " has no option " + name);
    }
    if (const auto* number = std::get_if<std::int64_t>(&value)) {
      values.set_ints(i, {*number});
    } else if (const auto* real = std::get_if<double>(&value)) {
      values.set_floats(i, {*real});
    } else {
      values.set_strings(i, {std::get<std::string>(value)});
    }
  }
  return values;
}

template <class Interface>
std::unique_ptr<Interface> make_plugin(const Setting& setting, Registry& registry, Host& host) {
  const Plugin& plugin = registry.load(Interface::kKind, setting.plugin);
  return make<Interface>(plugin, option_values(plugin, setting), host);
}

class Models final : public ModelFactory {
 public:
  Models(const Setting& setting, Registry& registry, Host& host)
      : setting_(setting), registry_(registry), host_(host) {}
  std::unique_ptr<Model> make_model() override {
    return make_plugin<Model>(setting_, registry_, host_);
  }

 private:
  const Setting& setting_;
  Registry& registry_;
  Host& host_;
};

// Of every batch. How large it is does not matter: the bandwidth is chosen so that it takes the
// upload's time.
constexpr ImageShape kShape{.height = 100, .width = 100, .channels = 1};
constexpr std::int32_t kBatchSize = 60;
constexpr nanoseconds kUploadLatency = std::chrono::microseconds(10);  // as the strategy's default

std::int64_t upload_bandwidth(const Scenario& scenario) {
  const double seconds = scenario.upload_ms * 1e-3 - to_ms(kUploadLatency) * 1e-3;
  return std::llround(kBatchSize * static_cast<double>(kShape.size()) / seconds);
}

/// What core's InputChain is, over the workers.
class Chain {
 public:
  Chain(const Scenario& scenario, std::uint64_t seed, Prefetcher& prefetcher, Strategy& strategy,
        Clock& clock)
      : workers_({.workers = scenario.workers,
                  .batches_ahead = 2,
                  .cpu_per_batch = from_ms(scenario.input_cpu_ms),
                  .jitter = scenario.input_jitter,
                  .seed = seed,
                  .shape = kShape,
                  .batch_size = kBatchSize},
                 clock) {
    StreamEnd end{.device = StreamEnd::kHost, .device_count = scenario.devices};
    host_ = prefetcher.wrap(workers_, end);
    if (end.device_count > 1) {
      splitter_ = std::make_unique<DeviceSplitter>(*host_, end.device_count, 1, clock);
    }
    for (end.device = 0; end.device < end.device_count; ++end.device) {
      BatchStream& host = splitter_ == nullptr ? *host_ : splitter_->stream(end.device);
      uploads_.push_back(strategy.upload(host, end.device));
      devices_.push_back(prefetcher.wrap(*uploads_.back(), end));
    }
  }

  void next(std::vector<const Batch*>& batches) {
    batches.clear();
    for (const auto& device : devices_) batches.push_back(device->next());
  }
  void give_back(const std::vector<const Batch*>& batches) {
    for (std::size_t i = 0; i < batches.size(); ++i) devices_[i]->give_back(batches[i]);
  }

 private:
  // Each holds the one before it, and is destroyed before it.
  InputWorkers workers_;
  std::unique_ptr<BatchStream> host_;
  std::unique_ptr<DeviceSplitter> splitter_;
  std::vector<std::unique_ptr<BatchStream>> uploads_;
  std::vector<std::unique_ptr<BatchStream>> devices_;
};

/// The loop of core's Training.
Outcome train(const Scenario& scenario, const Setting& setting, const RunLength& length,
              std::uint64_t seed, Registry& registry, Clock& clock,
              const std::function<nanoseconds()>& cpu_time) {
  BenchHost host(clock);
  const Setting model{"",
                      "emulated",
                      {{"step_time", std::int64_t{from_ms(scenario.step_ms).count()}},
                       {"launch_time", std::int64_t{from_ms(scenario.launch_ms).count()}},
                       {"jitter", scenario.step_jitter}}};
  const Setting devices{"",
                        "emulated",
                        {{"devices", std::int64_t{scenario.devices}},
                         {"upload_bandwidth", upload_bandwidth(scenario)},
                         {"upload_latency", std::int64_t{kUploadLatency.count()}},
                         {"launch_threads", std::int64_t{scenario.launch_threads}}}};
  const auto strategy = make_plugin<Strategy>(devices, registry, host);
  Models models(model, registry, host);
  strategy->build(models, {.image = kShape,
                           .max_batch_size = kBatchSize,
                           .num_classes = 2,
                           .seed = seed,
                           .device = {}});
  const auto prefetcher = make_plugin<Prefetcher>(setting, registry, host);

  Outcome outcome;
  {
    Chain chain(scenario, seed, *prefetcher, *strategy, clock);
    std::deque<std::vector<const Batch*>> in_flight;
    const auto finish_oldest = [&] {
      static_cast<void>(strategy->finish());
      chain.give_back(in_flight.front());
      in_flight.pop_front();
    };
    Clock::Time begin = clock.now();
    nanoseconds cpu_begin = cpu_time();
    for (std::int32_t step = 0; step < length.warmup_steps + length.steps; ++step) {
      if (step == length.warmup_steps) {
        begin = clock.now();
        cpu_begin = cpu_time();
      }
      chain.next(in_flight.emplace_back());
      strategy->submit(in_flight.back(), {.kind = StepKind::kTrain, .rule = {}});
      if (std::cmp_greater(in_flight.size(), scenario.steps_in_flight)) finish_oldest();
    }
    outcome.step_ms = to_ms(clock.now() - begin) / length.steps;
    outcome.cpu_ms = to_ms(cpu_time() - cpu_begin) / length.steps;
    while (!in_flight.empty()) finish_oldest();
  }
  outcome.reports = host.reports();
  return outcome;
}

nanoseconds process_cpu_time() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + nanoseconds(used.tv_nsec);
}

}  // namespace

Outcome simulate(const Scenario& scenario, const Setting& setting, const RunLength& length,
                 std::uint64_t seed, Registry& registry) {
  SimulatedClock clock(scenario.cpus);
  return train(scenario, setting, length, seed, registry, clock,
               [&clock] { return clock.cpu_time(); });
}

Outcome run_in_real_time(const Scenario& scenario, const Setting& setting, const RunLength& length,
                         std::uint64_t seed, Registry& registry) {
  return train(scenario, setting, length, seed, registry, steady_clock(), process_cpu_time);
}

}  // namespace slackline::bench
