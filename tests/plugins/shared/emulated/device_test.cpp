#include "emulated/device.h"

#include <slackline/simulated_clock.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>

#include <gtest/gtest.h>

#include "emulated/profile.h"
#include "test_host.h"

namespace slackline::emulated {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using testing_support::TestHost;

constexpr double kBytesPerSecond = 1e9;  ///< a byte takes a nanosecond
constexpr std::uint64_t kMegabyte = 1'000'000;

std::int64_t us(nanoseconds time) { return time / 1us; }
std::int64_t us(Clock::Time time) { return us(time.time_since_epoch()); }

class EmulatedDeviceTest : public testing::Test {
 protected:
  std::unique_ptr<EmulatedDevice> make(nanoseconds latency = 0ns, double slow_factor = 1) {
    return std::make_unique<EmulatedDevice>(
        EmulatedDevice::Spec{.index = 3,
                             .images_per_s = 0,
                             .upload_bytes_per_s = kBytesPerSecond,
                             .upload_latency = latency,
                             .slow_factor = slow_factor},
        host_);
  }

  SimulatedClock clock_{2};
  TestHost host_{clock_};
};

TEST_F(EmulatedDeviceTest, CopiesAreDoneOneAfterAnotherInTheOrderTheyCame) {
  const auto device = make();
  EXPECT_EQ(us(device->copy(2 * kMegabyte, "upload")), 2000);
  EXPECT_EQ(us(device->copy(1 * kMegabyte, "upload")), 3000);
  clock_.sleep(5ms);
  EXPECT_EQ(us(device->copy(1 * kMegabyte, "upload")), 6000);
  EXPECT_EQ(device->totals().copy_busy, 4ms);
}

TEST_F(EmulatedDeviceTest, EveryCopyTakesItsLatencyBesideItsBytes) {
  const auto device = make(10us);
  EXPECT_EQ(us(device->copy(0, "upload")), 10);
  EXPECT_EQ(us(device->copy(1000, "upload")), 21);
}

TEST_F(EmulatedDeviceTest, CallsReturnOnceEnqueued) {
  const auto device = make();
  (void)device->copy(kMegabyte, "upload");
  device->run({.compute_time = 100ms}, 0);
  EXPECT_EQ(us(clock_.now()), 0);
}

TEST_F(EmulatedDeviceTest, StepsAreComputedOneAfterAnother) {
  const auto device = make();
  device->run({.compute_time = 100ms}, 0);
  device->run({.compute_time = 50ms}, 1);
  EXPECT_EQ(us(device->idle_at()), 150'000);
  clock_.sleep(200ms);
  device->run({.compute_time = 50ms}, 2);
  EXPECT_EQ(us(device->idle_at()), 250'000);
}

TEST_F(EmulatedDeviceTest, CopiesAndStepsOverlap) {
  const auto device = make();
  device->run({.compute_time = 100ms}, 0);
  EXPECT_EQ(us(device->copy(kMegabyte, "upload")), 1000);
  EXPECT_EQ(us(device->idle_at()), 100'000);
}

TEST_F(EmulatedDeviceTest, APieceIsComputedWhileLaterOnesAreLaunched) {
  const auto device = make();
  device->run({.compute_time = 100ms, .launch_time = 5ms, .launches = 5}, 0);
  EXPECT_EQ(us(clock_.now()), 5000);
  EXPECT_EQ(us(device->idle_at()), 101'000);
}

TEST_F(EmulatedDeviceTest, LaunchingThatIsSlowerThanTheDeviceSetsThePace) {
  const auto device = make();
  device->run({.compute_time = 5ms, .launch_time = 50ms, .launches = 5}, 0);
  EXPECT_EQ(us(device->idle_at()), 51'000);
  EXPECT_EQ(device->totals().compute_busy, 5ms);
}

TEST_F(EmulatedDeviceTest, PiecesAddUpToTheWholeHoweverItIsCut) {
  const auto device = make();
  device->run({.compute_time = 100ms, .launch_time = 100ms, .launches = 7}, 0);
  EXPECT_EQ(clock_.now().time_since_epoch(), nanoseconds(100ms));
  EXPECT_EQ(device->idle_at() - clock_.now(), nanoseconds(100ms) - nanoseconds(100ms) * 6 / 7);
}

TEST_F(EmulatedDeviceTest, AStepDoesNotBeginBeforeItsSmallUploads) {
  const auto device = make(10us);
  device->run(
      {.compute_time = 1ms, .launch_time = 1ms, .start_uploads = 3, .start_upload_bytes = 1000}, 0);
  EXPECT_EQ(us(device->idle_at()), 1000 + 3 * (10 + 1) + 1000);
  EXPECT_EQ(us(device->totals().start_delay), 33);
}

TEST_F(EmulatedDeviceTest, ASmallUploadBehindABatchDelaysTheStepByWhatIsLeftOfTheCopy) {
  const auto device = make();
  (void)device->copy(6 * kMegabyte, "upload", 8);
  device->run(
      {.compute_time = 100ms, .launch_time = 1ms, .start_uploads = 1, .start_upload_bytes = 1000},
      7);
  EXPECT_EQ(us(device->idle_at()), 6000 + 1 + 100'000);
  EXPECT_EQ(us(device->totals().start_delay), 6000 + 1 - 1000);
  EXPECT_EQ(us(device->totals().longest_start_delay), 6000 + 1 - 1000);
}

TEST_F(EmulatedDeviceTest, ADeviceThatStillComputesIsNotDelayedByItsUploads) {
  const auto device = make();
  device->run({.compute_time = 100ms}, 0);
  (void)device->copy(6 * kMegabyte, "upload");
  device->run({.compute_time = 100ms, .start_uploads = 1, .start_upload_bytes = 1000}, 1);
  EXPECT_EQ(us(device->idle_at()), 200'000);
  EXPECT_EQ(device->totals().start_delay, 0ns);
}

TEST_F(EmulatedDeviceTest, OtherThreadsAtWorkSlowTheLaunchDown) {
  SimulatedClock one_cpu(1);
  TestHost host(one_cpu);
  EmulatedDevice device({.upload_bytes_per_s = kBytesPerSecond}, host);
  std::thread input = one_cpu.start_thread("input", [&] { one_cpu.work(1s); });
  one_cpu.sleep(1ms);
  device.run({.compute_time = 1ms, .launch_time = 5ms}, 0);
  EXPECT_EQ(us(device.idle_at()), 1000 + 2 * 5000 + 1000);
  one_cpu.join(input);
}

TEST_F(EmulatedDeviceTest, ASlowDeviceComputesLongerAndIsLaunchedAsFast) {
  const auto device = make(0ns, 1.5);
  device->run({.compute_time = 100ms, .launch_time = 5ms}, 0);
  EXPECT_EQ(us(clock_.now()), 5000);
  EXPECT_EQ(us(device->idle_at()), 155'000);
}

TEST_F(EmulatedDeviceTest, ADeviceThatWaitsForOthersIsNotBusy) {
  const auto device = make();
  device->run({.compute_time = 100ms}, 0);
  device->hold_until(clock_.now() + 150ms);
  device->hold_until(clock_.now() + 120ms);
  device->run({.compute_time = 50ms}, 1);
  EXPECT_EQ(us(device->idle_at()), 200'000);
  EXPECT_EQ(device->totals().compute_busy, 150ms);
  EXPECT_EQ(device->totals().since_first_step, 200ms);
}

TEST_F(EmulatedDeviceTest, TheTimelineShowsBothEnginesAndTheLaunch) {
  const auto device = make();
  (void)device->copy(6 * kMegabyte, "upload", 8);
  device->run({.compute_time = 100ms,
               .launch_time = 5ms,
               .launches = 5,
               .start_uploads = 1,
               .start_upload_bytes = 1000},
              7);
  const auto expect_span = [&](const char* track, std::size_t i, const char* name,
                               std::int64_t begin_us, std::int64_t end_us, std::uint64_t batch) {
    const auto& spans = host_.tracks[track].spans;
    ASSERT_GT(spans.size(), i) << track;
    EXPECT_EQ(spans[i].name, name);
    EXPECT_EQ(us(spans[i].begin), begin_us);
    EXPECT_EQ(us(spans[i].end), end_us);
    EXPECT_EQ(spans[i].batch, batch);
  };
  expect_span("device 3 copy", 0, "upload", 0, 6000, 8);
  expect_span("device 3 copy", 1, "start of step", 6000, 6001, 7);
  expect_span("device 3 compute", 0, "step", 6001, 106'001, 7);
  expect_span("device 3 launch", 0, "launch", 0, 5000, 7);
}

TEST(EmulatedProfile, ABatchOfUpstreamsTakes6MillisecondsToAV100) {
  const double bytes = 256.0 * 224 * 224 * 3 * 2;  // float16
  EXPECT_NEAR(1e3 * bytes / speed_of(Profile::kV100).upload_bytes_per_s, 6.4, 0.05);
}

TEST(EmulatedProfile, EachGenerationIsFasterThanTheOneBefore) {
  Speed before = speed_of(Profile::kNone);
  EXPECT_EQ(before.images_per_s, 0);
  EXPECT_EQ(before.upload_bytes_per_s, 0);
  for (const Profile profile : {Profile::kV100, Profile::kA100, Profile::kH100, Profile::kH200}) {
    const Speed speed = speed_of(profile);
    EXPECT_GT(speed.images_per_s, before.images_per_s);
    EXPECT_GE(speed.upload_bytes_per_s, before.upload_bytes_per_s)
        << "the H200 has the H100's link";
    before = speed;
  }
}

}  // namespace
}  // namespace slackline::emulated
