#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include <ucontext.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace slackline::net::cuda {

/// The threads of a block as fibers of the calling thread, of which there may be several: each runs
/// from one sync() to the next, then it is the next one's turn. A hundred times as fast as threads
/// of the system, and a block whose threads do not all reach the same sync() is found out.
///
/// What should be behind a sync() and is not gives other results when the fibers run backwards.
/// Moreover, ThreadSanitizer takes each for a thread that nothing but sync() orders, and reports it
/// as a data race.
class Fibers {
 public:
  Fibers() = default;
  Fibers(const Fibers&) = delete;
  Fibers& operator=(const Fibers&) = delete;

  /// Calls f(thread) in each of `count` fibers.
  void run(std::size_t count, bool is_backwards, const std::function<void(int)>& f) {
    is_backwards_ = is_backwards;
    function_ = &f;
    running() = this;
    while (fibers_.size() < count) fibers_.push_back(std::make_unique<Fiber>());
    count_ = count;
    scheduler_.start_here();
    for (std::size_t i = 0; i < count; ++i) fibers_[i]->start(scheduler_);
    start_.release();
    while (round() > 0) {
    }
    end_.acquire();
    for (std::size_t i = 0; i < count; ++i) fibers_[i]->end();
  }

  void sync() {
    // Of two, as the first fibers to go on are at the next one while the last are still at this.
    Order& order = syncs_[round_.load(kRelaxed) % 2];
    order.release();
    fibers_[current_.load(kRelaxed)]->switch_to(scheduler_);
    order.acquire();
  }

 private:
  // Relaxed atomics order nothing, so they hide no race from ThreadSanitizer.
  static constexpr auto kRelaxed = std::memory_order_relaxed;

  /// Tells ThreadSanitizer that what came before a release() happened before what comes after an
  /// acquire().
  struct Order {
    char address = 0;
#ifdef __SANITIZE_THREAD__
    void release() { __tsan_release(&address); }
    void acquire() { __tsan_acquire(&address); }
#else
    void release() {}
    void acquire() {}
#endif
  };

  class Fiber {
   public:
    void start_here() {
#ifdef __SANITIZE_THREAD__
      sanitizer_ = __tsan_get_current_fiber();
#endif
    }
    void start(Fiber& scheduler) {
      if (!stack_) stack_ = std::make_unique_for_overwrite<std::byte[]>(kStackBytes);
      is_done.store(false, kRelaxed);
      getcontext(&context_);
      context_.uc_stack.ss_sp = stack_.get();
      context_.uc_stack.ss_size = kStackBytes;
      context_.uc_link = &scheduler.context_;
      makecontext(&context_, &Fibers::enter, 0);
#ifdef __SANITIZE_THREAD__
      sanitizer_ = __tsan_create_fiber(0);
#endif
    }
    void end() {
#ifdef __SANITIZE_THREAD__
      __tsan_destroy_fiber(sanitizer_);
#endif
    }
    void switch_to(Fiber& other) {
#ifdef __SANITIZE_THREAD__
      __tsan_switch_to_fiber(other.sanitizer_, __tsan_switch_to_fiber_no_sync);
#endif
      swapcontext(&context_, &other.context_);
    }
    /// Last of all in a fiber, whose end leads to the scheduler. Not instrumented, as the sanitizer
    /// would look for its return in the wrong fiber.
    [[gnu::no_sanitize_thread]] void finish([[maybe_unused]] Fiber& scheduler) {
#ifdef __SANITIZE_THREAD__
      __tsan_switch_to_fiber(scheduler.sanitizer_, __tsan_switch_to_fiber_no_sync);
#endif
    }

    std::atomic<bool> is_done = false;

   private:
    static constexpr std::size_t kStackBytes = std::size_t{1} << 16;
    ucontext_t context_{};
    std::unique_ptr<std::byte[]> stack_;
#ifdef __SANITIZE_THREAD__
    void* sanitizer_ = nullptr;
#endif
  };

  static Fibers*& running() {
    static thread_local Fibers* fibers = nullptr;
    return fibers;
  }
  [[gnu::no_sanitize_thread]] static void enter() {
    Fibers& fibers = *running();
    fibers.work().finish(fibers.scheduler_);
  }
  Fiber& work() {
    start_.acquire();
    const std::size_t thread = current_.load(kRelaxed);
    Fiber& fiber = *fibers_[thread];
    (*function_)(static_cast<int>(thread));
    fiber.is_done.store(true, kRelaxed);
    end_.release();
    return fiber;
  }

  /// From one sync() of the block to the next. Returns how many fibers are left.
  std::size_t round() {
    round_.fetch_add(1, kRelaxed);
    std::size_t left = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      const std::size_t thread = is_backwards_ ? count_ - 1 - i : i;
      current_.store(thread, kRelaxed);
      scheduler_.switch_to(*fibers_[thread]);
      left += fibers_[thread]->is_done.load(kRelaxed) ? 0 : 1;
    }
    if (left != 0 && left != count_) {
      throw std::logic_error("some threads of the block have ended, others wait for them");
    }
    return left;
  }

  bool is_backwards_ = false;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::size_t count_ = 0;
  Fiber scheduler_;
  std::atomic<std::size_t> current_ = 0;
  const std::function<void(int)>* function_ = nullptr;
  std::atomic<std::size_t> round_ = 0;
  Order start_, end_;
  std::array<Order, 2> syncs_;
};

}  // namespace slackline::net::cuda
