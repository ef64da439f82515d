// What the environment says of this process's place in the run.

#include "process_group/membership.h"

#include <slackline/error.h>

#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slackline::group {
namespace {

using Variables = std::map<std::string, std::string>;

Membership read(const Variables& variables) {
  return membership_from([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

/// "3 of 8, local 1, at tcp://a:1, run 77.0", or why not.
std::string place(const Variables& variables) {
  try {
    const Membership is = read(variables);
    return text(is.rank, " of ", is.size,
                is.local_rank.has_value() ? text(", local ", *is.local_rank) : "",
                is.rendezvous.empty() ? "" : ", at " + is.rendezvous,
                is.run.empty() ? "" : ", run " + is.run);
  } catch (const ConfigError& error) {
    return error.what();
  }
}

Variables at_a(Variables variables) {
  variables["SLACKLINE_RENDEZVOUS"] = "tcp://a:1";
  return variables;
}

TEST(MembershipTest, WithoutAnyVariableTheProcessIsAlone) {
  EXPECT_EQ(place({}), "0 of 1");
  EXPECT_FALSE(read({}).is_launched);
}

TEST(MembershipTest, OneThatIsAloneMayHaveBeenLaunchedSo) {
  EXPECT_TRUE(read({{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}).is_launched);
}

TEST(MembershipTest, EachLauncherIsUnderstood) {
  EXPECT_EQ(place(at_a({{"SLACKLINE_RANK", "3"}, {"SLACKLINE_SIZE", "8"}, {"SLACKLINE_RUN", "x"}})),
            "3 of 8, at tcp://a:1, run x");
  EXPECT_EQ(place(at_a({{"OMPI_COMM_WORLD_RANK", "3"},
                        {"OMPI_COMM_WORLD_SIZE", "8"},
                        {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}})),
            "3 of 8, local 1, at tcp://a:1");
  EXPECT_EQ(place(at_a({{"PMI_RANK", "3"}, {"PMI_SIZE", "8"}, {"MPI_LOCALRANKID", "1"}})),
            "3 of 8, local 1, at tcp://a:1");
  EXPECT_EQ(place(at_a({{"PMI_RANK", "3"}, {"PMI_SIZE", "8"}, {"PMI_LOCAL_RANK", "2"}})),
            "3 of 8, local 2, at tcp://a:1");
  EXPECT_EQ(place(at_a({{"SLURM_PROCID", "3"},
                        {"SLURM_NTASKS", "8"},
                        {"SLURM_LOCALID", "1"},
                        {"SLURM_JOB_ID", "77"},
                        {"SLURM_STEP_ID", "0"}})),
            "3 of 8, local 1, at tcp://a:1, run 77.0");
}

TEST(MembershipTest, TheScriptOfABatchJobIsNoTask) {
  EXPECT_EQ(place({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}, {"SLURM_JOB_ID", "77"}}),
            "0 of 1");
}

TEST(MembershipTest, MpirunInASlurmJobIsTheOneThatCounts) {
  EXPECT_EQ(place(at_a({{"OMPI_COMM_WORLD_RANK", "3"},
                        {"OMPI_COMM_WORLD_SIZE", "8"},
                        {"SLURM_PROCID", "1"},
                        {"SLURM_NTASKS", "2"},
                        {"SLURM_STEP_ID", "0"}})),
            "3 of 8, at tcp://a:1");
}

TEST(MembershipTest, OpenMpisRanksOfOneHostMeetInTheFolderOfTheirJob) {
  std::map<std::string, std::string> variables = {{"OMPI_COMM_WORLD_RANK", "3"},
                                                  {"OMPI_COMM_WORLD_SIZE", "8"},
                                                  {"OMPI_COMM_WORLD_LOCAL_SIZE", "8"},
                                                  {"PMIX_SERVER_TMPDIR", "/tmp/ompi.0/pid.7"}};
  EXPECT_EQ(place(variables), "3 of 8, at local:/tmp/ompi.0/pid.7/slackline");
  EXPECT_EQ(place(at_a(variables)), "3 of 8, at tcp://a:1");
  variables["OMPI_COMM_WORLD_LOCAL_SIZE"] = "4";
  EXPECT_THAT(place(variables), testing::HasSubstr("SLACKLINE_RENDEZVOUS does not say where"));
}

TEST(MembershipTest, LaunchersThatDisagreeAreRefused) {
  EXPECT_EQ(
      place(at_a({{"SLACKLINE_RANK", "0"},
                  {"SLACKLINE_SIZE", "8"},
                  {"PMI_RANK", "3"},
                  {"PMI_SIZE", "8"}})),
      "the environment has SLACKLINE_RANK=0 SLACKLINE_SIZE=8, but also PMI_RANK=3 PMI_SIZE=8: "
      "two launchers that disagree; unset the variables of one");
}

TEST(MembershipTest, NonsenseNamesVariableAndValue) {
  for (const char* const value : {"", "-1", "8", "3x", " 3", "99999999999"}) {
    EXPECT_EQ(
        place(at_a({{"SLACKLINE_RANK", value}, {"SLACKLINE_SIZE", "8"}})),
        text("environment variable SLACKLINE_RANK is '", value, "'; it must be a number in 0..7"));
  }
  EXPECT_EQ(place(at_a({{"PMI_RANK", "0"}, {"PMI_SIZE", "0"}})),
            "environment variable PMI_SIZE is '0'; it must be a number in 1..256");
}

TEST(MembershipTest, ARankWithoutANumberOfRanksIsRefused) {
  EXPECT_EQ(place(at_a({{"SLACKLINE_RANK", "3"}})),
            "environment variable SLACKLINE_RANK is '3', but SLACKLINE_SIZE is not set; a launcher "
            "sets both");
}

TEST(MembershipTest, SeveralRanksNeedAPlaceToMeet) {
  EXPECT_EQ(
      place({{"SLACKLINE_RANK", "1"}, {"SLACKLINE_SIZE", "2"}}),
      "this process is rank 1 of 2, but the environment variable SLACKLINE_RENDEZVOUS does not "
      "say where the ranks meet: tcp://host:port (of rank 0), file:/path (on a file system that "
      "all share) or local:/path (all on one host)");
}

}  // namespace
}  // namespace slackline::group
