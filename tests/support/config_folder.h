#pragma once

// A folder of configurations over the plugins of tests/fixtures/config, and what is said of them.

#include <slackline/config.h>

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "temporary_folder.h"

namespace slackline::testing_support {

class ConfigFolder : public testing::Test {
 protected:
  /// What every configuration needs and no test is about.
  static constexpr const char* kRest =
      "[[transform]]\nplugin = \"decode\"\n"
      "[prefetcher]\nplugin = \"shallow\"\n"
      "[model]\nplugin = \"tiny\"\n"
      "[strategy]\nplugin = \"single\"\n";
  static constexpr const char* kSource =
      "[source]\nplugin = \"records\"\nfiles = [\"data/train-*\"]\n";

  ConfigFolder() : registry({{plugins_, "fixtures"}}) {}

  std::filesystem::path write(const std::string& name, const std::string& contents) {
    return folder_.write(name, contents);
  }

  Config load(const std::string& name, const std::vector<std::string>& overrides = {}) {
    return Config::load({folder_.path() / name, overrides}, registry);
  }

  /// Writes the text as x.toml and loads it.
  Config load_text(const std::string& contents, const std::vector<std::string>& overrides = {}) {
    write("x.toml", contents);
    return load("x.toml", overrides);
  }

  /// Everything that is wrong with a file, with short names for machine-dependent folders; "" if
  /// nothing is.
  std::string errors(const std::string& name, const std::vector<std::string>& overrides = {}) {
    try {
      (void)load(name, overrides);
      return "";
    } catch (const ConfigError& error) {
      return shortened(error.what());
    }
  }

  std::string errors_of_text(const std::string& contents,
                             const std::vector<std::string>& overrides = {}) {
    write("x.toml", contents);
    return errors("x.toml", overrides);
  }

  [[nodiscard]] std::string shortened(const std::string& text) const {
    return replaced(
        replaced(replaced(text, folder_.path().string() + "/", ""), folder_.path().string(), "."),
        plugins_, "PLUGINS");
  }

  /// The value of an option of a component, as plugins receive it; nullptr if it is not set.
  static std::string value(const Component& component, const std::string& option) {
    const slackline_plugin_descriptor& descriptor = *component.plugin->descriptor;
    const auto values = component.values.view();
    for (std::uint32_t i = 0; i < descriptor.option_count; ++i) {
      if (descriptor.options[i].name != option) continue;
      if (values[i].is_set == 0) return "not set";
      std::string out;
      for (std::uint32_t k = 0; k < values[i].count; ++k) {
        out += k == 0 ? "" : " ";
        switch (descriptor.options[i].type) {
          case SLACKLINE_FLOAT:
            out += text(values[i].floats[k]);
            break;
          case SLACKLINE_STRING:
          case SLACKLINE_PATH:
            out += values[i].strings[k];
            break;
          default:
            out += text(values[i].ints[k]);
        }
      }
      return out;
    }
    return "no such option";
  }

  Registry registry;

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_.path(); }

 private:
  static inline const std::string plugins_ =
      std::string(SLACKLINE_TEST_BINARY_DIR) + "/fixtures/config";
  TemporaryFolder folder_;
};

}  // namespace slackline::testing_support
