#include <slackline/clock.h>
#include <slackline/simulated_clock.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <time.h>

namespace slackline {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using testing::ElementsAre;

/// A flag that threads wait for on a clock.
class Gate {
 public:
  explicit Gate(Clock& clock) : clock_(clock) {}

  void open() {
    {
      const std::lock_guard lock(mutex_);
      is_open_ = true;
    }
    clock_.notify_all(changed_);
  }
  /// Makes everybody look, and find it closed.
  void rattle() { clock_.notify_all(changed_); }

  bool wait(std::optional<Clock::Time> deadline = std::nullopt) {
    std::unique_lock lock(mutex_);
    const bool is_open = clock_.wait(lock, changed_, deadline, [this] { return is_open_; });
    EXPECT_TRUE(lock.owns_lock());
    return is_open;
  }

 private:
  Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
};

class SimulatedClockTest : public testing::Test {
 protected:
  [[nodiscard]] double now_ms() const {
    return std::chrono::duration<double, std::milli>(clock_.now().time_since_epoch()).count();
  }
  [[nodiscard]] Clock::Time at_ms(int time) const { return Clock::Time(milliseconds(time)); }

  template <class Body>
  void start(Body body) {
    threads_.push_back(clock_.start_thread("test", std::move(body)));
  }
  void join_all() {
    for (std::thread& thread : threads_) clock_.join(thread);
    threads_.clear();
  }
  /// On a SimulatedClock one thread runs at a time, so nothing is locked.
  void note(const std::string& what) { notes_.push_back(what + " " + text_of(now_ms())); }

  static std::string text_of(double time) {
    std::string out = std::to_string(time);
    out.erase(out.find_last_not_of('0') + 1);
    if (out.back() == '.') out.pop_back();
    return out;
  }

