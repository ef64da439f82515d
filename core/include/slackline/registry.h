#pragma once

#include <slackline/error.h>
#include <slackline/host.h>
#include <slackline/plugin_abi.h>

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slackline {

/// One place where plugins are looked for.
struct PluginDirectory {
  std::filesystem::path path;  ///< holds <kind>/<name>.so
  std::string origin;          ///< "build tree", "SLACKLINE_PLUGIN_PATH", "user", "site", "system"
};

/// A plugin whose library is loaded. It stays so until the process ends.
struct Plugin {
  const slackline_plugin_descriptor* descriptor = nullptr;
  std::filesystem::path file;
  std::string sha256;                          ///< of the file, hexadecimal
  std::vector<std::filesystem::path> shadows;  ///< files of the same name, later in the search path
  /// "kind/name", as in messages and results.
  [[nodiscard]] SLACKLINE_API std::string id() const;
  /// Why this machine cannot run it: "no CUDA driver"; empty if it can.
  [[nodiscard]] SLACKLINE_API std::string unavailable() const;
};

/// One file that looks like a plugin, whatever became of it.
struct PluginListing {
  std::string kind, name;
  std::filesystem::path file;
  const Plugin* plugin = nullptr;  ///< null if it could not be loaded or is shadowed
  std::string problem;             ///< why not; empty if it is fine
  std::string unavailable;         ///< loaded, but this machine cannot run it: why; else empty
};

/// The values of a plugin's options, in the order of its table. Owns what slackline_value borrows.
class SLACKLINE_API OptionValues {
 public:
  explicit OptionValues(std::size_t option_count) : options_(option_count) {}

  void set_ints(std::size_t option, std::vector<std::int64_t> items);
  void set_floats(std::size_t option, std::vector<double> items);
  void set_strings(std::size_t option, std::vector<std::string> items);

  /// Points into this object; valid until the next change.
  [[nodiscard]] std::vector<slackline_value> view() const;

 private:
  struct Items {
    bool is_set = false;
    std::vector<std::int64_t> ints;
    std::vector<double> floats;
    std::vector<std::string> strings;
    mutable std::vector<const char*> string_pointers;
  };
  std::vector<Items> options_;
};

/// Finds and loads plugins. A plugin's folder, its TOML name and its file are the same word.
///
/// Threads    any, one call at a time (it locks).
/// Errors     PluginError: which plugin, which file, the loader's own words, where was searched.
class SLACKLINE_API Registry {
 public:
  explicit Registry(std::vector<PluginDirectory> search_path);

  /// Build tree (plugins/ beside the folder of libslackline.so), SLACKLINE_PLUGIN_PATH
  /// (colon-separated, absolute), user ($XDG_DATA_HOME or ~/.local/share, + /slackline/plugins),
  /// site
  /// (/usr/local/lib/slackline/plugins), system (where slackline was installed). The first
  /// directory that has a name wins.
  static std::vector<PluginDirectory> default_search_path();

  [[nodiscard]] const std::vector<PluginDirectory>& search_path() const { return search_path_; }

  /// Loads kind/name with all symbols bound now and local to it, checks that it is what it should
  /// be, and keeps it for good. A second call returns the same object.
  const Plugin& load(std::string_view kind, std::string_view name);

  /// Every file in the search path, loaded or not; sorted by kind and name.
  std::vector<PluginListing> list();

  /// Names of the plugins of a kind that have a file, sorted: for "did you mean".
  [[nodiscard]] std::vector<std::string> names(std::string_view kind) const;

 private:
  [[nodiscard]] PluginError not_found(std::string_view kind, std::string_view name) const;

  std::vector<PluginDirectory> search_path_;
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<Plugin>> loaded_;
};

/// Makes an object of a loaded plugin. Throws what its constructor throws; another exception than
/// slackline::Error becomes a PluginError that names the plugin. Throws DeviceError if the plugin
/// says that this machine cannot run it.
template <class Interface>
[[nodiscard]] std::unique_ptr<Interface> make(const Plugin& plugin, const OptionValues& values,
                                              Host& host);

namespace registry_detail {
SLACKLINE_API void* create(const Plugin& plugin, const char* kind, std::uint32_t interface_version,
                           const OptionValues& values, Host& host);
}

template <class Interface>
std::unique_ptr<Interface> make(const Plugin& plugin, const OptionValues& values, Host& host) {
  return std::unique_ptr<Interface>(static_cast<Interface*>(registry_detail::create(
      plugin, Interface::kKind, Interface::kInterfaceVersion, values, host)));
}

}  // namespace slackline
