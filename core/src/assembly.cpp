#include "assembly.h"

#include <slackline/error.h>
#include <slackline/machine.h>

#include <algorithm>
#include <utility>

#include "learning_rate.h"

namespace slackline {
namespace {

/// Forwards what one component says to the notes, under its id, and to the timeline.
class ComponentHost final : public Host {
 public:
  ComponentHost(Notes& notes, TraceRecorder& trace, std::string component)
      : notes_(notes), trace_(trace), component_(std::move(component)) {}

  void report(std::string_view name, double value, std::string_view unit) override {
    notes_.report(component_, name, value, unit);
  }
  void warn(std::string_view message) override { notes_.warn(component_, message); }
  Clock& clock() override { return steady_clock(); }
  TraceTrack& track(std::string_view name) override { return trace_.track(name); }

 private:
  Notes& notes_;
  TraceRecorder& trace_;
  std::string component_;
};

class ConfiguredModels final : public ModelFactory {
 public:
  ConfiguredModels(const Component& component, Host& host) : component_(component), host_(host) {}
  std::unique_ptr<Model> make_model() override {
    return make<Model>(*component_.plugin, component_.values, host_);
  }

 private:
  const Component& component_;
  Host& host_;
};

OptimizerSpec optimizer_spec(const OptimizerOptions& options) {
  return {.kind = options.kind,
          .decay_form = options.weight_decay_form,
          .weight_decay = static_cast<float>(options.weight_decay),
          .momentum = static_cast<float>(options.momentum),
          .lars_trust = static_cast<float>(options.lars_trust)};
}

bool decodes(const Transform& transform, RecordFormat format) {
  const auto formats = transform.decodes();
  return std::find(formats.begin(), formats.end(), format) != formats.end();
}

/// Why this transform cannot stand at this place of the list; empty if it can.
std::string problem_of_place(const Transform& transform, const std::string& name, std::size_t place,
                             RecordFormat format) {
  const bool is_decoder = !transform.decodes().empty();
  if (place > 0) {
    if (!is_decoder) return {};
    return name + " decodes records, so it must be first: there is one decoder in a list";
  }
  if (!is_decoder) {
    return text(name,
                " changes samples in place, so it cannot be first: the first transform must decode "
                "the source's records (",
                name_of(format), ")");
  }
  if (decodes(transform, format)) return {};
  return text(name, " cannot decode the source's records, which are ", name_of(format));
}

}  // namespace

void Notes::report(const std::string& component, std::string_view name, double value,
                   std::string_view unit) {
  const std::lock_guard lock(mutex_);
  reports_[component][std::string(name)] = {value, std::string(unit)};
}

void Notes::warn(const std::string& component, std::string_view message) {
  const std::lock_guard lock(mutex_);
  std::string warning = text(component, ": ", message);
  if (std::find(warnings_.begin(), warnings_.end(), warning) == warnings_.end()) {
    warnings_.push_back(std::move(warning));
  }
}

Notes::Reports Notes::reports() const {
  const std::lock_guard lock(mutex_);
  return reports_;
}

std::vector<std::string> Notes::warnings() const {
  const std::lock_guard lock(mutex_);
  return warnings_;
}

/// Collects what is wrong, so that all of it is told at once.
class Assembly::Errors {
 public:
  explicit Errors(const Config& config) : config_(config) {}

  void add(const std::string& table, const ConfigError& error) {
    located_.push_back(config_.locate(table, error));
  }
  void throw_if_any() const {
    if (!located_.empty()) throw Config::join(located_);
  }

