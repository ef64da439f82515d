#include <slackline/error.h>
#include <slackline/model.h>
#include <slackline/plugin.h>
#include <slackline/prefetcher.h>
#include <slackline/registry.h>
#include <slackline/source.h>
#include <slackline/strategy.h>
#include <slackline/transform.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <list>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>  // boost/dll/library_info.hpp needs it and does not say so

#include <boost/dll/runtime_symbol_info.hpp>
#include <boost/dll/shared_library.hpp>
#include <dlfcn.h>
#include <sha2.h>

#include "did_you_mean.h"
#include "library_file.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;

constexpr std::array kKinds = {"model", "prefetcher", "source", "strategy", "transform"};

std::string article(std::string_view kind) { return text("a ", kind); }

/// The version of the C++ interface of a kind; 0 if there is no such kind.
std::uint32_t interface_version_of(std::string_view kind) {
  if (kind == Source::kKind) return Source::kInterfaceVersion;
  if (kind == Transform::kKind) return Transform::kInterfaceVersion;
  if (kind == Prefetcher::kKind) return Prefetcher::kInterfaceVersion;
  if (kind == Model::kKind) return Model::kInterfaceVersion;
  if (kind == Strategy::kKind) return Strategy::kInterfaceVersion;
  return 0;
}

/// What a difference of interface versions means and what to do about it.
std::string interface_mismatch(const slackline_plugin_descriptor& descriptor,
                               std::uint32_t version) {
  return text("implements version ", descriptor.interface_version, " of the ", descriptor.kind,
              " interface, this program has version ", version,
              descriptor.interface_version < version
                  ? ": rebuild it with this slackline's headers"
                  : ": it was built with a newer slackline than this " SLACKLINE_VERSION);
}

bool has_entry(const fs::path& file) {
  std::error_code failed;
  return fs::exists(fs::symlink_status(file, failed));
}

bool is_folder(const fs::path& path) {
  std::error_code failed;
  return fs::is_directory(path, failed);
}

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string sha256_of(const fs::path& file) {
  std::array<char, SHA256_DIGEST_STRING_LENGTH> digest{};
  if (SHA256File(file.c_str(), digest.data()) == nullptr) {
    throw PluginError(text(file.string(), ": cannot be read"));
  }
  return digest.data();
}

/// Never unloads it: thread_locals, inline statics and exceptions of a plugin may outlive any
/// scope. The list is never destroyed either, and is reachable, so that it is no leak.
const boost::dll::shared_library& keep_for_good(boost::dll::shared_library library) {
  static std::mutex mutex;
  static auto& kept = *new std::list<boost::dll::shared_library>;
  const std::lock_guard lock(mutex);
  return kept.emplace_back(std::move(library));
}

/// The descriptor of a library that is a plugin of this kind and name. Throws PluginError without
/// the plugin's name, which the caller adds.
const slackline_plugin_descriptor* load_descriptor(const fs::path& file, std::string_view kind,
                                                   std::string_view name) {
  const auto refuse = [&](const auto&... why) {
    return PluginError(text(file.string(), ": ", why...));
  };
  if (const std::string problem = problem_of_library(file); !problem.empty()) throw refuse(problem);

  boost::dll::shared_library library;
  boost::dll::fs::error_code failed;
  // Bound now: a missing symbol is found here, not in mid-run. Local is dlopen's default.
  library.load(file, failed, boost::dll::load_mode::rtld_now);
  if (failed) {
    const char* words = dlerror();  // Boost's own error code says "Bad file descriptor" for all
    throw refuse(words != nullptr ? readable_loader_text(file, words) : failed.message());
  }
  const boost::dll::shared_library& kept = keep_for_good(std::move(library));

  if (!kept.has(SLACKLINE_DESCRIPTOR_SYMBOL)) {
    throw refuse("is not a slackline plugin: it does not export " SLACKLINE_DESCRIPTOR_SYMBOL
                 " (slackline_add_plugin() and SLACKLINE_PLUGIN do that)");
  }
  const auto* descriptor = kept.get<slackline_plugin_descriptor_fn>(SLACKLINE_DESCRIPTOR_SYMBOL)();
  if (descriptor == nullptr) throw refuse("describes nothing");
  if (descriptor->descriptor_abi != SLACKLINE_DESCRIPTOR_ABI) {
    throw refuse("built for descriptor ABI ", descriptor->descriptor_abi, ", this program has ",
                 SLACKLINE_DESCRIPTOR_ABI, ": rebuild it with this slackline's headers");
  }
  if (descriptor->struct_size < sizeof(slackline_plugin_descriptor) ||
      descriptor->kind == nullptr || descriptor->name == nullptr ||
      descriptor->cxx_abi == nullptr || descriptor->create == nullptr) {
    throw refuse("its description has gaps: SLACKLINE_PLUGIN fills all of it in");
  }
  if (std::string_view(descriptor->cxx_abi) != kCxxAbi) {
    throw refuse("built with ", descriptor->cxx_abi, ", this program with ", kCxxAbi,
                 ": rebuild it with the same standard library");
  }
  if (kind != descriptor->kind) {
    throw refuse("is ", article(descriptor->kind), ", not ", article(kind));
  }
  if (name != descriptor->name) {
    throw refuse("calls itself '", descriptor->name, "': file and plugin must have one name");
  }
  if (const std::uint32_t version = interface_version_of(kind);
      descriptor->interface_version != version) {
    throw refuse(interface_mismatch(*descriptor, version));
  }
  return descriptor;
}

}  // namespace

