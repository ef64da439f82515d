#include <slackline/config.h>
#include <slackline/error.h>
#include <slackline/file_ops.h>
#include <slackline/registry.h>

#include <algorithm>
#include <iostream>

#include "compare/run_process.h"
#include "doctor/ladder.h"
#include "doctor/report.h"
#include "verbs.h"

namespace slackline::app {

ExitCode doctor_verb(const DoctorArguments& arguments) {
  const ConfigArguments& given = arguments.config;
  const bool replays = std::any_of(given.set.begin(), given.set.end(), [](const std::string& set) {
    return set.starts_with("input.replay=");
  });
  if (replays) throw ConfigError("replay", "input.replay is what doctor sets, leave it out");

  Registry registry(Registry::default_search_path());
  const Config config = Config::load({given.file, given.set}, registry);
  const SourceFiles files(config.source);
  const RunsFolder folder(arguments.dir);
  const LadderPlan plan{.file = given.file,
                        .set = given.set,
                        .batch_size = config.input.batch_size,
                        .replay_records = config.input.replay_records,
                        .rounds = arguments.rounds,
                        .seconds = arguments.seconds,
                        .dir = folder.path()};
  const Ladder ladder = climb(plan, files, std::cerr);
  if (ladder.exit_code != ExitCode::kOk) {
    std::cerr << "slackline: " << ladder.problem << "\n";
    return ladder.exit_code;
  }
  const std::vector<Judgement> judgements = judge(config, ladder);

  // JSON on stdout is for a program, which shall find nothing else there.
  const bool json_on_stdout = arguments.json == "-";
  (json_on_stdout ? std::cerr : std::cout) << report_text(plan, ladder, judgements);
  if (arguments.json.empty()) return ExitCode::kOk;
  // File names may hold any bytes; JSON must be UTF-8.
  const std::string json =
      report_json(plan, ladder, judgements)
          .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
      "\n";
  if (json_on_stdout) {
    std::cout << json;
  } else {
    write_atomically(system_file_ops(), arguments.json, json);
  }
  return ExitCode::kOk;
}

}  // namespace slackline::app