  SimulatedClock clock_{2};
  std::vector<std::string> notes_;
  std::vector<std::thread> threads_;
};

TEST_F(SimulatedClockTest, TimeBeginsAtZeroAndPassesOnlyWhereSomebodyLetsIt) {
  EXPECT_EQ(now_ms(), 0);
  clock_.sleep(milliseconds(1500));
  EXPECT_EQ(now_ms(), 1500);
  EXPECT_EQ(now_ms(), 1500);
  clock_.sleep(milliseconds(0));
  EXPECT_EQ(now_ms(), 1500);
}

TEST_F(SimulatedClockTest, HoursTakeNoTime) {
  clock_.sleep(std::chrono::hours(1000));
  EXPECT_EQ(now_ms(), 1000.0 * 3600 * 1000);
}

TEST_F(SimulatedClockTest, ThreadsWakeInTheOrderOfTheirDeadlines) {
  for (const int time : {30, 10, 20}) {
    start([this, time] {
      clock_.sleep(milliseconds(time));
      note("woken");
    });
  }
  join_all();
  EXPECT_THAT(notes_, ElementsAre("woken 10", "woken 20", "woken 30"));
}

TEST_F(SimulatedClockTest, AtOneDeadlineWhoWaitedFirstGoesFirst) {
  for (const char* name : {"first", "second", "third"}) {
    start([this, name] {
      clock_.sleep(milliseconds(10));
      note(name);
    });
  }
  join_all();
  EXPECT_THAT(notes_, ElementsAre("first 10", "second 10", "third 10"));
}

TEST_F(SimulatedClockTest, AWaitEndsWhenItIsReadyAndNotAtItsDeadline) {
  Gate gate(clock_);
  start([&] {
    clock_.sleep(milliseconds(10));
    gate.open();
  });
  EXPECT_TRUE(gate.wait(at_ms(100)));
  EXPECT_EQ(now_ms(), 10);
  join_all();
}

TEST_F(SimulatedClockTest, AWaitThatIsNotReadyEndsAtItsDeadline) {
  Gate gate(clock_);
  start([&] {
    clock_.sleep(milliseconds(10));
    gate.rattle();
  });
  EXPECT_FALSE(gate.wait(at_ms(100)));
  EXPECT_EQ(now_ms(), 100);
  join_all();
}

TEST_F(SimulatedClockTest, ADeadlineInThePastIsNotWaitedFor) {
  Gate gate(clock_);
  clock_.sleep(milliseconds(10));
  EXPECT_FALSE(gate.wait(at_ms(5)));
  gate.open();
  EXPECT_TRUE(gate.wait(at_ms(5)));
  EXPECT_EQ(now_ms(), 10);
}

TEST_F(SimulatedClockTest, ANotificationWakesAllThatWaitAndNobodyElse) {
  Gate gate(clock_), other(clock_);
  start([&] { note(gate.wait() ? "first" : "?"); });
  start([&] { note(other.wait(at_ms(50)) ? "?" : "other"); });
  start([&] { note(gate.wait() ? "second" : "?"); });
  clock_.sleep(milliseconds(20));
  gate.open();
  join_all();
  EXPECT_THAT(notes_, ElementsAre("first 20", "second 20", "other 50"));
}

TEST_F(SimulatedClockTest, JoinWaitsForTheEndOfTheThread) {
  start([this] { clock_.sleep(milliseconds(40)); });
  join_all();
  EXPECT_EQ(now_ms(), 40);
}

TEST_F(SimulatedClockTest, JoinOfAThreadThatHasEndedTakesNoTime) {
  start([this] { clock_.sleep(milliseconds(10)); });
  clock_.sleep(milliseconds(40));
  join_all();
  EXPECT_EQ(now_ms(), 40);
}

TEST_F(SimulatedClockTest, AThreadMayStartAndJoinOthers) {
  start([this] {
    std::thread inner = clock_.start_thread("inner", [this] {
      clock_.sleep(milliseconds(10));
      note("inner");
    });
    clock_.join(inner);
    note("outer");
  });
  join_all();
  EXPECT_THAT(notes_, ElementsAre("inner 10", "outer 10"));
}

TEST_F(SimulatedClockTest, WorkAloneTakesItsTime) {
  clock_.work(milliseconds(7));
  clock_.work(milliseconds(0));
  EXPECT_EQ(now_ms(), 7);
  EXPECT_EQ(clock_.cpu_time(), milliseconds(7));
}

TEST_F(SimulatedClockTest, AsManyWorkersAsCpusDoNotSlowEachOther) {
  start([this] {
    clock_.work(milliseconds(10));
    note("short");
  });
  start([this] {
    clock_.work(milliseconds(30));
    note("long");
  });
  join_all();
  EXPECT_THAT(notes_, ElementsAre("short 10", "long 30"));
  EXPECT_EQ(clock_.cpu_time(), milliseconds(40));
}

TEST_F(SimulatedClockTest, ThreeWorkersShareTwoCpus) {
  for (const char* name : {"first", "second", "third"}) {
    start([this, name] {
      clock_.work(milliseconds(100));
      note(name);
    });
  }
  join_all();
  EXPECT_THAT(notes_, ElementsAre("first 150", "second 150", "third 150"));
  EXPECT_EQ(clock_.cpu_time(), milliseconds(300));
}

TEST(SimulatedClockOfThreeCpusTest, ASpeedThatIsNoBinaryFractionCostsNoNanosecond) {
  SimulatedClock clock(3);
  std::vector<std::thread> threads;
  for (int i = 0; i < 11; ++i) {
    threads.push_back(clock.start_thread("test", [&] { clock.work(milliseconds(9)); }));
  }
  for (std::thread& thread : threads) clock.join(thread);
  EXPECT_EQ(clock.now().time_since_epoch(), milliseconds(33));
}

TEST_F(SimulatedClockTest, WorkersAreFasterAgainWhenOneHasDone) {
  for (const int time : {20, 50, 50}) {
    start([this, time] {
      clock_.work(milliseconds(time));
      note("done");
    });
  }
  join_all();
  // At 2/3 of the speed the short one takes 30 ms; the others have then 30 ms to do, at full speed.
  EXPECT_THAT(notes_, ElementsAre("done 30", "done 60", "done 60"));
}

TEST_F(SimulatedClockTest, WorkersAreSlowerWhileAnotherOneWorks) {
  for (int i = 0; i < 2; ++i) {
    start([this] {
      clock_.work(milliseconds(40));
      note("early");
    });
  }
  start([this] {
    clock_.sleep(milliseconds(10));
    clock_.work(milliseconds(40));
    note("late");
  });
  join_all();
  // 10 of 40 ms are done at 10; the other 30 take 45 for three on two CPUs. The late one has by
  // then done 30 of its 40.
  EXPECT_THAT(notes_, ElementsAre("early 55", "early 55", "late 65"));
}

TEST_F(SimulatedClockTest, WhoSleepsUsesNoCpu) {
  for (int i = 0; i < 5; ++i) {
    start([this] { clock_.sleep(milliseconds(100)); });
  }
  clock_.work(milliseconds(10));
  EXPECT_EQ(now_ms(), 10);
  join_all();
  EXPECT_EQ(clock_.cpu_time(), milliseconds(10));
}

TEST_F(SimulatedClockTest, OddSharesOfTimeAddUp) {
  for (int i = 1; i <= 7; ++i) {
    start([this, i] {
      for (int k = 0; k < 50; ++k) clock_.work(nanoseconds(1'000'003 * i + k));
    });
  }
  join_all();
  nanoseconds sum{};
  for (int i = 1; i <= 7; ++i) {
    for (int k = 0; k < 50; ++k) sum += nanoseconds(1'000'003 * i + k);
  }
  EXPECT_EQ(clock_.cpu_time(), sum);
}

/// Threads of different speed that pass tokens round, work and sleep; what happened when.
std::vector<std::string> busy_program() {
  SimulatedClock clock(2);
  std::mutex mutex;
  std::condition_variable changed;
  int tokens = 0;
  std::vector<std::string> happened;
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.push_back(clock.start_thread("busy", [&, id] {
      for (int round = 0; round < 20; ++round) {
        clock.work(std::chrono::microseconds(100 + 37 * id));
        std::unique_lock lock(mutex);
        const bool got = clock.wait(lock, changed, clock.now() + std::chrono::microseconds(90),
                                    [&] { return tokens > 0; });
        tokens += got ? -1 : 1;
        happened.push_back(std::to_string(id) + (got ? " takes at " : " gives at ") +
                           std::to_string(clock.now().time_since_epoch().count()));
        lock.unlock();
        clock.notify_all(changed);
      }
    }));
  }
  for (std::thread& thread : threads) clock.join(thread);
  return happened;
}

