#include <slackline/verify.h>

#include <iostream>

#include "verbs.h"

namespace slackline::app {
ExitCode verify_verb(const std::string& a, const std::string& b, bool prefix_ok) {
  const DataComparison compared = compare_data(read_run_data(a), read_run_data(b));
  std::cout << compared.text;
  const bool is_same = compared.verdict == DataVerdict::kIdentical ||
                       (prefix_ok && compared.verdict == DataVerdict::kPrefix);
  return is_same ? ExitCode::kOk : ExitCode::kNo;
}

}  // namespace slackline::app
