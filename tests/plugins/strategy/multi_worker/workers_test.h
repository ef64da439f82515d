#pragma once

// The processes of a run with strategy multi_worker.

#include <cstddef>
#include <string>

#include "rank_process.h"

namespace slackline::testing_support {

class WorkersTest : public RanksTest {
 protected:
  /// Starts each rank with those words before it connects, and behind it. A long deadline, so that
  /// only what is seen at once is seen in time; tests of silence say less.
  void start(int rank, int size, const Words& before, const Words& after,
             const Words& prefix = {}) {
    Words words = {"deadline_s=3600"};
    words.insert(words.end(), before.begin(), before.end());
    words.emplace_back("connect=same");
    words.insert(words.end(), after.begin(), after.end());
    start_rank(rank, size, words, prefix);
  }
  void start_all(int size, const Words& before, const Words& after) {
    for (int i = 0; i < size; ++i) start(i, size, before, after);
  }

  /// "rank 1 (" and what became of it.
  void expect_blame(int rank, int culprit, const std::string& what) {
    Process& process = this->rank(rank);
    EXPECT_EQ(process.end(), 3) << "rank " << rank << ": " << process.output();
    const std::string last = process.last_line();
    EXPECT_NE(last.find("rank " + std::to_string(culprit) + " ("), std::string::npos) << last;
    EXPECT_NE(last.find(") " + what), std::string::npos) << last;
  }
};

}  // namespace slackline::testing_support
