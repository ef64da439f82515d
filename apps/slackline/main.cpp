// The command line: arguments in, exit code out. What the verbs do is in the other files.

#include <slackline/error.h>

#include <functional>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

#include "verbs.h"

namespace {

using slackline::ExitCode;
namespace app = slackline::app;

/// Adds the arguments that every verb with a configuration has.
void add_config(CLI::App& verb, app::ConfigArguments& config) {
  verb.add_option("CONFIG", config.file, "TOML file")->required();
  verb.add_option("--set", config.set, "override one key: path=TOML, as often as needed")
      ->type_name("PATH=TOML")
      ->allow_extra_args(false);
}

int main_with_errors(int argc, char** argv) {
  CLI::App program("finds input stalls in training and removes them", "slackline");
  program.set_version_flag("--version", SLACKLINE_VERSION);
  program.require_subcommand(1);

  app::ConfigArguments config;
  std::string dir, id;
  bool origins = false, json = false, toml = false;
  std::function<ExitCode()> chosen;
  const auto format = [&] {
    return json ? app::Format::kJson : toml ? app::Format::kToml : app::Format::kText;
  };

  CLI::App* run = program.add_subcommand("run", "train or benchmark as a configuration says");
  add_config(*run, config);
  run->add_option("--dir", dir, "directory for the results, instead of [run] dir");
  run->callback([&] { chosen = [&] { return app::run_verb(config, dir); }; });

  CLI::App* check =
      program.add_subcommand("check", "do all the validation of run, and nothing else");
  add_config(*check, config);
  check->callback([&] { chosen = [&] { return app::check_verb(config); }; });

  CLI::App* config_verb = program.add_subcommand("config", "look at configurations");
  config_verb->require_subcommand(1);
  CLI::App* show = config_verb->add_subcommand("show", "print the resolved configuration");
  add_config(*show, config);
  show->add_flag("--origins", origins, "say where each value came from");
  show->callback([&] { chosen = [&] { return app::show_verb(config, origins); }; });

  CLI::App* plugins = program.add_subcommand("plugins", "look at installed plugins");
  plugins->require_subcommand(1);
  CLI::App* list = plugins->add_subcommand("list", "every plugin in the search path");
  list->add_flag("--json", json, "as JSON");
  list->callback([&] { chosen = [&] { return app::list_plugins_verb(format()); }; });
  plugins->add_subcommand("path", "the directories that are searched, in order")->callback([&] {
    chosen = [] { return app::plugin_path_verb(); };
  });

  CLI::App* inspect = program.add_subcommand("inspect", "the options of a plugin");
  inspect->add_option("KIND/NAME", id, "for instance prefetcher/plain")
      ->required()
      ->check([](const std::string& given) {
        const bool is_id = given.find('/') != std::string::npos;
        return is_id ? "" : "'" + given + "' is not KIND/NAME, for instance prefetcher/plain";
      });
  CLI::Option* as_json = inspect->add_flag("--json", json, "as JSON");
  inspect->add_flag("--toml", toml, "as a commented sample of its table")->excludes(as_json);
  inspect->callback([&] { chosen = [&] { return app::inspect_verb(id, format()); }; });

  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version end here too, with exit code 0.
    return program.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  return static_cast<int>(chosen());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return main_with_errors(argc, argv);
  } catch (const slackline::Error& error) {
    std::cout << std::flush;
    // A located message starts with its place, as compilers' do, so that editors find it.
    const bool is_located = std::string(error.what()).find(": error: ") != std::string::npos;
    std::cerr << (is_located ? "" : "slackline: ") << error.what() << "\n";
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    std::cerr << "slackline: internal error: " << error.what() << "\n";
    return static_cast<int>(ExitCode::kInternal);
  }
}