std::string Plugin::id() const { return text(descriptor->kind, "/", descriptor->name); }

std::string Plugin::unavailable() const {
  if (descriptor->unavailable == nullptr) return "";
  const char* const why = descriptor->unavailable();
  return why == nullptr ? "" : why;
}

void OptionValues::set_ints(std::size_t option, std::vector<std::int64_t> items) {
  options_[option] = {};
  options_[option].is_set = true;
  options_[option].ints = std::move(items);
}

void OptionValues::set_floats(std::size_t option, std::vector<double> items) {
  options_[option] = {};
  options_[option].is_set = true;
  options_[option].floats = std::move(items);
}

void OptionValues::set_strings(std::size_t option, std::vector<std::string> items) {
  options_[option] = {};
  options_[option].is_set = true;
  options_[option].strings = std::move(items);
}

std::vector<slackline_value> OptionValues::view() const {
  std::vector<slackline_value> out;
  for (const Items& items : options_) {
    items.string_pointers.clear();
    for (const std::string& item : items.strings) items.string_pointers.push_back(item.c_str());
    const std::size_t count =
        std::max({items.ints.size(), items.floats.size(), items.strings.size()});
    out.push_back({.is_set = items.is_set ? 1u : 0u,
                   .count = static_cast<std::uint32_t>(count),
                   .ints = items.ints.data(),
                   .floats = items.floats.data(),
                   .strings = items.string_pointers.data()});
  }
  return out;
}

Registry::Registry(std::vector<PluginDirectory> search_path)
    : search_path_(std::move(search_path)) {}

std::vector<PluginDirectory> Registry::default_search_path() {
  std::vector<PluginDirectory> out;
  // Where this very library lies, in the build tree lib/: that needs no /proc.
  const fs::path beside =
      fs::path(boost::dll::this_line_location()).parent_path().parent_path() / "plugins";
  if (is_folder(beside)) out.push_back({beside, "build tree"});
  std::istringstream listed(env("SLACKLINE_PLUGIN_PATH"));
  for (std::string entry; std::getline(listed, entry, ':');) {
    if (entry.empty()) continue;
    if (!fs::path(entry).is_absolute()) {
      throw PluginError(text("SLACKLINE_PLUGIN_PATH: '", entry,
                             "' is relative; give absolute directories, separated by ':'"));
    }
    out.push_back({entry, "SLACKLINE_PLUGIN_PATH"});
  }
  const std::string data_home = env("XDG_DATA_HOME");
  const std::string home = env("HOME");
  if (!data_home.empty() || !home.empty()) {
    const fs::path base = data_home.empty() ? fs::path(home) / ".local/share" : fs::path(data_home);
    out.push_back({base / "slackline/plugins", "user"});
  }
  out.push_back({"/usr/local/lib/slackline/plugins", "site"});
  if (fs::path(SLACKLINE_SYSTEM_PLUGIN_DIR) != out.back().path) {
    out.push_back({SLACKLINE_SYSTEM_PLUGIN_DIR, "system"});
  }
  return out;
}

