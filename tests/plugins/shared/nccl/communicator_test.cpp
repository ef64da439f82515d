// NCCL's ways to fail, with an NCCL that fails as a test wants it to, in simulated time.

#include "nccl/communicator.h"

#include <slackline/error.h>
#include <slackline/left_behind.h>
#include <slackline/simulated_clock.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_nccl.h"

namespace slackline::nccl {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr auto kLost = "training: rank 2 (node2) is lost";

class CommunicatorTest : public testing::Test {
 protected:
  ~CommunicatorTest() override { EXPECT_THAT(nccl_.misuse, IsEmpty()); }

  /// Rank `rank` of 4.
  void connect(std::int32_t rank = 0, CommunicatorSpec spec = {}) {
    FakeRanks& ranks = ranks_.emplace(rank, 4);
    if (rank != 0) {
      ncclUniqueId id{};
      std::strcpy(id.internal, "the id of rank 0");
      const auto bytes = std::as_bytes(std::span(&id, 1));
      ranks.from_rank_0.assign(bytes.begin(), bytes.end());
    }
    communicator_ = std::make_unique<Communicator>(
        nccl_, ranks, spec, use_device_,
        [this] {
          if (clock_.now() >= lost_at_) throw DeviceError(kLost);
        },
        clock_);
    nccl_.calls.clear();
  }
  std::string error_of(const std::function<void()>& call) {
    try {
      call();
      return "nothing was thrown";
    } catch (const DeviceError& error) {
      return error.what();
    }
  }
  std::string check() {
    return error_of([this] { communicator_->check(); });
  }
  void sum() { communicator_->all_reduce_sum(values_, nullptr); }
  /// As one who waits for the device.
  std::string wait_for_good() {
    return error_of([this] {
      for (;;) communicator_->pause();
    });
  }
  [[nodiscard]] std::chrono::nanoseconds elapsed() const { return clock_.now() - begin_; }

