#include <slackline/registry.h>

#include <filesystem>
#include <iomanip>
#include <iostream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "verbs.h"

namespace slackline::app {
namespace {

using Json = nlohmann::ordered_json;

const char* type_name(const slackline_option& option) {
  switch (option.type) {
    case SLACKLINE_BOOL:
      return "bool";
    case SLACKLINE_INT:
      return "int";
    case SLACKLINE_FLOAT:
      return "float";
    case SLACKLINE_STRING:
      return option.choice_count > 0 ? "choice" : "string";
    case SLACKLINE_PATH:
      return "path";
    case SLACKLINE_SIZE:
      return "size";
    case SLACKLINE_DURATION:
      return "duration";
    default:
      return "unknown";
  }
}

bool has(const slackline_option& option, unsigned flag) { return (option.flags & flag) != 0; }

std::string type_text(const slackline_option& option) {
  std::string out = type_name(option);
  if (!has(option, SLACKLINE_LIST)) return out;
  if (option.items_min == option.items_max && option.items_max > 0) {
    return text(out, "[", option.items_max, "]");
  }
  return out + "[]";
}

/// "1 to 1024 shards", "\"tf\", \"accurate\"", or what of it there is.
std::string allowed_text(const slackline_option& option) {
  std::ostringstream out;
  for (std::uint32_t i = 0; i < option.choice_count; ++i) {
    out << (i == 0 ? "" : ", ") << '"' << option.choices[i] << '"';
  }
  if (has(option, SLACKLINE_HAS_RANGE)) {
    if (option.type == SLACKLINE_FLOAT) {
      out << option.min << " to " << option.max;
    } else {
      out << option.int_min << " to " << option.int_max;
      if (option.type == SLACKLINE_DURATION) out << " ns";
      if (option.type == SLACKLINE_SIZE) out << " B";
    }
  }
  if (*option.unit != '\0') out << (out.str().empty() ? "" : " ") << option.unit;
  return out.str();
}

Json json_of(const slackline_option& option) {
  Json out = {{"name", option.name},
              {"type", type_name(option)},
              {"list", has(option, SLACKLINE_LIST)},
              {"required", has(option, SLACKLINE_REQUIRED)},
              {"default", has(option, SLACKLINE_REQUIRED) ? Json() : Json(option.default_toml)},
              {"unit", option.unit},
              {"doc", option.doc}};
  if (*option.example_toml != '\0') out["example"] = option.example_toml;
  if (has(option, SLACKLINE_HAS_RANGE)) {
    if (option.type == SLACKLINE_FLOAT) {
      out["min"] = option.min;
      out["max"] = option.max;
    } else {
      out["min"] = option.int_min;
      out["max"] = option.int_max;
    }
  }
  if (has(option, SLACKLINE_LIST)) {
    out["items_min"] = option.items_min;
    out["items_max"] = option.items_max;
  }
  for (std::uint32_t i = 0; i < option.choice_count; ++i) {
    out["choices"].push_back(option.choices[i]);
  }
  return out;
}

Json json_of(const Plugin& plugin) {
  const slackline_plugin_descriptor& descriptor = *plugin.descriptor;
  Json options = Json::array();
  for (std::uint32_t i = 0; i < descriptor.option_count; ++i) {
    options.push_back(json_of(descriptor.options[i]));
  }
  return {{"kind", descriptor.kind},       {"name", descriptor.name},
          {"version", descriptor.version}, {"interface_version", descriptor.interface_version},
          {"summary", descriptor.summary}, {"file", plugin.file.string()},
          {"sha256", plugin.sha256},       {"options", options}};
}

/// A commented sample of the plugin's table, which parses as it stands.
void print_toml(const Plugin& plugin) {
  const slackline_plugin_descriptor& descriptor = *plugin.descriptor;
  const std::string kind = descriptor.kind;
  std::cout << "# " << plugin.id() << " " << descriptor.version << ": " << descriptor.summary
            << "\n"
            << (kind == "transform" ? "[[transform]]" : "[" + kind + "]") << "\n"
            << "plugin = \"" << descriptor.name << "\"\n";
  for (std::uint32_t i = 0; i < descriptor.option_count; ++i) {
    const slackline_option& option = descriptor.options[i];
    const bool required = has(option, SLACKLINE_REQUIRED);
    const std::string allowed = allowed_text(option);
    std::cout << "\n# " << option.doc << (required ? " (required)" : "") << "\n";
    if (!allowed.empty()) std::cout << "# " << allowed << "\n";
    const char* value =
        required && *option.example_toml != '\0' ? option.example_toml : option.default_toml;
    std::cout << (required ? "" : "# ") << option.name << " = " << value << "\n";
  }
}

void print_text(const Plugin& plugin) {
  const slackline_plugin_descriptor& descriptor = *plugin.descriptor;
  std::cout << plugin.id() << " " << descriptor.version << ": " << descriptor.summary << "\n"
            << "file " << plugin.file.string() << "\n";
  if (const std::string why = plugin.unavailable(); !why.empty()) {
    std::cout << "unavailable: " << why << "\n";
  }
  if (descriptor.option_count == 0) std::cout << "\nno options\n";
  for (std::uint32_t i = 0; i < descriptor.option_count; ++i) {
    const slackline_option& option = descriptor.options[i];
    std::cout << "\n  " << option.name << "  " << type_text(option) << ", "
              << (has(option, SLACKLINE_REQUIRED) ? std::string("required")
                                                  : text("default ", option.default_toml))
              << "\n      " << option.doc << "\n";
    const std::string allowed = allowed_text(option);
    if (!allowed.empty()) std::cout << "      " << allowed << "\n";
    if (*option.example_toml != '\0') std::cout << "      example " << option.example_toml << "\n";
  }
}

const char* status_of(const PluginListing& listing) {
  if (!listing.unavailable.empty()) return "unavailable";
  if (listing.plugin != nullptr) return "ok";
  return listing.problem.starts_with("shadowed by ") ? "shadowed" : "unusable";
}

}  // namespace

ExitCode list_plugins_verb(Format format) {
  Registry registry(Registry::default_search_path());
  const std::vector<PluginListing> listings = registry.list();
  if (format == Format::kJson) {
    Json out = Json::array();
    for (const PluginListing& listing : listings) {
      Json entry = {{"kind", listing.kind},
                    {"name", listing.name},
                    {"file", listing.file.string()},
                    {"status", status_of(listing)},
                    {"problem", listing.plugin != nullptr ? listing.unavailable : listing.problem}};
      if (listing.plugin != nullptr) {
        entry["version"] = listing.plugin->descriptor->version;
        entry["summary"] = listing.plugin->descriptor->summary;
      }
      out.push_back(entry);
    }
    std::cout << out.dump(2) << "\n";
    return ExitCode::kOk;
  }
  for (const PluginListing& listing : listings) {
    std::cout << std::left << std::setw(32) << listing.kind + "/" + listing.name;
    if (!listing.unavailable.empty()) {
      std::cout << "unavailable: " << listing.unavailable << "\n";
    } else if (listing.plugin != nullptr) {
      std::cout << listing.plugin->descriptor->version << "  "
                << listing.plugin->descriptor->summary << "\n";
    } else {
      std::cout << status_of(listing) << ": " << listing.problem << "\n";
    }
  }
  if (listings.empty()) {
    std::cout << "no plugins found; searched:\n";
    return plugin_path_verb();
  }
  return ExitCode::kOk;
}

ExitCode plugin_path_verb() {
  for (const PluginDirectory& directory : Registry::default_search_path()) {
    std::cout << directory.path.string() << "  (" << directory.origin
              << (std::filesystem::is_directory(directory.path) ? ")" : ", does not exist)")
              << "\n";
  }
  return ExitCode::kOk;
}

ExitCode inspect_verb(const std::string& id, Format format) {
  const std::size_t slash = id.find('/');  // main() has checked that there is one
  Registry registry(Registry::default_search_path());
  const Plugin& plugin = registry.load(id.substr(0, slash), id.substr(slash + 1));
  switch (format) {
    case Format::kText:
      print_text(plugin);
      break;
    case Format::kJson:
      std::cout << json_of(plugin).dump(2) << "\n";
      break;
    case Format::kToml:
      print_toml(plugin);
      break;
  }
  return ExitCode::kOk;
}

}  // namespace slackline::app
