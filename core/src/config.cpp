#include <slackline/config.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "config_check.h"
#include "config_document.h"
#include "did_you_mean.h"

namespace slackline {
namespace {

using Problems = std::vector<ConfigProblem>;

constexpr std::array kTopLevel = {"extends",    "run",        "input",    "optimizer",
                                  "metrics",    "checkpoint", "source",   "transform",
                                  "prefetcher", "model",      "strategy", "eval"};

/// A table as it will be used.
struct UsedTable {
  std::string name;    ///< "source", "transform[0]", "eval.source"
  std::string header;  ///< "[source]", "[[transform]]"
  std::string plugin;  ///< empty for core's own tables
  Place place;         ///< of the header
  Place plugin_place;
  std::vector<ResolvedKey> keys;
};

ConfigError error_of(Problems problems) {
  std::stable_sort(problems.begin(), problems.end(), [](const auto& a, const auto& b) {
    const auto key = [](const ConfigProblem& p) {
      return std::tuple(p.place.text != nullptr ? p.place.text->name : "", p.place.line,
                        p.place.column);
    };
    return key(a) < key(b);
  });
  // [eval.source] shares keys with [source], whose mistakes are then found twice.
  std::vector<std::string> messages;
  for (const ConfigProblem& problem : problems) messages.push_back(text_of(problem));
  messages.erase(std::unique(messages.begin(), messages.end()), messages.end());
  std::string message;
  for (const std::string& each : messages) message += (message.empty() ? "" : "\n") + each;
  return ConfigError(message);
}

}  // namespace

struct Config::Document {
  std::string name;
  std::string file;
  std::vector<UsedTable> tables;

  [[nodiscard]] const UsedTable* find(const std::string& table) const {
    const auto found = std::find_if(tables.begin(), tables.end(),
                                    [&](const UsedTable& t) { return t.name == table; });
    return found == tables.end() ? nullptr : &*found;
  }
};

namespace {

/// Reads the tree into a Config, table by table, and collects what is wrong.
class Loader {
 public:
  Loader(Registry& registry, std::vector<UsedTable>& used) : registry_(registry), used_(used) {}

  void check_top_level(const ConfigNode& root) {
    const std::vector<std::string> known(kTopLevel.begin(), kTopLevel.end());
    for (const auto& [key, member] : root.members) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        std::string help = did_you_mean(key, known);
        if (!help.empty()) help = text("did you mean '", help, "'?");
        for (const TableSchema& schema : core_schemas()) {
          if (help.empty() && schema.has(key)) help = text("'", key, "' belongs to ", schema.title);
        }
        problems.push_back({member.key, text("there is no table or key '", key, "'"), help});
      }
    }
  }

  /// One of core's own tables; defaults if it is missing. `other_keys` are allowed beside the
  /// options.
  template <class Options>
  Options own_table(const ConfigNode* table, const std::string& name,
                    std::vector<std::string> other_keys = {}) {
    static const auto options = Options::table();
    if (table != nullptr && table->type != ConfigNode::Type::kTable) {
      problems.push_back({table->place,
                          text("[", name, "] is ", table->type_text(), ", but must be a table"),
                          {}});
      table = nullptr;
    }
    const ConfigNode empty;
    const ConfigNode& node = table != nullptr ? *table : empty;
    const TableSchema schema{"[" + name + "]", options.rows().data(), options.rows().size(),
                             std::move(other_keys)};
    CheckedTable checked = check_table(node, schema, core_schemas, problems);
    used_.push_back({name, "[" + name + "]", "", node.place, {}, std::move(checked.keys)});
    return options.bind(checked.values.view().data());
  }

  /// A table that chooses a plugin of this kind.
  Component component(const ConfigNode* table, const std::string& kind, const std::string& name,
                      const std::string& header, const Place& parent) {
    Component out{.table = name, .plugin = nullptr, .values = OptionValues(0)};
    if (table == nullptr) {
      problems.push_back({parent, text("there is no ", header, ", which chooses the ", kind),
                          text("for instance plugin = ", example_of(kind))});
      return out;
    }
    if (table->type != ConfigNode::Type::kTable) {
      problems.push_back(
          {table->place, text(header, " is ", table->type_text(), ", but must be a table"), {}});
      return out;
    }
    const ConfigNode* plugin = table->find("plugin");
    if (plugin == nullptr || plugin->type != ConfigNode::Type::kString) {
      problems.push_back({plugin != nullptr ? plugin->place : table->place,
                          text(header, " needs plugin = \"NAME\""),
                          text("there are ", listed(registry_.names(kind)))});
      return out;
    }
    try {
      out.plugin = &registry_.load(kind, plugin->string);
    } catch (const PluginError& error) {
      problems.push_back({plugin->place, error.what(), {}});
      return out;
    }
    const slackline_plugin_descriptor& descriptor = *out.plugin->descriptor;
    const TableSchema schema{text(kind, " '", plugin->string, "'"),
                             descriptor.options,
                             descriptor.option_count,
                             {"plugin"}};
    const auto others = [&] { return schemas_beside(*out.plugin); };
    CheckedTable checked = check_table(*table, schema, others, problems);
    out.values = std::move(checked.values);
    used_.push_back(
        {name, header, plugin->string, table->place, plugin->place, std::move(checked.keys)});
    return out;
  }

