#pragma once

#include <slackline/clock.h>
#include <slackline/collective.h>
#include <slackline/ranks.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "nccl/api.h"
#include "nccl/last_call.h"

namespace slackline::nccl {

struct CommunicatorSpec {
  std::int32_t max_ctas = 0;  ///< thread blocks that a call may have on the device; 0: NCCL decides
  /// In which all ranks must be connected.
  std::chrono::milliseconds deadline{60'000};
  /// How much later than an error of NCCL, which seldom names the culprit, the ranks may learn who
  /// is lost.
  std::chrono::milliseconds patience{2'000};
};

/// Throws ConfigError if the environment variable NCCL_COMM_BLOCKING, of which this is the value or
/// null, makes NCCL's calls wait: it counts more than what a program asks for. Who waits inside
/// NCCL for a rank that is lost cannot be told.
void require_calls_that_do_not_wait(const char* nccl_comm_blocking);

/// The ranks of a run as NCCL connects them, each with one GPU.
///
/// A device whose peer is gone waits for good, and whoever waits for that device, too. So a thread
/// asks NCCL and the ranks again and again, and at the first loss aborts: then the device's work
/// ends, with sums that nobody may use. All who waited must ask check() behind it.
///
/// Lifecycle  construct at all ranks, which waits for them; then calls; destruction at all ranks,
///            or after a loss. Graphs that captured calls must be destroyed before: NCCL waits for
///            that. Destruction waits for NCCL, but not for good (LastCall).
/// Threads    one caller at a time; check(), pause() and abort() by any thread.
/// Errors     DeviceError with NCCL's own words, or those of the ranks, once one is lost.
class Communicator final : public Collective {
 public:
  /// `use_device` makes the GPU the calling thread's, which the caller's must have done already; it
  /// owns what it uses. `check_ranks` throws DeviceError, naming the rank, once one is lost; it
  /// does not wait, and may be called by any thread. All must outlive this.
  Communicator(Api& api, Ranks& ranks, const CommunicatorSpec& spec,
               std::function<void()> use_device, std::function<void()> check_ranks, Clock& clock);
  ~Communicator() override;

  [[nodiscard]] std::int32_t rank() const override { return rank_; }
  [[nodiscard]] std::int32_t size() const override { return size_; }

  /// In memory of the device, by float32 additions whose order is NCCL's: the same bits at all
  /// ranks. Returns once enqueued.
  void all_reduce_sum(std::span<float> values, void* stream) override;
  /// The same divided by size().
  void all_reduce_mean(std::span<float> values, void* stream);

  /// Throws if the communicator was aborted.
  void check();
  /// The same behind a moment asleep, that a loss ends.
  void pause();
  /// For who has seen the device fail, which may be how a loss shows first: waits a while for the
  /// news of one, and throws it. Returns if there is none.
  void await_loss();

  void abort() noexcept override;

 private:
  void connect(Ranks& ranks, const CommunicatorSpec& spec);
  void take_leave();
  void end_by_destroy(ncclComm_t communicator);
  void end_by_abort(ncclComm_t communicator);
  void end(ncclComm_t communicator, ncclResult_t (Api::*call)(ncclComm_t), const char* name,
           std::chrono::nanoseconds patience);
  void all_reduce(std::span<float> values, ncclRedOp_t op, void* stream);
  void settle(ncclResult_t result, const std::string& doing, std::optional<Clock::Time> deadline);
  [[nodiscard]] std::string problem(ncclResult_t result, const std::string& doing);
  [[nodiscard]] ncclResult_t state();
  void sleep(std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds time);
  void throw_if_lost() const;

  void watch() noexcept;
  [[nodiscard]] std::string find_loss(std::unique_lock<std::mutex>& lock);
  [[nodiscard]] std::string loss_of_ranks() const;

  Api& api_;
  const std::int32_t rank_, size_;
  const std::chrono::milliseconds patience_;
  const std::function<void()> use_device_, check_ranks_;
  Clock& clock_;

  std::mutex mutex_;  ///< guards everything below; NCCL is called with it
  std::condition_variable changed_;
  ncclComm_t communicator_ = nullptr;  ///< null once it is being ended
  std::string loss_;                   ///< why; empty if all is well
  bool stopping_ = false;

  std::string words_of_nccl_;  ///< the watch's: an error for which nobody is to blame yet
  Clock::Time patient_until_;  ///< with it
  std::thread watch_;
  std::optional<LastCall> last_call_;  ///< the watch's, and then its owner's
};

}  // namespace slackline::nccl