TEST_F(SimulatedClockTest, AProgramGoesTheSameWayEveryTime) {
  const auto once = busy_program();
  ASSERT_EQ(once.size(), 80u);
  EXPECT_THAT(once, testing::Contains(testing::HasSubstr("takes")));
  EXPECT_THAT(once, testing::Contains(testing::HasSubstr("gives")));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(busy_program(), once);
}

TEST_F(SimulatedClockTest, WaitingForWhatNobodyCanGiveIsAnError) {
  Gate gate(clock_);
  EXPECT_THROW(gate.wait(), std::logic_error);
}

TEST_F(SimulatedClockTest, WaitingForEachOtherIsAnErrorOfTheFirstThread) {
  Gate gate(clock_);
  bool passed = false;
  start([&] { passed = gate.wait(); });
  EXPECT_THROW(clock_.join(threads_.front()), std::logic_error);
  gate.open();  // life goes on
  join_all();
  EXPECT_TRUE(passed);
}

TEST_F(SimulatedClockTest, AThreadThatEndsMayLeaveTheOthersStuck) {
  Gate gate(clock_);
  start([this] { clock_.sleep(milliseconds(10)); });
  EXPECT_THROW(gate.wait(), std::logic_error);
  EXPECT_EQ(now_ms(), 10);
  join_all();
}

TEST(SteadyClockTest, IsTheSystemsSteadyClock) {
  const auto before = std::chrono::steady_clock::now();
  const auto now = steady_clock().now();
  EXPECT_LE(before, now);
  EXPECT_LE(now, std::chrono::steady_clock::now());
}

TEST(SteadyClockTest, AWaitEndsWhenItIsReady) {
  Gate gate(steady_clock());
  std::thread opener = steady_clock().start_thread("opener", [&] { gate.open(); });
  EXPECT_TRUE(gate.wait());
  EXPECT_TRUE(gate.wait(steady_clock().now() + std::chrono::hours(1)));
  steady_clock().join(opener);
}

TEST(SteadyClockTest, AWaitThatIsNotReadyEndsAtItsDeadline) {
  Gate gate(steady_clock());
  const auto deadline = steady_clock().now() + milliseconds(1);
  EXPECT_FALSE(gate.wait(deadline));
  EXPECT_GE(steady_clock().now(), deadline);
}

TEST(SteadyClockTest, ThreadsHaveNamesAsLongAsTheKernelKeeps) {
  std::array<char, 32> name{};
  std::thread thread = steady_clock().start_thread(
      "device 0 prefetch", [&] { pthread_getname_np(pthread_self(), name.data(), name.size()); });
  steady_clock().join(thread);
  EXPECT_STREQ(name.data(), "device 0 prefet");
}

TEST(SteadyClockTest, WorkUsesCpuTimeOfTheCaller) {
  const auto used = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + nanoseconds(time.tv_nsec);
  };
  const auto before = used();
  steady_clock().work(milliseconds(2));
  EXPECT_GE(used() - before, milliseconds(2));
}

}  // namespace
}  // namespace slackline