 private:
  const Config& config_;
  std::vector<ConfigError> located_;
};

Assembly::Assembly(const Config& config) {
  Errors errors(config);
  train = make_input(config.source, config.transforms, config, errors);
  if (config.eval.has_value()) {
    eval = make_input(config.eval->source, config.eval->transforms, config, errors);
  }
  prefetcher = make_part<Prefetcher>(config.prefetcher, errors);
  strategy = make_part<Strategy>(config.strategy, errors);
  models_ = std::make_unique<ConfiguredModels>(config.model, host_for(config.model));
  if (strategy != nullptr) build_replicas(config, errors);
  if (config.input.private_threads && config.input.workers > 0) {
    errors.add("input", ConfigError("private_threads",
                                    text("computes the number of workers, and workers is ",
                                         config.input.workers, ": leave it at 0")));
  }
  if (config.input.replay != Replay::kOff && config.run.steps == 0) {
    errors.add("input", ConfigError("replay", "never ends: say how long with [run] steps"));
  }
  for (const ConfigError& error : schedule_problems(config.optimizer, config.run, config.input)) {
    errors.add("optimizer", error);
  }
  errors.throw_if_any();
}

void Assembly::build_replicas(const Config& config, Errors& errors) {
  const std::int32_t processes = strategy->ranks().size;
  const std::int32_t devices = strategy->device_count() * processes;
  if (processes > 1 && config.input.shard_count > 1) {
    errors.add("input", ConfigError("shard_count", text("is ", config.input.shard_count,
                                                        ", and the run's ", processes,
                                                        " processes share the data out among "
                                                        "themselves: must be 1")));
  }
  if (config.input.batch_size % devices != 0) {
    errors.add("input",
               ConfigError("batch_size", text("a step's ", config.input.batch_size,
                                              " samples cannot be divided evenly among ", devices,
                                              " devices: ", config.input.batch_size % devices,
                                              " would be left over")));
    return;
  }
  try {
    strategy->build(*models_,
                    {.image = config.input.shape(),
                     .max_batch_size = config.input.batch_size / devices,
                     .num_classes = config.input.num_classes,
                     .seed = static_cast<std::uint64_t>(config.run.seed),
                     .device = {},
                     .optimizer = optimizer_spec(config.optimizer),
                     .cpu_threads = usable_cpus(),
                     .learning_rates = rate_table(config.optimizer, config.run, config.input)});
  } catch (const ConfigError& error) {
    errors.add("model", error);
  }
}

Assembly::~Assembly() = default;

RankPlan Assembly::ranks_of(const Config& config) {
  Notes notes;
  TraceRecorder trace(steady_clock());
  ComponentHost host(notes, trace, config.strategy.plugin->id());
  try {
    return make<Strategy>(*config.strategy.plugin, config.strategy.values, host)->ranks();
  } catch (const ConfigError& error) {
    throw config.locate(config.strategy.table, error);
  }
}

Host& Assembly::host_for(const Component& component) {
  const Plugin& plugin = *component.plugin;
  hosts_.push_back(std::make_unique<ComponentHost>(notes_, trace_, plugin.id()));
  for (const auto& shadowed : plugin.shadows) {
    hosts_.back()->warn(text(plugin.file.string(), " is used; ", shadowed.string(),
                             " has the same name and is not"));
  }
  return *hosts_.back();
}

/// Null if its constructor refused its options, and then `errors` has the reason.
template <class Interface>
std::unique_ptr<Interface> Assembly::make_part(const Component& component, Errors& errors) {
  try {
    return make<Interface>(*component.plugin, component.values, host_for(component));
  } catch (const ConfigError& error) {
    errors.add(component.table, error);
    return nullptr;
  }
}

InputParts Assembly::make_input(const Component& source, const std::vector<Component>& transforms,
                                const Config& config, Errors& errors) {
  InputParts parts;
  parts.source = make_part<Source>(source, errors);
  bool complete = parts.source != nullptr;
  for (const Component& component : transforms) {
    parts.transform_names.push_back(component.plugin->id());
    parts.transforms.push_back(make_part<Transform>(component, errors));
    if (parts.transforms.back() == nullptr) {
      complete = false;
      continue;
    }
    try {
      parts.transforms.back()->prepare(config.input.shape());
    } catch (const ConfigError& error) {
      errors.add(component.table, error);
    }
  }
  if (!complete) return parts;
  for (std::size_t i = 0; i < transforms.size(); ++i) {
    const std::string problem =
        problem_of_place(*parts.transforms[i], parts.transform_names[i], i, parts.source->format());
    if (!problem.empty()) errors.add(transforms[i].table, ConfigError("plugin", problem));
  }
  return parts;
}

}  // namespace slackline
