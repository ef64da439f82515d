#pragma once

// What `slackline doctor` says: tables and words for people, JSON for programs.

#include <slackline/config.h>

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diagnosis.h"
#include "ladder.h"

namespace slackline::app {

/// One rung that was judged.
struct Judgement {
  const Rung* rung = nullptr;
  Measured measured;
  Diagnosis diagnosis;
};

/// The whole input from the page cache, and from the disk if that was measured. `ladder` must
/// outlive the result.
[[nodiscard]] std::vector<Judgement> judge(const Config& config, const Ladder& ladder);

/// The tables, and the verdicts in words.
[[nodiscard]] std::string report_text(const LadderPlan& plan, const Ladder& ladder,
                                      const std::vector<Judgement>& judgements);

/// Everything: each run with its whole result.json, the analysis, the verdicts.
[[nodiscard]] nlohmann::ordered_json report_json(const LadderPlan& plan, const Ladder& ladder,
                                                 const std::vector<Judgement>& judgements);

}  // namespace slackline::app
