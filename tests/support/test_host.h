#pragma once

// Makes plugins the way a user meets them: by kind and name, through the registry.

#include <slackline/host.h>
#include <slackline/registry.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace slackline::testing_support {

/// A Host that remembers what plugins told it.
class TestHost final : public Host {
 public:
  void report(std::string_view name, double value, std::string_view /*unit*/) override {
    const std::lock_guard lock(mutex_);
    reports[std::string(name)] = value;
  }
  void warn(std::string_view message) override {
    const std::lock_guard lock(mutex_);
    warnings.emplace_back(message);
  }
  Clock& clock() override { return clock_; }
  TraceTrack& track(std::string_view name) override {
    const std::lock_guard lock(mutex_);
    return tracks[std::string(name)];
  }

  /// Plugins made with this host live on `clock`, for instance a SimulatedClock.
  explicit TestHost(Clock& clock = steady_clock()) : clock_(clock) {}

  /// What a plugin wrote to one track of the timeline.
  class Track final : public TraceTrack {
   public:
    struct Span {
      std::string name;
      Clock::Time begin, end;
      std::uint64_t batch = kNoBatch;
    };
    struct Count {
      std::string name;
      Clock::Time at;
      double value = 0;
    };
    bool is_open() const noexcept override { return true; }
    void span(const char* name, Clock::Time begin, Clock::Time end,
              std::uint64_t batch) noexcept override {
      const std::lock_guard lock(mutex_);
      spans.push_back({name, begin, end, batch});
    }
    void count(const char* name, Clock::Time at, double value) noexcept override {
      const std::lock_guard lock(mutex_);
      counts.push_back({name, at, value});
    }
    std::vector<Span> spans;
    std::vector<Count> counts;

   private:
    std::mutex mutex_;
  };

  std::map<std::string, double> reports;
  std::vector<std::string> warnings;
  std::map<std::string, Track, std::less<>> tracks;

 private:
  Clock& clock_;
  std::mutex mutex_;
};

using OptionArgument = std::variant<bool, int, std::int64_t, double, const char*, std::string,
                                    std::vector<std::string>, std::vector<double>>;
using OptionArguments = std::vector<std::pair<std::string, OptionArgument>>;

/// The registry over the plugins of this build, or of those in the folder that the environment
/// variable SLACKLINE_TEST_PLUGIN_DIR names, where a test runs elsewhere.
inline Registry& test_registry() {
  const char* const elsewhere = std::getenv("SLACKLINE_TEST_PLUGIN_DIR");
  static Registry registry(std::vector<PluginDirectory>{
      {elsewhere != nullptr ? elsewhere : SLACKLINE_TEST_PLUGIN_DIR, "build tree"}});
  return registry;
}

/// Values by name. Sizes are in bytes, durations in nanoseconds; nothing is range-checked here,
/// which is the configuration's task.
inline OptionValues option_values(const Plugin& plugin, const OptionArguments& arguments) {
  const auto& descriptor = *plugin.descriptor;
  OptionValues values(descriptor.option_count);
  for (const auto& [name, argument] : arguments) {
    std::size_t i = 0;
    while (i < descriptor.option_count && descriptor.options[i].name != name) ++i;
    if (i == descriptor.option_count)
      throw std::logic_error(plugin.id() + " has no option " + name);
    const bool is_float = descriptor.options[i].type == SLACKLINE_FLOAT;
    std::visit(
        [&](const auto& item) {
          using T = std::decay_t<decltype(item)>;
          if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            values.set_strings(i, item);
          } else if constexpr (std::is_same_v<T, std::vector<double>>) {
            if (is_float) {
              values.set_floats(i, item);
            } else {
              values.set_ints(i, std::vector<std::int64_t>(item.begin(), item.end()));
            }
          } else if constexpr (std::is_arithmetic_v<T>) {
            if (is_float) {
              values.set_floats(i, {static_cast<double>(item)});
            } else {
              values.set_ints(i, {static_cast<std::int64_t>(item)});
            }
          } else {
            values.set_strings(i, {std::string(item)});
          }
        },
        argument);
  }
  return values;
}

/// What the program tells of a plugin without making it.
inline PluginListing listing_of(const std::string& kind, const std::string& name) {
  for (const PluginListing& each : test_registry().list()) {
    if (each.kind == kind && each.name == name) return each;
  }
  throw std::logic_error("there is no plugin " + kind + "/" + name);
}

/// A plugin object of this build.
template <class Interface>
std::unique_ptr<Interface> make_plugin(const std::string& name, const OptionArguments& arguments,
                                       Host& host) {
  const Plugin& plugin = test_registry().load(Interface::kKind, name);
  return make<Interface>(plugin, option_values(plugin, arguments), host);
}

}  // namespace slackline::testing_support