  /// The tables of an array of them.
  std::vector<Component> components(const ConfigNode* tables, const std::string& prefix,
                                    const Place& parent) {
    std::vector<Component> out;
    const std::string header = "[[" + prefix + "transform]]";
    if (tables != nullptr && tables->type == ConfigNode::Type::kTable) {
      problems.push_back({tables->place,
                          text("transforms are a list, even if there is only one: write ", header),
                          {}});
      return out;
    }
    if (tables == nullptr || tables->type != ConfigNode::Type::kArray || tables->items.empty()) {
      problems.push_back(
          {tables != nullptr ? tables->place : parent,
           text("there is no ", header, ": at least one transform must turn records into samples"),
           text("for instance ", header, " with plugin = ", example_of("transform"))});
      return out;
    }
    for (std::size_t i = 0; i < tables->items.size(); ++i) {
      out.push_back(component(&tables->items[i], "transform", text(prefix, "transform[", i, "]"),
                              header, parent));
    }
    return out;
  }

  Problems problems;

 private:
  std::string example_of(const std::string& kind) const {
    const auto names = registry_.names(kind);
    return toml_quoted(names.empty() ? "NAME" : names.front());
  }

  static std::string listed(const std::vector<std::string>& names) {
    std::string out;
    for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
    return out.empty() ? "none installed" : out;
  }

  /// Where a key that `plugin` does not have may belong: core's tables, other plugins of its kind.
  std::vector<TableSchema> schemas_beside(const Plugin& plugin) const {
    std::vector<TableSchema> out = core_schemas();
    const std::string kind = plugin.descriptor->kind;
    for (const std::string& name : registry_.names(kind)) {
      if (name == plugin.descriptor->name) continue;
      try {
        const slackline_plugin_descriptor& other = *registry_.load(kind, name).descriptor;
        out.push_back({text(kind, " '", name, "'"), other.options, other.option_count, {}});
      } catch (const PluginError&) {
        // One that cannot be loaded gives no hint; it is not what the user asked for.
      }
    }
    return out;
  }

  static std::vector<TableSchema> core_schemas() {
    static const auto run = RunOptions::table();
    static const auto input = InputOptions::table();
    static const auto optimizer = OptimizerOptions::table();
    static const auto metrics = MetricsOptions::table();
    static const auto checkpoint = CheckpointOptions::table();
    return {{"[run]", run.rows().data(), run.rows().size(), {}},
            {"[input]", input.rows().data(), input.rows().size(), {}},
            {"[optimizer]", optimizer.rows().data(), optimizer.rows().size(), {}},
            {"[metrics]", metrics.rows().data(), metrics.rows().size(), {}},
            {"[checkpoint]", checkpoint.rows().data(), checkpoint.rows().size(), {}}};
  }

  Registry& registry_;
  std::vector<UsedTable>& used_;
};

/// [eval.source] laid over [source]: the same plugin inherits its keys, another stands alone.
ConfigNode eval_source(const ConfigNode* base, const ConfigNode& over) {
  if (base == nullptr || over.type != ConfigNode::Type::kTable) return over;
  const ConfigNode* plugin = over.find("plugin");
  const ConfigNode* base_plugin = base->find("plugin");
  if (plugin != nullptr && base_plugin != nullptr && plugin->string != base_plugin->string) {
    return over;
  }
  ConfigNode out = *base;
  out.place = over.place;
  for (const auto& [key, member] : over.members) out.members[key] = member;
  return out;
}

}  // namespace

Config::Config(std::unique_ptr<Document> document) : document_(std::move(document)) {}
Config::Config(Config&&) noexcept = default;
Config& Config::operator=(Config&&) noexcept = default;
Config::~Config() = default;

