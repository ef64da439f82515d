#include "replicas/step_queue.h"

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>

namespace slackline {

StepQueue::~StepQueue() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  clock_.notify_all(submitted_or_stopping_);
  for (std::thread& thread : threads_) clock_.join(thread);
}

void StepQueue::start(const std::vector<std::string>& thread_names, Compute compute) {
  assert(threads_.empty());
  compute_ = std::move(compute);
  const std::size_t count = thread_names.size();
  threads_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    threads_.push_back(clock_.start_thread(thread_names[i], [this, i] { compute_steps(i); }));
  }
}

void StepQueue::submit(std::span<const Batch* const> batches, const StepPlan& plan) {
  assert(!threads_.empty());
  {
    const std::lock_guard lock(mutex_);
    if (submitted_ - finished_ == ring_.size()) grow();
    Entry& entry = at(submitted_);
    entry.step.plan = plan;
    entry.step.batches.assign(batches.begin(), batches.end());
    entry.step.samples = 0;
    for (const Batch* batch : batches) entry.step.samples += batch == nullptr ? 0 : batch->size;
    entry.step.sums.assign(batches.size(), {});
    entry.step.has_failed = false;
    entry.errors.assign(threads_.size(), nullptr);
    entry.threads_left = threads_.size();
    ++submitted_;
  }
  clock_.notify_all(submitted_or_stopping_);
}

StepSums StepQueue::finish() {
  std::unique_lock lock(mutex_);
  assert(finished_ < submitted_);
  Entry& entry = at(finished_);
  clock_.wait(lock, computed_, std::nullopt, [&entry] { return entry.threads_left == 0; });
  ++finished_;
  StepSums total;
  for (const StepSums& sums : entry.step.sums) {
    total += sums;
  }
  std::exception_ptr first;
  for (std::exception_ptr& error : entry.errors) {
    if (first == nullptr) first = error;
    error = nullptr;  // so that the exception goes with whoever catches it
  }
  lock.unlock();
  if (first != nullptr) std::rethrow_exception(first);
  return total;
}

/// Only the caller bounds the steps in flight; a steady run soon has the ring it needs.
void StepQueue::grow() {
  std::vector<std::unique_ptr<Entry>> larger(std::max<std::size_t>(1, 2 * ring_.size()));
  for (std::uint64_t i = finished_; i < submitted_; ++i) {
    larger[i % larger.size()] = std::move(ring_[i % ring_.size()]);
  }
  for (std::unique_ptr<Entry>& entry : larger) {
    if (entry == nullptr) entry = std::make_unique<Entry>();
  }
  ring_ = std::move(larger);
}

void StepQueue::compute_steps(std::size_t thread) {
  std::unique_lock lock(mutex_);
  for (std::uint64_t i = 0;; ++i) {
    const auto may_go_on = [&] { return stopping_ || i < submitted_; };
    clock_.wait(lock, submitted_or_stopping_, std::nullopt, std::ref(may_go_on));
    // The threads may wait for each other in a step, so nobody leaves out what another has begun.
    if (stopping_ && i >= begun_) return;
    begun_ = std::max(begun_, i + 1);
    Entry& entry = at(i);
    lock.unlock();
    try {
      compute_(entry.step, thread);
    } catch (...) {
      entry.errors[thread] = std::current_exception();
    }
    lock.lock();
    if (--entry.threads_left == 0) clock_.notify_all(computed_);
  }
}

}  // namespace slackline
