#include "nccl/communicator.h"

#include <slackline/error.h>

#include <cassert>
#include <cstddef>
#include <exception>
#include <utility>

namespace slackline::nccl {
namespace {

using namespace std::chrono_literals;

constexpr auto kMoment = 50us;  ///< short against a step, long against a question
/// Questions without a moment between them: an all-reduce is enqueued sooner than one has passed.
constexpr int kQuickQuestions = 200;
constexpr auto kWatchPeriod = 50ms;
constexpr auto kLastWords = 5s;  ///< for all ranks to leave together
constexpr auto kDestroyTime = 5s;
constexpr auto kAbortTime = 1s;  ///< short: who has lost a rank must say so in time

}  // namespace

void require_calls_that_do_not_wait(const char* nccl_comm_blocking) {
  const std::string value = nccl_comm_blocking == nullptr ? "" : nccl_comm_blocking;
  if (value.empty() || value == "0") return;
  throw ConfigError(text("strategy mirrored_nccl: the environment variable NCCL_COMM_BLOCKING is '",
                         value,
                         "', and NCCL's calls must not wait, lest nothing end them if a rank is "
                         "lost: unset it, or set it to 0"));
}

Communicator::Communicator(Api& api, Ranks& ranks, const CommunicatorSpec& spec,
                           std::function<void()> use_device, std::function<void()> check_ranks,
                           Clock& clock)
    : api_(api),
      rank_(ranks.rank()),
      size_(ranks.size()),
      patience_(spec.patience),
      use_device_(std::move(use_device)),
      check_ranks_(std::move(check_ranks)),
      clock_(clock) {
  try {
    connect(ranks, spec);
    watch_ = clock_.start_thread("nccl watch", [this] { watch(); });
  } catch (...) {
    if (communicator_ != nullptr) end_by_abort(communicator_);
    throw;
  }
}

void Communicator::connect(Ranks& ranks, const CommunicatorSpec& spec) {
  ncclUniqueId id{};
  if (rank_ == 0) settle(api_.get_unique_id(id), "make an id for the ranks to meet by", {});
  ranks.broadcast(std::as_writable_bytes(std::span(&id, 1)));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  if (spec.max_ctas > 0) config.maxCTAs = spec.max_ctas;
  const Clock::Time deadline = clock_.now() + spec.deadline;
  settle(api_.init_rank(communicator_, size_, id, rank_, config),
         text("connect rank ", rank_, " of ", size_), deadline);
}

Communicator::~Communicator() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  clock_.notify_all(changed_);
  clock_.join(watch_);
  if (communicator_ != nullptr) take_leave();
}

void Communicator::take_leave() {
  try {
    settle(api_.finalize(communicator_), "take leave of the other ranks",
           clock_.now() + kLastWords);
    end_by_destroy(communicator_);
  } catch (const std::exception&) {
    end_by_abort(communicator_);
  }
}

void Communicator::end_by_destroy(ncclComm_t communicator) {
  end(communicator, &Api::destroy, "ncclCommDestroy", kDestroyTime);
}

void Communicator::end_by_abort(ncclComm_t communicator) {
  end(communicator, &Api::abort, "ncclCommAbort", kAbortTime);
}

void Communicator::end(ncclComm_t communicator, ncclResult_t (Api::*call)(ncclComm_t),
                       const char* name, std::chrono::nanoseconds patience) {
  last_call_.emplace(clock_, name, patience,
                     [&api = api_, use_device = use_device_, call, communicator] {
                       try {
                         // NCCL goes back to the thread's device, where that makes a context.
                         use_device();
                       } catch (const DeviceError&) {
                         // The device has failed; NCCL has more than the device to end.
                       }
                       (void)(api.*call)(communicator);
                     });
}

void Communicator::all_reduce_sum(std::span<float> values, void* stream) {
  all_reduce(values, ncclSum, stream);
}

void Communicator::all_reduce_mean(std::span<float> values, void* stream) {
  all_reduce(values, ncclAvg, stream);
}