Config Config::load(const ConfigInput& input, Registry& registry) {
  auto document = std::make_unique<Document>();
  document->file = input.file.string();
  document->name = input.file.stem().string();
  Loader loader(registry, document->tables);
  const ConfigNode root = read_config(input.file, input.overrides, loader.problems);
  // A file that could not be parsed would be said to lack everything.
  if (root.members.empty() && !loader.problems.empty()) throw error_of(loader.problems);

  Config config(std::move(document));
  loader.check_top_level(root);
  Place whole = root.place;
  whole.line = 0;  // what a file lacks stands on no line of it
  config.run = loader.own_table<RunOptions>(root.find("run"), "run");
  config.input = loader.own_table<InputOptions>(root.find("input"), "input");
  config.optimizer = loader.own_table<OptimizerOptions>(root.find("optimizer"), "optimizer");
  config.metrics = loader.own_table<MetricsOptions>(root.find("metrics"), "metrics");
  if (const ConfigNode* checkpoint = root.find("checkpoint"); checkpoint != nullptr) {
    config.checkpoint = loader.own_table<CheckpointOptions>(checkpoint, "checkpoint");
  }
  const auto part = [&](const std::string& kind) {
    return loader.component(root.find(kind), kind, kind, "[" + kind + "]", whole);
  };
  config.source = part("source");
  config.transforms = loader.components(root.find("transform"), "", whole);
  config.prefetcher = part("prefetcher");
  config.model = part("model");
  config.strategy = part("strategy");
  if (const ConfigNode* eval = root.find("eval"); eval != nullptr) {
    Eval parts;
    parts.options = loader.own_table<EvalOptions>(eval, "eval", {"source", "transform"});
    if (eval->type == ConfigNode::Type::kTable) {
      if (const ConfigNode* held_out = eval->find("source"); held_out != nullptr) {
        const ConfigNode source = eval_source(root.find("source"), *held_out);
        parts.source = loader.component(&source, "source", "eval.source", "[eval.source]", whole);
      } else {
        loader.problems.push_back({eval->place,
                                   "there is no [eval.source], which says what is held out",
                                   "it inherits from [source]; give it at least other data"});
      }
      parts.transforms = loader.components(eval->find("transform"), "eval.", eval->place);
    }
    config.eval = std::move(parts);
  }
  if (config.input.shard_index >= config.input.shard_count) {
    const ConfigError error("shard_index",
                            text("'shard_index' = ", config.input.shard_index,
                                 " must be below 'shard_count' = ", config.input.shard_count));
    const UsedTable* table = config.document_->find("input");
    Place place = table->place;
    for (const ResolvedKey& key : table->keys) {
      if (key.name == error.option() && key.place.text != nullptr) place = key.place;
    }
    loader.problems.push_back({place, error.what(), {}});
  }
  if (!loader.problems.empty()) throw error_of(std::move(loader.problems));
  return config;
}

std::string Config::name() const { return document_->name; }

std::string Config::to_toml(bool origins) const {
  std::string out =
      "# Resolved by slackline: every key with its value. It can be run as it stands.\n";
  for (const UsedTable& table : document_->tables) {
    out += text("\n", table.header, "\n");
    const auto line = [&](const std::string& key, const std::string& value, const Place& place) {
      out += text(key, " = ", value);
      if (origins) out += "  # " + (place.text != nullptr ? place.brief() : std::string("default"));
      out += "\n";
    };
    if (!table.plugin.empty()) line("plugin", toml_quoted(table.plugin), table.plugin_place);
    for (const ResolvedKey& key : table.keys) {
      // The directory belongs to one run: a second one must not write into it.
      if (table.name == "run" && key.name == "dir" && !origins) continue;
      line(key.name, key.toml, key.place);
    }
  }
  return out;
}

ConfigError Config::locate(const std::string& table, const ConfigError& error) const {
  ConfigProblem problem{{}, error.what(), {}};
  if (const UsedTable* used = document_->find(table); used != nullptr) {
    problem.place = used->place;
    if (used->plugin_place.text != nullptr) problem.place = used->plugin_place;
    for (const ResolvedKey& key : used->keys) {
      if (key.name == error.option() && key.place.text != nullptr) problem.place = key.place;
    }
  }
  return ConfigError(error.option(), text_of(problem));
}

ConfigError Config::join(const std::vector<ConfigError>& located) {
  /// "file:3:10: error: …" as (file, 3, 10).
  const auto key = [](const std::string& message) {
    const std::string place = message.substr(0, message.find(": error:"));
    const std::size_t column = place.rfind(':');
    const std::size_t line = column == std::string::npos ? column : place.rfind(':', column - 1);
    if (line == std::string::npos) return std::tuple(place, 0, 0);  // "file: error: …"
    return std::tuple(place.substr(0, line), std::atoi(place.c_str() + line + 1),
                      std::atoi(place.c_str() + column + 1));
  };
  std::vector<std::string> messages;
  messages.reserve(located.size());
  for (const ConfigError& error : located) messages.emplace_back(error.what());
  std::stable_sort(messages.begin(), messages.end(),
                   [&](const auto& a, const auto& b) { return key(a) < key(b); });
  messages.erase(std::unique(messages.begin(), messages.end()), messages.end());
  std::string out;
  for (const std::string& message : messages) out += (out.empty() ? "" : "\n") + message;
  return ConfigError(out);
}

}  // namespace slackline
