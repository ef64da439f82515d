#include <slackline/simulated_clock.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <deque>
#include <list>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

namespace slackline {

// One thread runs at a time: the one that holds the baton. Whoever blocks hands it to the first
// thread that can go on, and if there is none, moves time to where one can. So the order of
// everything is a function of the program alone.
class SimulatedClock::Impl {
 public:
  explicit Impl(int cpus) : cpus_(cpus) { assert(cpus >= 1); }

  /// A thread that does not run: it waits, works or stands in line for the baton.
  struct Parked {
    const void* until = nullptr;   ///< the condition variable, or the ended thread's number
    std::optional<Time> deadline;  ///< of a wait
    double work_ns = 0;            ///< of a work(): still to do, if positive
    bool is_first = false;         ///< the thread that made the clock
    bool has_baton = false;
    bool is_stuck = false;  ///< woken because nobody can ever go on
    std::condition_variable changed;
  };

  Time now() const {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  std::chrono::nanoseconds cpu_time() const {
    const std::lock_guard lock(mutex_);
    return std::chrono::nanoseconds(std::llround(cpu_ns_));
  }

  std::thread start(const std::string& name, std::function<void()> body) {
    auto parked = std::make_shared<Parked>();
    const std::lock_guard lock(mutex_);
    std::thread thread = steady_clock().start_thread(name, [this, body = std::move(body), parked] {
      {
        std::unique_lock own(mutex_);
        parked->changed.wait(own, [&] { return parked->has_baton; });
      }
      body();
      const std::lock_guard own(mutex_);
      ended_.push_back(std::this_thread::get_id());
      wake(&ended_);
      pass_baton();
    });
    line_.push_back(parked.get());  // only now: if there is no thread, nobody may wait for it
    return thread;
  }

  void join(std::thread& thread) {
    {
      std::unique_lock lock(mutex_);
      while (std::find(ended_.begin(), ended_.end(), thread.get_id()) == ended_.end()) {
        Parked self;
        self.until = &ended_;
        park(lock, self);
      }
      std::erase(ended_, thread.get_id());
    }
    thread.join();
  }

  bool wait(std::unique_lock<std::mutex>& user, const std::condition_variable& changed,
            std::optional<Time> deadline, const std::function<bool()>& ready) {
    while (!ready()) {
      std::unique_lock lock(mutex_);
      if (deadline.has_value() && now_ >= *deadline) return false;
      Parked self;
      self.until = &changed;
      self.deadline = deadline;
      user.unlock();
      try {
        park(lock, self);
      } catch (...) {
        lock.unlock();
        user.lock();
        throw;
      }
      lock.unlock();
      user.lock();
    }
    return true;
  }

  void work(std::chrono::nanoseconds cpu_time) {
    if (cpu_time.count() <= 0) return;
    std::unique_lock lock(mutex_);
    Parked self;
    self.work_ns = static_cast<double>(cpu_time.count());
    park(lock, self);
  }

  void notify(const std::condition_variable& changed) {
    const std::lock_guard lock(mutex_);
    wake(&changed);
  }

 private:
  const int cpus_;
  const std::thread::id first_ = std::this_thread::get_id();
  mutable std::mutex mutex_;
  Time now_{};
  double cpu_ns_ = 0;
  std::list<Parked*> parked_;  ///< waiting or working, oldest first
  std::deque<Parked*> line_;   ///< could run at once
  std::vector<std::thread::id> ended_;

  /// Everybody who waits for this gets in line.
  void wake(const void* until) {
    for (auto it = parked_.begin(); it != parked_.end();) {
      if ((*it)->until == until) {
        line_.push_back(*it);
        it = parked_.erase(it);
      } else {
        ++it;
      }
    }
  }

  /// Blocks the calling thread until it gets the baton again.
  void park(std::unique_lock<std::mutex>& lock, Parked& self) {
    self.is_first = std::this_thread::get_id() == first_;
    parked_.push_back(&self);
    pass_baton();
    self.changed.wait(lock, [&] { return self.has_baton; });
    if (self.is_stuck) {
      throw std::logic_error(
          "simulated clock: every thread waits, and for nothing that has a time");
    }
  }

  void pass_baton() {
    while (line_.empty() && !parked_.empty()) {
      if (!advance()) {
        give_up();
        return;
      }
    }
    if (line_.empty()) return;  // the last thread has ended
    Parked* const next = line_.front();
    line_.pop_front();
    next->has_baton = true;
    next->changed.notify_one();
  }

  /// Moves time to the next deadline or end of work, and puts in line those whose it is. False if
  /// there is none.
  bool advance() {
    const auto working = static_cast<double>(std::count_if(
        parked_.begin(), parked_.end(), [](const Parked* p) { return p->work_ns > 0; }));
    const double speed = working > cpus_ ? cpus_ / working : 1.0;
    std::optional<Time> next;
    const auto at = [&](Time time) { next = next.has_value() ? std::min(*next, time) : time; };
    for (const Parked* p : parked_) {
      if (p->deadline.has_value()) at(std::max(now_, *p->deadline));
      if (p->work_ns > 0) {
        at(now_ + std::chrono::nanoseconds(std::llround(p->work_ns / speed)));
      }
    }
    if (!next.has_value()) return false;

    const auto done_ns = static_cast<double>((*next - now_).count()) * speed;
    now_ = *next;
    constexpr double kRounding = 0.5;  // ns: what rounding the time to whole ones may leave undone
    for (auto it = parked_.begin(); it != parked_.end();) {
      Parked& p = **it;
      bool is_due = p.deadline.has_value() && *p.deadline <= now_;
      if (p.work_ns > 0) {
        is_due = p.work_ns - done_ns < kRounding;
        const double used_ns = is_due ? p.work_ns : done_ns;
        cpu_ns_ += used_ns;
        p.work_ns -= used_ns;
      }
      if (is_due) {
        line_.push_back(&p);
        it = parked_.erase(it);
      } else {
        ++it;
      }
    }
    return true;
  }

  /// Nobody can go on: the first thread is told, if it is among them, as it is the test's.
  void give_up() {
    auto told =
        std::find_if(parked_.begin(), parked_.end(), [](const Parked* p) { return p->is_first; });
    if (told == parked_.end()) told = std::prev(parked_.end());
    Parked& p = **told;
    parked_.erase(told);
    p.is_stuck = true;
    p.has_baton = true;
    p.changed.notify_one();
  }
};

SimulatedClock::SimulatedClock(int cpus) : impl_(std::make_unique<Impl>(cpus)) {}
SimulatedClock::~SimulatedClock() = default;

Clock::Time SimulatedClock::now() const { return impl_->now(); }
std::thread SimulatedClock::start_thread(const std::string& name, std::function<void()> body) {
  return impl_->start(name, std::move(body));
}
void SimulatedClock::join(std::thread& thread) { impl_->join(thread); }
bool SimulatedClock::wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                          std::optional<Time> deadline, const std::function<bool()>& ready) {
  return impl_->wait(lock, changed, deadline, ready);
}
void SimulatedClock::notify_all(std::condition_variable& changed) noexcept {
  impl_->notify(changed);
}
void SimulatedClock::work(std::chrono::nanoseconds cpu_time) { impl_->work(cpu_time); }

void SimulatedClock::sleep(std::chrono::nanoseconds time) {
  std::mutex mutex;
  std::condition_variable nobody;
  std::unique_lock lock(mutex);
  impl_->wait(lock, nobody, now() + time, [] { return false; });
}
std::chrono::nanoseconds SimulatedClock::cpu_time() const { return impl_->cpu_time(); }

}  // namespace slackline
