#include "input_workers.h"

#include <slackline/error.h>
#include <slackline/random.h>

#include <cmath>
#include <optional>

namespace slackline::bench {
namespace {

constexpr std::uint32_t kInputOp = 254;  // apart from the model's jitter

}  // namespace

InputWorkers::InputWorkers(const Plan& plan, Clock& clock) : plan_(plan), clock_(clock) {
  for (std::int32_t i = 0; i < plan_.workers; ++i) {
    threads_.push_back(clock_.start_thread(text("input ", i), [this] { work(); }));
  }
}

InputWorkers::~InputWorkers() {
  cancel();
  for (std::thread& thread : threads_) clock_.join(thread);
}

const Batch* InputWorkers::next() {
  std::unique_lock lock(mutex_);
  clock_.wait(lock, changed_, std::nullopt,
              [this] { return cancelled_ || (taken_ < missing_.size() && missing_[taken_] == 0); });
  if (cancelled_) return nullptr;
  const Batch* const batch = &made_[taken_++];
  lock.unlock();
  clock_.notify_all(changed_);
  return batch;
}

void InputWorkers::cancel() noexcept {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  clock_.notify_all(changed_);
}

void InputWorkers::work() {
  const auto pieces = static_cast<std::uint64_t>(plan_.workers);
  const auto ahead = static_cast<std::uint64_t>(plan_.batches_ahead);
  std::unique_lock lock(mutex_);
  for (;;) {
    clock_.wait(lock, changed_, std::nullopt,
                [&] { return cancelled_ || pieces_begun_ / pieces < taken_ + ahead; });
    if (cancelled_) return;
    const std::uint64_t index = pieces_begun_++ / pieces;
    if (index == made_.size()) {
      Batch& batch = made_.emplace_back();
      batch.shape = plan_.shape;
      batch.size = plan_.batch_size;
      batch.index = index;
      missing_.push_back(plan_.workers);
    }
    lock.unlock();
    clock_.work(cpu_of(index) / plan_.workers);
    lock.lock();
    if (--missing_[index] == 0) clock_.notify_all(changed_);
  }
}

std::chrono::nanoseconds InputWorkers::cpu_of(std::uint64_t index) const {
  if (plan_.jitter == 0) return plan_.cpu_per_batch;
  Philox words = random_words({plan_.seed, index, 0}, kInputOp);
  const double exponential = -std::log(1.0 - static_cast<double>(uniform_float(words)));
  const double factor = 1 - plan_.jitter + plan_.jitter * exponential;
  return std::chrono::nanoseconds(
      std::llround(factor * static_cast<double>(plan_.cpu_per_batch.count())));
}

}  // namespace slackline::bench
