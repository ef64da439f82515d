#include "nccl/last_call.h"

#include <slackline/error.h>
#include <slackline/left_behind.h>

#include <utility>

namespace slackline::nccl {

LastCall::LastCall(Clock& clock, std::string name, std::chrono::nanoseconds patience,
                   std::function<void()> call)
    : clock_(clock), name_(std::move(name)), patience_(patience) {
  try {
    thread_ = clock.start_thread("nccl end", [&clock, call, progress = progress_] {
      call();
      {
        const std::lock_guard lock(progress->mutex);
        progress->has_returned = true;
      }
      clock.notify_all(progress->changed);
    });
  } catch (const IoError&) {
    call();  // there is no thread to be had, and it must be called
  }
}

LastCall::~LastCall() {
  if (!thread_.joinable()) return;
  std::unique_lock lock(progress_->mutex);
  const bool has_returned = clock_.wait(lock, progress_->changed, clock_.now() + patience_,
                                        [this] { return progress_->has_returned; });
  lock.unlock();
  if (has_returned) {
    clock_.join(thread_);
  } else {
    thread_.detach();
    leave_behind(name_);
  }
}

}  // namespace slackline::nccl
