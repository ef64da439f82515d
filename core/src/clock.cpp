#include <slackline/clock.h>
#include <slackline/error.h>

#include <functional>
#include <system_error>
#include <utility>

#include <time.h>

#include "thread_name.h"

namespace slackline {
namespace {

std::chrono::nanoseconds own_cpu_time() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

class SteadyClock final : public Clock {
 public:
  [[nodiscard]] Time now() const override { return std::chrono::steady_clock::now(); }

  [[nodiscard]] std::thread start_thread(const std::string& name,
                                         std::function<void()> body) override {
    try {
      return std::thread([name, body = std::move(body)] {
        name_this_thread(name);
        body();
      });
    } catch (const std::system_error& error) {
      throw IoError(text("cannot start the thread '", name, "'"), error.code().value());
    }
  }

  void join(std::thread& thread) override { thread.join(); }

  bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
            std::optional<Time> deadline, const std::function<bool()>& ready) override {
    // By reference: a copy of `ready` could allocate.
    if (deadline.has_value()) return changed.wait_until(lock, *deadline, std::cref(ready));
    changed.wait(lock, std::cref(ready));
    return true;
  }

  void notify_all(std::condition_variable& changed) noexcept override { changed.notify_all(); }

  void work(std::chrono::nanoseconds cpu_time) override {
    const auto end = own_cpu_time() + cpu_time;
    while (own_cpu_time() < end) {
    }
  }
};

}  // namespace

Clock& steady_clock() {
  static SteadyClock clock;
  return clock;
}

}  // namespace slackline