  SimulatedClock clock_{1};
  const Clock::Time begin_ = clock_.now();
  Clock::Time lost_at_ = Clock::Time::max();
  FakeNccl nccl_;
  const std::function<void()> use_device_ = [this] { nccl_.use_device(); };
  std::optional<FakeRanks> ranks_;
  std::array<float, 6> values_{7.5f};
  std::unique_ptr<Communicator> communicator_;
};

TEST_F(CommunicatorTest, Rank0MakesTheIdThatAllMeetBy) {
  FakeRanks ranks(0, 4);
  const Communicator communicator(
      nccl_, ranks, {.max_ctas = 6}, use_device_, [] {}, clock_);
  EXPECT_THAT(nccl_.calls, ElementsAre("get_unique_id", "init_rank 0 of 4 by the id of rank 0"));
  EXPECT_STREQ(reinterpret_cast<const char*>(ranks.from_rank_0.data()), "the id of rank 0");
  EXPECT_EQ(nccl_.config.blocking, 0);
  EXPECT_EQ(nccl_.config.maxCTAs, 6);
  EXPECT_EQ(communicator.rank(), 0);
  EXPECT_EQ(communicator.size(), 4);
}

TEST_F(CommunicatorTest, TheOthersTakeTheIdOfRank0) {
  FakeRanks ranks(3, 4);
  ncclUniqueId id{};
  std::strcpy(id.internal, "another");
  const auto bytes = std::as_bytes(std::span(&id, 1));
  ranks.from_rank_0.assign(bytes.begin(), bytes.end());
  const Communicator communicator(
      nccl_, ranks, {}, use_device_, [] {}, clock_);
  EXPECT_THAT(nccl_.calls, ElementsAre("init_rank 3 of 4 by another"));
  EXPECT_EQ(nccl_.config.maxCTAs, NCCL_CONFIG_UNDEF_INT);
}

TEST_F(CommunicatorTest, ConnectingIsWaitedFor) {
  nccl_.polls_until_settled = 1000;
  connect();
  EXPECT_EQ(nccl_.state, ncclSuccess);
  EXPECT_GE(elapsed(), 30ms);
}

TEST_F(CommunicatorTest, WhatFailsAtOnceIsToldInNcclsWords) {
  nccl_.init_result = ncclRemoteError;
  EXPECT_EQ(error_of([this] { connect(1); }),
            "NCCL cannot connect rank 1 of 4: remote process exited (6): socket 7 was closed");
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(CommunicatorTest, WhatFailsLaterIsToldInNcclsWords) {
  nccl_.settled = ncclSystemError;
  EXPECT_EQ(error_of([this] { connect(1); }),
            "NCCL cannot connect rank 1 of 4: remote process exited (2): socket 7 was closed");
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(CommunicatorTest, WithoutAnIdNobodyIsConnected) {
  nccl_.id_result = ncclUnhandledCudaError;
  EXPECT_THAT(error_of([this] { connect(); }), HasSubstr("NCCL cannot make an id"));
  EXPECT_THAT(nccl_.calls, ElementsAre("get_unique_id"));
}

TEST_F(CommunicatorTest, WhoIsNotConnectedInTimeGivesUp) {
  nccl_.polls_until_settled = 1'000'000'000;
  EXPECT_THAT(error_of([this] { connect(1, {.deadline = 300ms}); }),
              HasSubstr("NCCL cannot connect rank 1 of 4: "));
  EXPECT_GE(elapsed(), 300ms);
  EXPECT_LT(elapsed(), 310ms);
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(CommunicatorTest, ALossWhileOthersConnectEndsTheWaitAndNamesTheRank) {
  nccl_.polls_until_settled = 1'000'000'000;
  lost_at_ = clock_.now() + 100ms;
  EXPECT_EQ(error_of([this] { connect(1); }), kLost);
  EXPECT_LT(elapsed(), 110ms);
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(CommunicatorTest, SumsAndMeansAreEnqueued) {
  connect();
  sum();
  communicator_->all_reduce_mean(std::span(values_).first(2), nullptr);
  EXPECT_THAT(nccl_.calls, ElementsAre("sum of 6 from 7.5", "mean of 2 from 7.5"));
}

TEST_F(CommunicatorTest, ACallThatConnectsFirstIsWaitedForAsLongAsAllLive) {
  connect(0, {.deadline = 10ms});
  nccl_.all_reduce_result = nccl_.state = ncclInProgress;
  nccl_.polls_until_settled = 2000;
  sum();
  EXPECT_GE(elapsed(), 50ms);
  nccl_.state = ncclInProgress;
  nccl_.polls_until_settled = 1'000'000'000;
  lost_at_ = clock_.now() + 100ms;
  EXPECT_EQ(error_of([this] { sum(); }), kLost);
}

TEST_F(CommunicatorTest, ACallThatFailsIsToldInNcclsWords) {
  connect();
  nccl_.all_reduce_result = ncclInvalidUsage;
  EXPECT_EQ(error_of([this] { sum(); }),
            "NCCL cannot sum 6 values: remote process exited (5): socket 7 was closed");
}

TEST_F(CommunicatorTest, ALostRankIsNamedAndTheCommunicatorAborted) {
  connect();
  EXPECT_EQ(check(), "nothing was thrown");
  lost_at_ = clock_.now() + 1s;
  EXPECT_EQ(wait_for_good(), kLost);
  EXPECT_GE(elapsed(), 1s);
  EXPECT_LT(elapsed(), 1100ms);
  EXPECT_EQ(check(), kLost);
  communicator_.reset();
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(CommunicatorTest, AnErrorOfNcclWaitsForTheNameOfTheCulprit) {
  connect();
  nccl_.state = ncclRemoteError;
  lost_at_ = clock_.now() + 1500ms;
  EXPECT_EQ(wait_for_good(), kLost);
}

TEST_F(CommunicatorTest, AnErrorOfNcclForWhichNobodyIsToBlameIsToldInItsWords) {
  connect();
  nccl_.state = ncclRemoteError;
  EXPECT_EQ(wait_for_good(), "NCCL cannot go on: remote process exited (6): socket 7 was closed");
  EXPECT_GE(elapsed(), 2s);
  EXPECT_LT(elapsed(), 2200ms);
  communicator_.reset();
  EXPECT_EQ(nccl_.count("abort"), 1);
}

/// NCCL's abort waits until graphs are destroyed: by those who wait for the device.
TEST_F(CommunicatorTest, ALossIsKnownBeforeTheAbortThatWaitsForThoseWhoKnow) {
  connect();
  std::mutex mutex;
  std::condition_variable changed;
  bool are_graphs_destroyed = false;
  nccl_.during_end = [&] {
    EXPECT_EQ(check(), kLost);
    std::unique_lock lock(mutex);
    clock_.wait(lock, changed, std::nullopt, [&] { return are_graphs_destroyed; });
  };
  lost_at_ = clock_.now();
  EXPECT_EQ(wait_for_good(), kLost);
  clock_.sleep(1s);
  {
    const std::lock_guard lock(mutex);
    are_graphs_destroyed = true;
  }
  clock_.notify_all(changed);
  communicator_.reset();
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(CommunicatorTest, BehindALossNcclIsNotCalledAnyMore) {
  connect();
  lost_at_ = clock_.now();
  EXPECT_EQ(wait_for_good(), kLost);
  EXPECT_EQ(error_of([this] { sum(); }), kLost);
  clock_.sleep(10s);
  communicator_.reset();
  EXPECT_THAT(nccl_.calls, ElementsAre("abort"));
}

TEST_F(CommunicatorTest, OnesOwnAbortEndsWaitsToo) {
  connect(1);
  communicator_->abort();
  EXPECT_EQ(wait_for_good(), "rank 1 has aborted");
  clock_.sleep(100ms);
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(CommunicatorTest, ADeviceThatHasFailedDoesNotKeepNcclFromBeingAborted) {
  nccl_.finalize_result = ncclUnhandledCudaError;
  FakeRanks ranks(0, 4);
  {
    const Communicator communicator(
        nccl_, ranks, {},
        [this] {
          nccl_.use_device();
          throw DeviceError("cannot use device 0");
        },
        [] {}, clock_);
  }
  EXPECT_EQ(nccl_.count("abort"), 1);
}

TEST_F(CommunicatorTest, WhoHasSeenTheDeviceFailLearnsOfALossBehindIt) {
  connect();
  lost_at_ = clock_.now() + 1500ms;
  EXPECT_EQ(error_of([this] { communicator_->await_loss(); }), kLost);
}

TEST_F(CommunicatorTest, ALossBehindAFailureOfTheDeviceIsNotWaitedForLong) {
  connect();
  EXPECT_EQ(error_of([this] { communicator_->await_loss(); }), "nothing was thrown");
  EXPECT_GE(elapsed(), 2s);
  EXPECT_LT(elapsed(), 2100ms);
}

TEST_F(CommunicatorTest, TheEndIsTakenTogether) {
  connect();
  nccl_.finalize_result = nccl_.state = ncclInProgress;
  nccl_.polls_until_settled = 20;
  communicator_.reset();
  EXPECT_THAT(nccl_.calls, ElementsAre("finalize", "destroy"));
}

TEST_F(CommunicatorTest, AnEndThatOthersDoNotTakeIsNotWaitedForLong) {
  connect();
  nccl_.finalize_result = nccl_.state = ncclInProgress;
  nccl_.polls_until_settled = 1'000'000'000;
  communicator_.reset();
  EXPECT_THAT(nccl_.calls, ElementsAre("finalize", "abort"));
  EXPECT_LT(elapsed(), 6s);
}

/// NCCL that is called for the last time, and does not return.
class EndlessCallTest : public CommunicatorTest {
 protected:
  EndlessCallTest() {
    nccl_.during_end = [this] {
      std::unique_lock lock(mutex_);
      clock_.wait(lock, changed_, std::nullopt, [this] { return is_let_go_; });
    };
  }
  /// The clock must not end before the thread does.
  ~EndlessCallTest() override {
    {
      const std::lock_guard lock(mutex_);
      is_let_go_ = true;
    }
    clock_.notify_all(changed_);
    clock_.sleep(1ms);
  }
  /// By this test.
  [[nodiscard]] std::vector<std::string> calls_left_behind() const {
    std::vector<std::string> calls = left_behind();
    calls.erase(calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(left_before_));
    return calls;
  }
  std::chrono::nanoseconds time_to_end() {
    const Clock::Time before = clock_.now();
    communicator_.reset();
    return clock_.now() - before;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_let_go_ = false;
  const std::size_t left_before_ = left_behind().size();
};

TEST_F(EndlessCallTest, BehindALossAnAbortIsLeftBehindInTimeToTellOfTheLoss) {
  connect();
  lost_at_ = clock_.now();
  EXPECT_EQ(wait_for_good(), kLost);
  clock_.sleep(20s);
  EXPECT_THAT(calls_left_behind(), IsEmpty()) << "there may be graphs yet";
  EXPECT_EQ(time_to_end(), 1s);
  EXPECT_THAT(calls_left_behind(), ElementsAre("ncclCommAbort"));
}

TEST_F(EndlessCallTest, ADestroyIsLeftBehind) {
  connect();
  EXPECT_EQ(time_to_end(), 5s);
  EXPECT_THAT(nccl_.calls, ElementsAre("finalize", "destroy"));
  EXPECT_THAT(calls_left_behind(), ElementsAre("ncclCommDestroy"));
}

TEST_F(EndlessCallTest, AnAbortInsteadOfADestroyIsLeftBehind) {
  connect();
  nccl_.finalize_result = ncclSystemError;
  EXPECT_EQ(time_to_end(), 1s);
  EXPECT_THAT(calls_left_behind(), ElementsAre("ncclCommAbort"));
}

TEST_F(EndlessCallTest, WhoIsNotConnectedLeavesAnAbortBehind) {
  nccl_.settled = ncclSystemError;
  EXPECT_THAT(error_of([this] { connect(1); }), HasSubstr("NCCL cannot connect rank 1 of 4"));
  EXPECT_GE(elapsed(), 1s);
  EXPECT_LT(elapsed(), 1100ms);
  EXPECT_THAT(calls_left_behind(), ElementsAre("ncclCommAbort"));
}

/// One that has no thread to give.
class ThreadlessClock final : public Clock {
 public:
  [[nodiscard]] Time now() const override { return {}; }
  [[nodiscard]] std::thread start_thread(const std::string&, std::function<void()>) override {
    throw IoError("cannot start a thread", EAGAIN);
  }
  void join(std::thread&) override {}
  bool wait(std::unique_lock<std::mutex>&, std::condition_variable&, std::optional<Time>,
            const std::function<bool()>&) override {
    return false;
  }
  void notify_all(std::condition_variable&) noexcept override {}
  void work(std::chrono::nanoseconds) override {}
};

TEST(LastCallTest, WithoutAThreadItIsCalledAllTheSame) {
  ThreadlessClock clock;
  bool is_called = false;
  const LastCall last_call(clock, "a call", 1s, [&] { is_called = true; });
  EXPECT_TRUE(is_called);
}

TEST(CallsThatWaitTest, AreRefused) {
  for (const char* const value : {static_cast<const char*>(nullptr), "", "0"}) {
    EXPECT_NO_THROW(require_calls_that_do_not_wait(value));
  }
  try {
    require_calls_that_do_not_wait("1");
    FAIL() << "it is not refused";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(
        error.what(),
        "strategy mirrored_nccl: the environment variable NCCL_COMM_BLOCKING is '1', and "
        "NCCL's calls must not wait, lest nothing end them if a rank is lost: unset it, or "
        "set it to 0");
  }
}

}  // namespace
}  // namespace slackline::nccl