void Communicator::all_reduce(std::span<float> values, ncclRedOp_t op, void* stream) {
  ncclResult_t result = ncclSuccess;
  {
    const std::lock_guard lock(mutex_);
    throw_if_lost();
    result = api_.all_reduce(values.data(), values.size(), op, communicator_,
                             static_cast<cudaStream_t>(stream));
  }
  // The first call connects, for which it may have to wait for the others as long as they live.
  settle(result, text("sum ", values.size(), " values"), std::nullopt);
}

/// Waits for what a call has left to do, and throws if it fails.
void Communicator::settle(ncclResult_t result, const std::string& doing,
                          std::optional<Clock::Time> deadline) {
  for (int asked = 0; result == ncclInProgress; ++asked) {
    check_ranks_();
    std::unique_lock lock(mutex_);
    if (asked >= kQuickQuestions) sleep(lock, kMoment);
    throw_if_lost();
    result = state();
    if (result == ncclInProgress && deadline.has_value() && clock_.now() >= *deadline) {
      throw DeviceError(problem(result, doing) + ": that took too long");
    }
  }
  if (result == ncclSuccess) return;
  check_ranks_();
  const std::lock_guard lock(mutex_);
  throw_if_lost();
  throw DeviceError(problem(result, doing));
}

std::string Communicator::problem(ncclResult_t result, const std::string& doing) {
  const char* const more = api_.last_error(communicator_);
  return text("NCCL cannot ", doing, ": ", api_.error_string(result), " (",
              static_cast<int>(result), ")", more == nullptr || *more == '\0' ? "" : ": ",
              more == nullptr ? "" : more);
}

ncclResult_t Communicator::state() {
  ncclResult_t found = ncclSuccess;
  const ncclResult_t asked = api_.async_error(communicator_, found);
  return asked == ncclSuccess ? found : asked;
}

void Communicator::sleep(std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds time) {
  clock_.wait(lock, changed_, clock_.now() + time, [this] { return !loss_.empty(); });
}

void Communicator::throw_if_lost() const {
  if (!loss_.empty()) throw DeviceError(loss_);
}

void Communicator::check() {
  const std::lock_guard lock(mutex_);
  throw_if_lost();
}

void Communicator::pause() {
  std::unique_lock lock(mutex_);
  sleep(lock, kMoment);
  throw_if_lost();
}

void Communicator::await_loss() {
  std::unique_lock lock(mutex_);
  sleep(lock, patience_);
  throw_if_lost();
}

void Communicator::abort() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (loss_.empty()) loss_ = text("rank ", rank_, " has aborted");
  }
  clock_.notify_all(changed_);
}

void Communicator::watch() noexcept {
  std::unique_lock lock(mutex_);
  while (loss_.empty()) {
    clock_.wait(lock, changed_, clock_.now() + kWatchPeriod,
                [this] { return stopping_ || !loss_.empty(); });
    if (stopping_ && loss_.empty()) return;
    if (loss_.empty()) loss_ = find_loss(lock);
  }
  // From here on nobody uses it. All must know before it is aborted: then the device's work ends as
  // if it had been done, and NCCL waits until those who now know have destroyed their graphs.
  const ncclComm_t aborted = std::exchange(communicator_, nullptr);
  lock.unlock();
  clock_.notify_all(changed_);
  end_by_abort(aborted);
}

/// The ranks' word counts more than NCCL's.
std::string Communicator::find_loss(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  std::string loss = loss_of_ranks();
  lock.lock();
  if (!loss_.empty()) return loss_;
  if (!loss.empty()) return loss;
  if (words_of_nccl_.empty()) {
    const ncclResult_t found = state();
    if (found == ncclSuccess || found == ncclInProgress) return {};
    words_of_nccl_ = problem(found, "go on");
    patient_until_ = clock_.now() + patience_;
  }
  return clock_.now() < patient_until_ ? "" : words_of_nccl_;
}

std::string Communicator::loss_of_ranks() const {
  try {
    check_ranks_();
    return {};
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace slackline::nccl
