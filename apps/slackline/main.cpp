// The command line: arguments in, exit code out. What the verbs do is in the other files.

#include <slackline/error.h>
#include <slackline/left_behind.h>

#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <string>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "verbs.h"

namespace {

using slackline::ExitCode;
namespace app = slackline::app;

/// Adds the arguments that every verb with a configuration has.
CLI::Option* add_config(CLI::App& verb, app::ConfigArguments& config) {
  CLI::Option* file = verb.add_option("CONFIG", config.file, "TOML file")->required();
  verb.add_option("--set", config.set, "override one key: path=TOML, as often as needed")
      ->type_name("PATH=TOML")
      ->allow_extra_args(false);
  return file;
}

/// Adds the verb `report`.
CLI::App& add_report(CLI::App& program, app::ReportArguments& report) {
  CLI::App& verb = *program.add_subcommand(
      "report", "write one page of HTML about one run, or about several side by side");
  verb.add_option("DIR", report.dirs, "directories of runs that have ended")
      ->required()
      ->expected(1, static_cast<int>(app::kMostReportedRuns));
  verb.add_option("--out", report.out, "file to write, instead of report.html in the first DIR");
  verb.add_option("--comparison", report.comparison,
                  "show this result of slackline compare --json too")
      ->type_name("FILE");
  return verb;
}

/// Adds the verb `compare`.
CLI::App& add_compare(CLI::App& program, app::CompareArguments& compared) {
  CLI::App& verb = *program.add_subcommand(
      "compare", "measure configurations side by side, and say which is faster");
  verb.add_option("CONFIG", compared.files, "TOML files; the others are compared with the first")
      ->required()
      ->expected(2, 26);
  verb.add_option("--set", compared.set, "override one key in all of them, as often as needed")
      ->type_name("PATH=TOML")
      ->allow_extra_args(false);
  verb.add_option("--blocks", compared.blocks, "blocks, in each of which every one runs twice")
      ->capture_default_str()
      ->check([](const std::string& given) {
        int blocks = 0;
        if (CLI::detail::lexical_cast(given, blocks) && blocks >= 10 && blocks <= 10'000) return "";
        return "must be 10 to 10000: with fewer than 10 blocks the interval is not worth its name";
      });
  verb.add_option("--min-effect", compared.minimum_effect_percent,
                  "differences below this are of no interest, in percent")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 100.0));
  const std::map<std::string, app::FailOn> kinds = {{"slower", app::FailOn::kSlower},
                                                    {"unclear", app::FailOn::kUnclear},
                                                    {"different", app::FailOn::kDifferent}};
  verb.add_option("--fail-on", compared.fail_on,
                  "exit with 1 if one is SLOWER; or if one is SLOWER or UNCLEAR; or if one is not "
                  "the SAME")
      ->transform(CLI::CheckedTransformer(kinds).description("slower|unclear|different"))
      ->default_str("slower");
  verb.add_option("--seed", compared.seed, "of the bootstrap")->capture_default_str();
  verb.add_option("--dir", compared.dir, "keep the runs in this new directory");
  verb.add_option("--json", compared.json, "write everything to this file; - is stdout");
  verb.footer(app::compare_help());
  return verb;
}

/// Adds the verb `doctor`.
CLI::App& add_doctor(CLI::App& program, app::DoctorArguments& doctor) {
  CLI::App& verb = *program.add_subcommand(
      "doctor", "name the stage that limits a run, and what its removal would give");
  add_config(verb, doctor.config);
  verb.add_option("--rounds", doctor.rounds, "of a run for each rung of the ladder")
      ->capture_default_str()
      ->check([](const std::string& given) {
        int rounds = 0;
        if (CLI::detail::lexical_cast(given, rounds) && rounds >= 5 && rounds <= 1000) return "";
        return "must be 5 to 1000: with fewer than 5 rounds a median is not worth its name";
      });
  verb.add_option("--seconds", doctor.seconds,
                  "that the measured steps of a run should take; there are 10 at least")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 3600.0));
  verb.add_option("--dir", doctor.dir, "keep the runs in this new directory");
  verb.add_option("--json", doctor.json, "write everything to this file; - is stdout");
  return verb;
}