const Plugin& Registry::load(std::string_view kind, std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto key = std::pair(std::string(kind), std::string(name));
  if (const auto found = loaded_.find(key); found != loaded_.end()) return *found->second;

  const std::string asked = text(kind, " plugin '", name, "'");
  if (name.empty() || name.find('/') != std::string_view::npos) {
    throw PluginError(text(asked, ": a name is one word, without '/'"));
  }
  if (interface_version_of(kind) == 0) {
    std::string kinds;
    for (const char* known : kKinds) kinds += text(kinds.empty() ? "" : ", ", known);
    throw PluginError(text(asked, ": there is no kind '", kind, "', only ", kinds));
  }
  std::vector<fs::path> files;
  for (const PluginDirectory& directory : search_path_) {
    fs::path file = directory.path / kind / (std::string(name) + ".so");
    if (has_entry(file)) files.push_back(std::move(file));
  }
  if (files.empty()) throw not_found(kind, name);

  auto plugin = std::make_unique<Plugin>();
  plugin->file = files.front();
  plugin->shadows.assign(files.begin() + 1, files.end());
  try {
    plugin->descriptor = load_descriptor(plugin->file, kind, name);
  } catch (const PluginError& error) {
    throw PluginError(text(asked, ": ", error.what()));
  }
  plugin->sha256 = sha256_of(plugin->file);
  return *loaded_.emplace(key, std::move(plugin)).first->second;
}

PluginError Registry::not_found(std::string_view kind, std::string_view name) const {
  std::string message = text(kind, " plugin '", name, "' was not found");
  const std::string meant = did_you_mean(name, names(kind));
  if (!meant.empty()) message += text(" (did you mean '", meant, "'?)");
  for (const char* other : kKinds) {
    const auto theirs = names(other);
    if (other != kind && std::find(theirs.begin(), theirs.end(), name) != theirs.end()) {
      message += text("; there is ", article(other), " of that name");
    }
  }
  message += "; searched:";
  for (const PluginDirectory& directory : search_path_) {
    message += text("\n    ", (directory.path / kind).string(), " (", directory.origin,
                    is_folder(directory.path / kind) ? ")" : ", does not exist)");
  }
  return PluginError(message);
}

std::vector<std::string> Registry::names(std::string_view kind) const {
  std::vector<std::string> out;
  for (const PluginDirectory& directory : search_path_) {
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(directory.path / kind, failed)) {
      if (entry.path().extension() == ".so") out.push_back(entry.path().stem().string());
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<PluginListing> Registry::list() {
  std::vector<PluginListing> out;
  for (const char* kind : kKinds) {
    for (const std::string& name : names(kind)) {
      fs::path first;
      for (const PluginDirectory& directory : search_path_) {
        const fs::path file = directory.path / kind / (name + ".so");
        if (!has_entry(file)) continue;
        PluginListing listing{.kind = kind,
                              .name = name,
                              .file = file,
                              .plugin = nullptr,
                              .problem = {},
                              .unavailable = {}};
        if (!first.empty()) {
          listing.problem = text("shadowed by ", first.string());
        } else {
          first = file;
          try {
            listing.plugin = &load(kind, name);
            listing.unavailable = listing.plugin->unavailable();
          } catch (const PluginError& error) {
            listing.problem = error.what();
          }
        }
        out.push_back(std::move(listing));
      }
    }
  }
  return out;
}

void* registry_detail::create(const Plugin& plugin, const char* kind,
                              std::uint32_t interface_version, const OptionValues& values,
                              Host& host) {
  const slackline_plugin_descriptor& descriptor = *plugin.descriptor;
  if (std::string_view(descriptor.kind) != kind) {
    throw PluginError(
        text(plugin.id(), ": is ", article(descriptor.kind), ", not ", article(kind)));
  }
  if (descriptor.interface_version != interface_version) {
    throw PluginError(text(plugin.id(), ": ", plugin.file.string(), ": ",
                           interface_mismatch(descriptor, interface_version)));
  }
  if (const std::string why = plugin.unavailable(); !why.empty()) {
    throw DeviceError(text(plugin.id(), " is unavailable: ", why));
  }
  void* made = nullptr;
  try {
    made = descriptor.create(values.view().data(), &host);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw PluginError(text(plugin.id(), ": its constructor failed: ", error.what()));
  } catch (...) {
    throw PluginError(text(plugin.id(), ": its constructor threw something that is no exception"));
  }
  if (made == nullptr) throw PluginError(text(plugin.id(), ": its constructor made nothing"));
  return made;
}

}  // namespace slackline
