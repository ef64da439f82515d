#pragma once

// The objects of a run, made from a configuration.

#include <slackline/config.h>
#include <slackline/host.h>
#include <slackline/prefetcher.h>
#include <slackline/source.h>
#include <slackline/strategy.h>
#include <slackline/transform.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "trace_recorder.h"

namespace slackline {

/// What plugins told their Host. Any thread.
class Notes {
 public:
  struct Report {
    double value = 0;
    std::string unit;
  };
  using Reports = std::map<std::string, std::map<std::string, Report>>;  ///< by component, name

  void report(const std::string& component, std::string_view name, double value,
              std::string_view unit);
  void warn(const std::string& component, std::string_view message);

  [[nodiscard]] Reports reports() const;
  [[nodiscard]] std::vector<std::string> warnings() const;

 private:
  mutable std::mutex mutex_;
  Reports reports_;
  std::vector<std::string> warnings_;
};

/// A source and the transforms that turn its records into samples.
struct InputParts {
  std::unique_ptr<Source> source;
  std::vector<std::unique_ptr<Transform>> transforms;
  std::vector<std::string> transform_names;  ///< "transform/imagenet_turbojpeg", …
};

/// Every object of a run. Models are inside the strategy.
class Assembly {
 public:
  /// Throws one ConfigError that lists everything that is wrong.
  explicit Assembly(const Config& config);
  /// The processes that the configured strategy wants, of which nothing else is made.
  [[nodiscard]] static RankPlan ranks_of(const Config& config);
  ~Assembly();
  Assembly(const Assembly&) = delete;
  Assembly& operator=(const Assembly&) = delete;

 private:
  // Declared first, destroyed last: plugins hold references to their hosts.
  Notes notes_;
  TraceRecorder trace_{steady_clock()};
  std::vector<std::unique_ptr<Host>> hosts_;
  std::unique_ptr<ModelFactory> models_;

 public:
  InputParts train;
  InputParts eval;  ///< empty without [eval]
  std::unique_ptr<Prefetcher> prefetcher;
  std::unique_ptr<Strategy> strategy;
  Ranks* ranks = nullptr;  ///< of the run, once connected; null if it is this process alone

  [[nodiscard]] std::int32_t rank() const { return ranks == nullptr ? 0 : ranks->rank(); }
  [[nodiscard]] std::int32_t rank_count() const { return ranks == nullptr ? 1 : ranks->size(); }
  [[nodiscard]] const Notes& notes() const { return notes_; }
  [[nodiscard]] Notes& notes() { return notes_; }
  [[nodiscard]] TraceRecorder& trace() { return trace_; }

 private:
  class Errors;
  void build_replicas(const Config& config, Errors& errors);
  Host& host_for(const Component& component);
  template <class Interface>
  std::unique_ptr<Interface> make_part(const Component& component, Errors& errors);
  InputParts make_input(const Component& source, const std::vector<Component>& transforms,
                        const Config& config, Errors& errors);
};

}  // namespace slackline