/// Adds the verb `run`.
CLI::App& add_run(CLI::App& program, app::RunArguments& arguments) {
  CLI::App& verb = *program.add_subcommand("run", "train or benchmark as a configuration says");
  CLI::Option* const file = add_config(verb, arguments.config)->required(false);
  CLI::Option* const dir =
      verb.add_option("--dir", arguments.dir, "directory for the results, instead of [run] dir");
  CLI::Option* const resume =
      verb.add_option("--resume", arguments.resume,
                      "go on from the newest checkpoint in this directory of a run, with its "
                      "configuration or with CONFIG")
          ->excludes(dir);
  verb.add_flag("--resume-anyway", arguments.resume_anyway,
                "with --resume: also if the configuration is now that of another training")
      ->needs(resume);
  verb.parse_complete_callback([file, &arguments] {
    if (file->count() == 0 && arguments.resume.empty()) {
      throw CLI::RequiredError("CONFIG, or --resume DIR,");
    }
  });
  return verb;
}

int main_with_errors(int argc, char** argv) {
  CLI::App program("finds input stalls in training and removes them", "slackline");
  program.set_version_flag("--version", SLACKLINE_VERSION);
  program.require_subcommand(1);

  app::ConfigArguments config;
  std::string id;
  bool origins = false, json = false, toml = false;
  std::function<ExitCode()> chosen;
  const auto format = [&] {
    return json ? app::Format::kJson : toml ? app::Format::kToml : app::Format::kText;
  };

  app::RunArguments run;
  run.command.assign(argv, argv + argc);
  add_run(program, run).callback([&] { chosen = [&] { return app::run_verb(run); }; });

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

  app::CompareArguments compared;
  add_compare(program, compared).callback([&] {
    chosen = [&] { return app::compare_verb(compared); };
  });

  app::DoctorArguments doctor;
  add_doctor(program, doctor).callback([&] { chosen = [&] { return app::doctor_verb(doctor); }; });

  app::ReportArguments report;
  add_report(program, report).callback([&] { chosen = [&] { return app::report_verb(report); }; });

  std::string verified_a, verified_b;
  bool prefix_ok = false;
  CLI::App* verify =
      program.add_subcommand("verify", "say whether two runs trained on the same data");
  verify->add_option("A", verified_a, "directory of a run")->required();
  verify->add_option("B", verified_b, "directory of another one")->required();
  verify->add_flag("--prefix-ok", prefix_ok, "no difference if one of them only ended earlier");
  verify->callback(
      [&] { chosen = [&] { return app::verify_verb(verified_a, verified_b, prefix_ok); }; });

  std::string checkpoint_path;
  CLI::App* checkpoint = program.add_subcommand("checkpoint", "look at checkpoints");
  checkpoint->require_subcommand(1);
  CLI::App* verify_checkpoint =
      checkpoint->add_subcommand("verify", "say whether every byte is as it was written");
  verify_checkpoint->add_option("FILE|DIR", checkpoint_path, "a checkpoint, or a run's directory")
      ->required();
  verify_checkpoint->callback(
      [&] { chosen = [&] { return app::verify_checkpoint_verb(checkpoint_path); }; });
  CLI::App* info = checkpoint->add_subcommand("info", "what a checkpoint holds");
  info->add_option("FILE", checkpoint_path, "a checkpoint")->required();
  info->add_flag("--json", json, "as JSON");
  info->callback(
      [&] { chosen = [&] { return app::checkpoint_info_verb(checkpoint_path, json); }; });

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

int main_that_tells_errors(int argc, char** argv) {
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

}  // namespace

int main(int argc, char** argv) {
  // Plugins that compute with OpenMP would spin while they wait, on CPUs that the input needs. Read
  // when the library is loaded, which is later; the user's own setting counts.
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  const int code = main_that_tells_errors(argc, argv);
  const auto calls = slackline::left_behind();
  if (calls.empty()) return code;
  for (const std::string& call : calls) {
    std::cerr << "slackline: " << call << " did not return, and was left behind\n";
  }
  std::cout << std::flush;
  ::_exit(code);
}
