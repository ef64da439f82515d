#pragma once

#include <slackline/error.h>
#include <slackline/registry.h>
#include <slackline/run_options.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace slackline {

/// A plugin chosen by a table of the configuration, with its checked options.
struct Component {
  std::string table;  ///< "source", "transform[0]", "eval.source", …
  const Plugin* plugin = nullptr;
  OptionValues values{0};
};

/// Where a configuration comes from.
struct ConfigInput {
  std::filesystem::path file;
  std::vector<std::string> overrides;  ///< "path=TOML" of each --set, in order
};

/// A configuration that has been read, checked and resolved: `extends` merged, overrides applied,
/// every option of every plugin of the right type and in range.
///
/// Threads    const methods from any.
class SLACKLINE_API Config {
 public:
  /// Throws one ConfigError whose message lists everything that is wrong, sorted by place.
  static Config load(const ConfigInput& input, Registry& registry);

  Config(Config&&) noexcept;
  Config& operator=(Config&&) noexcept;
  ~Config();

  RunOptions run;
  InputOptions input;
  OptimizerOptions optimizer;
  MetricsOptions metrics;
  std::optional<CheckpointOptions> checkpoint;
  Component source;
  std::vector<Component> transforms;
  Component prefetcher;
  Component model;
  Component strategy;

  struct Eval {
    EvalOptions options;
    Component source;  ///< [eval.source] laid over [source]
    std::vector<Component> transforms;
  };
  std::optional<Eval> eval;

  /// The file name without its extension: names the run.
  [[nodiscard]] std::string name() const;

  /// Every key with its value, defaults included, as TOML that can be run as it stands; with
  /// `origins`, each line ends with a comment that says where the value came from.
  [[nodiscard]] std::string to_toml(bool origins) const;

  /// `error`, whose option() is an option of `table`, with the place of that option in front and
  /// the line and a caret behind it. `table` as in Component::table, or "run", "input", ….
  [[nodiscard]] ConfigError locate(const std::string& table, const ConfigError& error) const;

  /// One ConfigError for several located ones: sorted by place, without repetition.
  [[nodiscard]] static ConfigError join(const std::vector<ConfigError>& located);

 private:
  struct Document;
  explicit Config(std::unique_ptr<Document> document);
  std::unique_ptr<Document> document_;
};

}  // namespace slackline
