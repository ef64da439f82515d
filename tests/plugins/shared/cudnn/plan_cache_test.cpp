// Plans that were measured once are found again, and what does not fit is said.

#include "cudnn/plan_cache.h"

#include <slackline/error.h>

#include <array>
#include <cerrno>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absent_gpus.h"
#include "file_ops_models.h"
#include "temporary_folder.h"

namespace slackline::cudnn {
namespace {

using slackline::testing_support::FailingFileOps;
using slackline::testing_support::replaced;
using slackline::testing_support::TemporaryFolder;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing_support::absent;
using testing_support::precompiled;

class PlanCacheTest : public testing::Test {
 protected:
  /// A cache with the third candidate, which nobody would take without it.
  PlanCache cache() const {
    PlanCache out;
    out.put(graph_, target_, policy_, plan_, 12.5);
    return out;
  }
  std::string saved() const {
    cache().save(system_file_ops(), file_);
    return contents();
  }
  /// Puts an entry that differs from those of other numbers.
  void put(PlanCache& cache, std::size_t number, double microseconds = 1) const {
    Policy policy = policy_;
    policy.max_workspace_bytes += number;
    cache.put(graph_, target_, policy, plan_, microseconds);
  }
  std::string contents() const {
    std::ifstream in(file_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string error_of_loading(const std::string& contents) const {
    std::ofstream(file_, std::ios::binary) << contents;
    try {
      (void)PlanCache::load(file_);
    } catch (const DataError& error) {
      return replaced(error.what(), file_.string(), "FILE");
    }
    return "no error";
  }
  /// What is stale about a file's entry, without the words that all have.
  std::vector<std::string> stale_in(const std::string& contents) const {
    std::ofstream(file_, std::ios::binary) << contents;
    PlanCache cache = PlanCache::load(file_);
    EXPECT_FALSE(cache.find(graph_, target_, policy_));
    EXPECT_EQ(cache.account().found, 0U);
    EXPECT_EQ(cache.account().absent, 0U);
    std::vector<std::string> out;
    for (const std::string& each : cache.account().stale) {
      out.push_back(replaced(
          each, graph_.signature() + " on NVIDIA H100 80GB HBM3 (" + text_of(policy_) + "): ", ""));
    }
    return out;
  }

  const Graph graph_ =
      conv_sums({.x = {32, 64, 56, 56}, .out_channels = 64, .window = {.height = 1, .width = 1}});
  const Target target_ = absent("h100");
  const Policy policy_ = precompiled();
  const Plan plan_ = candidates(graph_, target_, policy_, 3).plans.at(2);
  const TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_.path() / "plans.json";
};

TEST_F(PlanCacheTest, APlanIsTheSameAfterATripThroughAFile) {
  (void)saved();
  PlanCache again = PlanCache::load(file_);
  const std::optional<Plan> plan = again.find(graph_, target_, policy_);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->choice(), plan_.choice());
  EXPECT_EQ(plan->workspace_bytes(), plan_.workspace_bytes());
  EXPECT_NE(plan->choice(), choose(graph_, target_, policy_).plan.choice());
  EXPECT_EQ(again.account().found, 1U);
  EXPECT_THAT(again.account().stale, IsEmpty());
}

TEST_F(PlanCacheTest, TheFileIsALineAnEntryAndStaysTheSameWhenItIsSavedAgain) {
  const std::string first = saved();
  EXPECT_THAT(
      first,
      MatchesRegex("\\{\"format\": \"slackline cuDNN plans\", \"version\": 1, \"plans\": \\[\n"
                   "\\{\"device\":\"NVIDIA H100 80GB HBM3\",\"sm\":90,"
                   "\"graph\":\"conv_sums fp16 .*\",\"policy\":\"workspace<=.*\","
                   "\"cudnn\":[0-9]+,\"engine\":[0-9]+,\"knobs\":\\[.*\\],"
                   "\"workspace_bytes\":[0-9]+,\"microseconds\":12.5\\}\n"
                   "\\]\\}\n"));
  PlanCache::load(file_).save(system_file_ops(), file_);
  EXPECT_EQ(contents(), first);
}

TEST_F(PlanCacheTest, OtherGraphsPoliciesAndDevicesAreAbsent) {
  PlanCache cache = this->cache();
  const Graph other_graph = conv({.x = {32, 64, 56, 56}, .out_channels = 64});
  EXPECT_FALSE(cache.find(other_graph, target_, policy_));
  EXPECT_FALSE(cache.find(graph_, absent("h200"), policy_));
  Policy other = policy_;
  other.deterministic = true;
  EXPECT_FALSE(cache.find(graph_, target_, other));
  EXPECT_EQ(cache.account().absent, 3U);
  EXPECT_THAT(cache.account().stale, IsEmpty());
}

TEST_F(PlanCacheTest, AFileThatIsNotThereHasNoEntries) {
  EXPECT_EQ(PlanCache::load(folder_.path() / "none.json").size(), 0U);
}

TEST_F(PlanCacheTest, PlansOfAnotherCudnnAreStale) {
  const std::string version = std::to_string(library_version());
  const std::string other = replaced(saved(), "\"cudnn\":" + version, "\"cudnn\":90800");
  EXPECT_THAT(stale_in(other), ElementsAre("measured with cuDNN 9.8.0, and this is " +
                                           version_text(library_version())));
}

TEST_F(PlanCacheTest, PlansThatCudnnDoesNotMakeAnyMoreAreStale) {
  const std::string engine = std::to_string(plan_.choice().engine);
  const std::string other = replaced(saved(), "\"engine\":" + engine, "\"engine\":9999");
  EXPECT_THAT(stale_in(other), ElementsAre(HasSubstr("CUDNN_STATUS")));
}

TEST_F(PlanCacheTest, PlansThatNeedAnotherWorkspaceAreStale) {
  const std::string bytes = std::to_string(plan_.workspace_bytes());
  const std::string other =
      replaced(saved(), "\"workspace_bytes\":" + bytes, "\"workspace_bytes\":17");
  EXPECT_THAT(stale_in(other), ElementsAre(EndsWith("needs " + bytes +
                                                    " bytes of workspace, and not 17 as before")));
}

TEST_F(PlanCacheTest, PlansThatThePolicyExcludesAreStale) {
  PlanCache cache;
  Policy policy = policy_;
  policy.max_workspace_bytes = 0;
  cache.put(graph_, target_, policy, plan_, 1);
  EXPECT_FALSE(cache.find(graph_, target_, policy));
  EXPECT_THAT(cache.account().stale, ElementsAre(HasSubstr("more than 0")));
}

TEST_F(PlanCacheTest, DamageIsNamedWithItsPlace) {
  const std::string good = saved();
  const auto without = [&](const std::string& part, const std::string& by) {
    EXPECT_THAT(good, HasSubstr(part));
    return error_of_loading(replaced(good, part, by));
  };
  EXPECT_EQ(error_of_loading(good), "no error");
  EXPECT_EQ(error_of_loading(""), "FILE: no JSON at byte 1 of 0");
  EXPECT_EQ(error_of_loading(good.substr(0, 100)), "FILE: no JSON at byte 101 of 100");
  EXPECT_EQ(error_of_loading("[]"), "FILE: is no JSON object");
  EXPECT_EQ(error_of_loading("{}"), "FILE: has no 'format'");
  EXPECT_EQ(without("slackline cuDNN plans", "plans"),
            "FILE: is 'plans', and should be 'slackline cuDNN plans'");
  EXPECT_EQ(without("\"version\": 1", "\"version\": 2"),
            "FILE: is of version 2, and this program reads version 1");
  EXPECT_EQ(without("\"sm\":90", "\"sm\":\"90\""),
            "FILE: plan 0 has \"90\" for 'sm', and should have a whole number from 0");
  EXPECT_EQ(without("\"sm\":90,", ""), "FILE: plan 0 has no 'sm'");
  EXPECT_EQ(without("\"microseconds\":12.5", "\"microseconds\":-1"),
            "FILE: plan 0 has -1 for 'microseconds', and should have a number above 0");
  EXPECT_THAT(without("\"knobs\":[", "\"knobs\":[7,"),
              EndsWith(" for 'knobs', and should have pairs of whole numbers"));
  const std::string line = good.substr(good.find("\n{") + 1, good.find("}\n") - good.find("\n{"));
  EXPECT_EQ(without(line, line + ",\n" + line), "FILE: plan 1 is there a second time");
}

TEST_F(PlanCacheTest, ASaveAddsToWhatOthersHaveSavedMeanwhile) {
  (void)saved();
  PlanCache first = PlanCache::load(file_), second = PlanCache::load(file_);
  put(first, 1);
  put(second, 2);
  first.save(system_file_ops(), file_);
  second.save(system_file_ops(), file_);
  EXPECT_EQ(PlanCache::load(file_).size(), 3U);
}

TEST_F(PlanCacheTest, WhatWasOnlyLoadedDoesNotReplaceWhatOthersHaveMeasuredMeanwhile) {
  (void)saved();
  PlanCache first = PlanCache::load(file_), second = PlanCache::load(file_);
  put(first, 0, 7.5);
  put(second, 1);
  first.save(system_file_ops(), file_);
  second.save(system_file_ops(), file_);
  EXPECT_THAT(contents(), HasSubstr("\"microseconds\":7.5"));
}

TEST_F(PlanCacheTest, ProcessesThatSaveAtTheSameTimeDisturbEachOtherInNothing) {
  constexpr std::size_t kProcesses = 4, kSaves = 10;
  std::array<int, 2> start{};
  ASSERT_EQ(::pipe(start.data()), 0);
  std::vector<pid_t> processes;
  for (std::size_t i = 0; i < kProcesses; ++i) {
    const pid_t process = ::fork();
    ASSERT_GE(process, 0);
    processes.push_back(process);
    if (process > 0) continue;
    // All begin when the last end for writing is closed.
    ::close(start[1]);
    char nothing = 0;
    if (::read(start[0], &nothing, 1) != 0) ::_exit(1);
    try {
      for (std::size_t save = 0; save < kSaves; ++save) {
        PlanCache cache;
        put(cache, kSaves * i + save);
        cache.save(system_file_ops(), file_);
        (void)PlanCache::load(file_);
      }
    } catch (const std::exception& error) {
      std::cerr << error.what() << std::endl;
      ::_exit(1);
    }
    ::_exit(0);
  }
  ::close(start[0]);
  ::close(start[1]);
  for (const pid_t process : processes) {
    int status = 0;
    EXPECT_EQ(::waitpid(process, &status, 0), process);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(PlanCache::load(file_).size(), kProcesses * kSaves);
}

TEST_F(PlanCacheTest, ALockThatCannotBeHadIsNamed) {
  FailingFileOps ops;
  ops.fail_first("open", EACCES);
  try {
    cache().save(ops, file_);
    FAIL() << "saved";
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr("plans.json.lock: "));
  }
}

TEST_F(PlanCacheTest, ASaveThatFailsLeavesTheOldFile) {
  const std::string old = saved();
  FailingFileOps ops;
  PlanCache more = cache();
  more.put(graph_, absent("h200"), policy_, plan_, 1);
  ops.fail_first("write", ENOSPC);
  EXPECT_THROW(more.save(ops, file_), IoError);
  EXPECT_EQ(contents(), old);
  more.save(system_file_ops(), file_);
  EXPECT_EQ(PlanCache::load(file_).size(), 2U);
}

}  // namespace
}  // namespace slackline::cudnn
