#include <slackline/error.h>
#include <slackline/machine.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <sched.h>

#include "temporary_folder.h"

namespace slackline {
namespace {

/// A cgroup tree whose root, and so this process's group or one above it, has this cpu.max.
class UsableCpusTest : public testing::Test {
 protected:
  int with_quota(const std::string& cpu_max) {
    std::ofstream(root_ / "cpu.max") << cpu_max;
    return usable_cpus(root_);
  }

  testing_support::TemporaryFolder folder_;
  const std::filesystem::path root_ = folder_.path();
};

int allowed_cpus() {
  cpu_set_t set;
  sched_getaffinity(0, sizeof set, &set);
  return CPU_COUNT(&set);
}

TEST_F(UsableCpusTest, WithoutAQuotaTheAffinityMaskDecides) {
  EXPECT_EQ(with_quota("max 100000\n"), allowed_cpus());
  EXPECT_EQ(usable_cpus(root_ / "absent"), allowed_cpus());
}

TEST_F(UsableCpusTest, AQuotaOfOneAndAHalfCpusAllowsTwoAtMost) {
  EXPECT_EQ(with_quota("150000 100000\n"), std::min(2, allowed_cpus()));
}

TEST_F(UsableCpusTest, AQuotaBelowOneCpuStillLeavesOne) {
  EXPECT_EQ(with_quota("1000 100000\n"), 1);
}

TEST_F(UsableCpusTest, AffinityOfOneCpuIsOneWhateverTheQuota) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &before) && CPU_COUNT(&one) == 0) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(with_quota("max 100000\n"), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST_F(UsableCpusTest, ALauncherMayAllowFewerButNotMore) {
  ::setenv("SLACKLINE_CPUS", "1", 1);
  EXPECT_EQ(with_quota("max 100000\n"), 1);
  ::setenv("SLACKLINE_CPUS", "100000", 1);
  EXPECT_EQ(with_quota("max 100000\n"), allowed_cpus());
  for (const char* const value : {"", "0", "-1", "2x"}) {
    ::setenv("SLACKLINE_CPUS", value, 1);
    EXPECT_THROW(with_quota("max 100000\n"), ConfigError) << value;
  }
  ::unsetenv("SLACKLINE_CPUS");
}

TEST(MachineTest, PeakMemoryGrowsWithWhatIsTouched) {
  const std::uint64_t before = peak_memory_bytes();
  std::string block(64 << 20, 'x');
  EXPECT_GE(peak_memory_bytes(), before + (32 << 20)) << block.size();
}

TEST(MachineTest, NoMoreMemoryIsAvailableThanIsThere) {
  const Machine machine = this_machine();
  EXPECT_GT(machine.memory_available_bytes, 0u);
  EXPECT_LE(machine.memory_available_bytes, machine.memory_bytes);
}

TEST(MachineTest, TheFrequencyOfACpuIsInMegahertz) {
  const double mhz = this_machine().cpu_mhz;  // 0 where the kernel does not say
  EXPECT_TRUE(mhz == 0 || (mhz > 100 && mhz < 20'000)) << mhz;
}

}  // namespace
}  // namespace slackline
